"""Servers that stores are on, as processes of their own on the loopback, each with a folder that it keeps things in."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from tempfile import mkdtemp
from typing import ClassVar, TypeVar

from tests.transport.process import STOP_SECONDS_MAX, ServerProcess


class StoreServer(ServerProcess):
    """One server; it comes back at the same port with what it has kept.

    Attributes:
        apart: The option of a URL that keeps stores apart.
        stops: What it is asked with to stop in order, whoever is connected.
        usual: Options of the URLs of its stores.
    """

    apart: ClassVar[str]
    stops: ClassVar[signal.Signals] = signal.SIGTERM
    usual: dict[str, str]

    def store(self, name: str = "", **options: str) -> str:
        """The URL of a store on it."""
        wanted = ({self.apart: name} if name else {}) | self.usual | options
        query = "&".join(f"{option}={value}" for option, value in wanted.items())
        return self.database + (f"?{query}" if query else "")

    @property
    def database(self) -> str:
        """The URL of where its stores are."""
        return self.url

    @property
    def pid(self) -> int:
        """The id of its process, as long as it runs."""
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        """End it at once, but in order."""
        if self._process is not None and self._process.poll() is None:
            self._signal(self.stops)
            self._process.wait(STOP_SECONDS_MAX)
        self._process = None


class FolderServer(StoreServer):
    """One with a folder of its own, which `remove` removes."""

    def __init__(self, name: str, folder: Path | None = None) -> None:
        self.folder: Path = folder or Path(mkdtemp(prefix=f"hanse-{name}-"))
        self.usual = {}
        super().__init__(self.folder / "log")

    def remove(self) -> None:
        """Kill it, and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


S = TypeVar("S", bound=FolderServer)


def ready(one: S) -> S:
    """Start it, and return it once it can be used."""
    try:
        one.start()
        one.wait_ready()
    except BaseException:
        one.remove()
        raise
    return one
