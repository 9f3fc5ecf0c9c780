"""Dumps as files of a folder, one for each service: `orders.jsonl`, or `orders.jsonl.gz`."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, cast

import msgspec

from hanse.cli.new import CannotWrite
from hanse.kernel.faults import Malformed, Misconfigured
from hanse.store.dump_text import LINE_BYTES_MAX, Reader

PLAIN, ZIPPED = ".jsonl", ".jsonl.gz"
"""How the names of dumps end."""

UNFINISHED = ".part"
"""How the name of a dump ends that is being written."""

LEVEL = 4
"""How hard gzip tries: about as small as its best, in a third of the time."""


class Place(msgspec.Struct, frozen=True):
    """Where dumps are written.

    Attributes:
        folder: In which, made where it is missing.
        suffix: How their names end.
    """

    folder: Path
    suffix: str

    def path(self, service: str) -> Path:
        """The file of a service."""
        return self.folder / f"{service}{self.suffix}"

    def require_free(self, service: str) -> None:
        """Refuse to write over a dump.

        Raises:
            Misconfigured: There is one.
        """
        if (there := file_in(self.folder, service)) is not None:
            raise Misconfigured(f"expected no dump of {service} in {self.folder}, found {there}; choose another folder")

    @contextmanager
    def writing(self, service: str) -> Generator[IO[bytes]]:
        """A file that has its name once all of it is on the disk.

        Raises:
            CannotWrite: The system does not let it be written.
        """
        path = self.path(service)
        unfinished = path.with_name(path.name + UNFINISHED)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with unfinished.open("wb") as raw:
                if path.name.endswith(ZIPPED):
                    with gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=LEVEL, mtime=0) as file:
                        yield cast("IO[bytes]", file)
                else:
                    yield raw
                raw.flush()
                os.fsync(raw.fileno())
            unfinished.replace(path)
        except OSError as error:
            raise CannotWrite(str(path), str(error)) from error
        finally:
            unfinished.unlink(missing_ok=True)


def file_in(folder: Path, service: str) -> Path | None:
    """The dump of a service in a folder, if there is one."""
    return next((path for suffix in (PLAIN, ZIPPED) if (path := folder / f"{service}{suffix}").exists()), None)


class Source(msgspec.Struct, frozen=True):
    """A dump that is read.

    Attributes:
        path: The file.
        raw: The file as it is on the disk.
        size: Its bytes.
        reader: Its lines.
    """

    path: Path
    raw: IO[bytes]
    size: int
    reader: Reader

    def require(self, service: str) -> None:
        """Refuse the dump of another service.

        Raises:
            Misconfigured: It is one.
        """
        if (found := self.reader.head.service) != service:
            raise Misconfigured(f"expected a dump of {service} in {self.path}, got one of {found}")


@contextmanager
def reading(path: Path) -> Generator[Source]:
    """A dump, packed or not.

    Raises:
        Malformed: It is none.
        Misconfigured: It cannot be read.
    """
    with ExitStack() as opened:
        try:
            raw = opened.enter_context(path.open("rb"))
        except OSError as error:
            raise Misconfigured(f"cannot read {path}: {error}") from error
        file = cast("IO[bytes]", opened.enter_context(gzip.open(raw))) if path.name.endswith(ZIPPED) else raw
        yield Source(path, raw, path.stat().st_size, Reader(_lines(path, file)))


def _lines(path: Path, file: IO[bytes]) -> Iterator[bytes]:
    try:
        # One byte more than a line may have, so that the reader can tell.
        while line := file.readline(LINE_BYTES_MAX + 1):
            yield line
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise Malformed(f"{path} cannot be unpacked: {error}; the file was cut off or damaged") from None
