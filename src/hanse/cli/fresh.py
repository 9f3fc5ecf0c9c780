"""Has the modules of one folder read from their source at each start, whatever bytecode lies beside them.

Python takes bytecode for current if size and second of the source are those that it was made of. An editor that saves
twice in a second, at the same size, leaves the first save's bytecode: under `hanse dev` that would run until the next.
"""

from __future__ import annotations

import sys
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
    SourcelessFileLoader,
)
from pathlib import Path
from types import CodeType

from hanse.cli.watch import IGNORED


class FromSource(SourceFileLoader):
    """Compiles a module anew, and keeps nothing of it."""

    def get_code(self, fullname: str) -> CodeType:
        """The code of a module."""
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def read_from_source(folder: Path) -> None:
    """From now on, in this process, import what lies in a folder from its source; what is installed there is not meant.

    Args:
        folder: Of the app.
    """
    root = folder.resolve()

    def finder(path: str) -> FileFinder:
        place = Path(path or ".").resolve()
        if not place.is_relative_to(root) or any(_is_foreign(part) for part in place.relative_to(root).parts):
            raise ImportError(path)
        return FileFinder(
            path,
            (ExtensionFileLoader, EXTENSION_SUFFIXES),
            (FromSource, SOURCE_SUFFIXES),
            (SourcelessFileLoader, BYTECODE_SUFFIXES),
        )

    sys.path_hooks.insert(0, finder)
    sys.path_importer_cache.clear()


def _is_foreign(part: str) -> bool:
    return part in IGNORED or part.startswith(".")
