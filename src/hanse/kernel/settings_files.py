"""Reads the layers of the settings, the weakest first.

Defaults < those of the place < hanse.toml < its environment's table < .env < environment < flags.

The environment mapping and the folder are arguments, so that nothing here depends on the process it runs in. Parsing
is pure; `load` alone touches files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from hanse.kernel.settings import Setting, Settings, Sources, flatten, problems_of, resolve
from hanse.kernel.settings_resources import with_urls
from hanse.kernel.settings_schema import Unusable, as_table, nearest, type_at

FILE = "hanse.toml"
FILE_BYTES_MAX = 1024 * 1024
"""Largest settings file, .env or secret file that is read."""

PREFIX = "HANSE_"
ALIASES: Mapping[str, tuple[str, ...]] = {
    "PORT": ("gateway", "port"),
    "HOST": ("gateway", "host"),
    "DATABASE_URL": ("node", "store"),
    "HANSE_APP": ("app",),
    "HANSE_ENV": ("environment",),
    "HANSE_LOG_LEVEL": ("log", "level"),
    "HANSE_LOG_FORMAT": ("log", "format"),
    "HANSE_RELEASE": ("node", "release"),
    "HANSE_INSTANCE": ("node", "instance"),
}
"""Variables with names of their own, the weakest first: what they set, `HANSE_SECTION__KEY` overrides."""

KUBERNETES = "KUBERNETES_SERVICE_HOST"
"""Variable that every process in Kubernetes has."""

KUBERNETES_DRAIN_SECONDS = 5.0
"""How long Kubernetes may take to send a process no more requests, after it has told it to stop."""

OTHERS = ("HANSE_CONFIG", "HANSE_URL", "HANSE_PROCESS", "HANSE_KEEPER", "HANSE_SOURCE")
"""Variables that are no settings: the file to read, where a running system answers, and what `hanse up` tells."""

_LINE = re.compile(r"\s*(?:export\s+)?(?P<name>[A-Za-z_]\w*)\s*=\s*(?P<value>.*?)\s*")
_QUOTED = re.compile(r"""(?:'(?P<plain>[^']*)'|"(?P<escaped>(?:[^"\\]|\\.)*)")\s*(?:#.*)?""")
_ESCAPES = {"\\n": "\n", "\\t": "\t", '\\"': '"', "\\\\": "\\", "\\$": "$"}


def load(
    directory: Path,
    environ: Mapping[str, str],
    *,
    flags: Iterable[Setting] = (),
    environment: str = "",
) -> tuple[Settings, Sources]:
    """Read and validate the settings of a process.

    Args:
        directory: Where `hanse.toml` and `.env` are looked for.
        environ: The process's environment.
        flags: What the command line sets; it wins over all else.
        environment: Name of the environment whose table applies (`--env`), rather than what HANSE_ENV says.

    Raises:
        Misconfigured: A file cannot be read, or values cannot be used; lists every one.
    """
    problems: list[str] = []
    dotenv = parse_dotenv(_text(directory / ".env", problems), problems)
    given = {name: value for name, value in {**dotenv, **environ}.items() if value}
    path = directory / given.get("HANSE_CONFIG", FILE)
    table = _toml(path, problems, required="HANSE_CONFIG" in given)
    name = environment or given.get("HANSE_ENV", "") or str(table.get("environment", ""))
    chosen = [Setting(("environment",), name, "--env")] if environment else []
    layers = [
        place_layer(environ),
        *file_layers(table, path.name, name, problems),
        _variables(dotenv, ".env: ", directory, problems),
        _variables(environ, "", directory, problems),
        [*chosen, *flags],
    ]
    settings, sources = resolve(layers, problems)
    return with_urls(settings), sources


def place_layer(environ: Mapping[str, str]) -> list[Setting]:
    """What suits the place that a process runs in, and everything else overrides.

    Example:
        >>> place_layer({"KUBERNETES_SERVICE_HOST": "10.0.0.1"})[0].value
        5.0
    """
    if not environ.get(KUBERNETES):
        return []
    return [Setting(("node", "drain_delay"), KUBERNETES_DRAIN_SECONDS, KUBERNETES)]


def file_layers(table: Mapping[str, object], source: str, name: str, problems: list[str]) -> list[list[Setting]]:
    """The layers of a file: what it says to all, and what its table for the named environment says.

    Every environment's table is checked, so that a typo in one shows before the day it is used.
    """
    environments = as_table(table.get("environments")) or {}
    for other, values in environments.items():
        problems += problems_of(_environment(values, f"{source} [environments.{other}]"))
    if name and environments and name not in environments:
        problems.append(
            f"environment: expected one that {source} has ({', '.join(sorted(environments))}), got {name!r}"
        )
    chosen = _environment(environments.get(name, {}), f"{source} [environments.{name}]")
    return [list(flatten(table, source)), list(chosen)]


