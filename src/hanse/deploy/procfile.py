"""Reads a Procfile, and writes what it means as a settings file."""

from __future__ import annotations

from pathlib import Path

from hanse.control.procfile import FILE_BYTES_MAX, as_toml, layer_of, parse_procfile
from hanse.kernel.faults import Misconfigured
from hanse.kernel.settings import Setting


def is_procfile(name: str) -> bool:
    """Whether a file of this name is a Procfile.

    Example:
        >>> [is_procfile(name) for name in ("Procfile", "Procfile.dev", "hanse.toml")]
        [True, True, False]
    """
    return "procfile" in name.lower()


def procfile_layer(file: Path) -> list[Setting]:
    """The settings that a Procfile comes to.

    Raises:
        Misconfigured: It cannot be read or used.
    """
    try:
        with file.open(encoding="utf-8") as opened:
            text = opened.read(FILE_BYTES_MAX + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{file.name}: cannot be read: {error}") from None
    if len(text) > FILE_BYTES_MAX:
        raise Misconfigured(f"{file.name}: expected at most {FILE_BYTES_MAX} bytes")
    return layer_of(parse_procfile(text, file.name), file.name)


def write_settings(procfile: Path, settings: Path) -> None:
    """Write what a Procfile means as a settings file that is not there yet.

    Raises:
        Misconfigured: The Procfile cannot be read or used, or the settings are there.
    """
    text = as_toml(procfile_layer(procfile), procfile.name)
    try:
        with settings.open("x", encoding="utf-8") as opened:
            _ = opened.write(text)
    except FileExistsError:
        raise Misconfigured(f"{settings} is there already; move it away first") from None