def _environment(values: object, source: str) -> Iterator[Setting]:
    return flatten(as_table(values) or {}, source)


def variable_layer(environ: Mapping[str, str], mark: str = "") -> tuple[list[Setting], list[str]]:
    """The settings among the variables of an environment, and what is wrong with variables that look like some.

    Args:
        environ: Names and values; `*_FILE` has been replaced by what the file holds.
        mark: Put before the name of the variable where a source is named.
    """
    settings = [Setting(path, environ[name], mark + name) for name, path in ALIASES.items() if environ.get(name)]
    problems: list[str] = []
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name in ALIASES:
            continue
        if "__" in name:
            settings.append(Setting(path_of(name), environ[name], mark + name))
        elif problem := _misspelt(name):
            problems.append(f"{mark}{name}: {problem}")
    return settings, problems


def path_of(name: str) -> tuple[str, ...]:
    """The path that a variable sets.

    Example:
        >>> path_of("HANSE_GATEWAY__BODY_MAX")
        ('gateway', 'body_max')
    """
    return tuple(name.removeprefix(PREFIX).lower().split("__"))


def _misspelt(name: str) -> str:
    """A hint where a variable of ours is meant; others that begin like ours belong to somebody else."""
    if name in OTHERS or name.startswith("HANSE_URL_"):
        return ""
    section, _, key = name.removeprefix(PREFIX).lower().partition("_")
    if key and is_setting((section, key)):
        return f"did you mean {PREFIX}{section.upper()}__{key.upper()}?"
    near = nearest(name, [*ALIASES, *OTHERS])
    return f"did you mean {near}?" if near else ""


def is_setting(path: tuple[str, ...]) -> bool:
    """Whether anything is known at this path."""
    try:
        type_at(Settings, path)
    except Unusable:
        return False
    return True


def parse_dotenv(text: str, problems: list[str]) -> dict[str, str]:
    r"""The variables of an .env file: `NAME=value` lines, quotes, comments, `export`; other lines are problems.

    Example:
        >>> parse_dotenv("# mail\nexport MAIL='a b'  # c\nPORT=80 # d", [])
        {'MAIL': 'a b', 'PORT': '80'}
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if match := _LINE.fullmatch(line):
            found[match["name"]] = _unquoted(match["value"])
        else:
            problems.append(f".env line {number}: expected NAME=value")
    return found


def _unquoted(value: str) -> str:
    if match := _QUOTED.fullmatch(value):
        if (plain := match["plain"]) is not None:
            return plain
        return re.sub(r"\\[nt\"\\$]", lambda escape: _ESCAPES[escape[0]], match["escaped"])
    return re.sub(r"(^|\s)#.*", "", value).strip()


def _variables(environ: Mapping[str, str], mark: str, directory: Path, problems: list[str]) -> list[Setting]:
    settings, wrong = variable_layer(_with_files(environ, directory, problems), mark)
    problems += wrong
    return settings


def _with_files(environ: Mapping[str, str], directory: Path, problems: list[str]) -> dict[str, str]:
    """The variables, with those that name the file of a secret (`NAME_FILE`) replaced by what it holds."""
    found: dict[str, str] = {}
    for name, value in environ.items():
        target = name.removesuffix("_FILE")
        if target != name and value and (target in ALIASES or (target.startswith(PREFIX) and "__" in target)):
            found[target] = _text(directory / value, problems, required=name).rstrip("\r\n")
        else:
            found.setdefault(name, value)
    return found


def _toml(path: Path, problems: list[str], *, required: bool) -> dict[str, object]:
    text = _text(path, problems, required="HANSE_CONFIG" if required else "")
    if not text:
        return {}
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        problems.append(f"{path.name}: expected TOML: {error}")
        return {}


def _text(path: Path, problems: list[str], *, required: str = "") -> str:
    """What a file holds; empty where it is missing, which is a problem if the named variable asks for it."""
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        if required:
            problems.append(f"{required}: expected a file, but there is no {path}")
        return ""
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{required or path.name}: cannot be read: {error}")
        return ""
    if len(text) > FILE_BYTES_MAX:
        problems.append(f"{required or path.name}: expected at most {FILE_BYTES_MAX} bytes")
        return ""
    return text
