"""A gateway of one's own, for as long as a command runs: how the command line reaches nodes that have none.

The command becomes a node of the app that hosts nothing but a gateway to all of it, on this machine, and asks that.
"""

from __future__ import annotations

import asyncio
import queue
import signal
import threading
from types import TracebackType
from typing import Self

import msgspec

from hanse.cli.net import COMMAND
from hanse.gateway.serve import serve
from hanse.gateway.stops import Stops
from hanse.kernel.faults import CouldNotStart
from hanse.kernel.host import Host
from hanse.kernel.settings import Settings
from hanse.node.app import GATEWAY, App

START_SECONDS_MAX = 10.0
"""Until the gateway answers."""

STOP_SECONDS_MAX = 5.0


class Through:
    """A context in which a gateway answers at `url`.

    Args of the constructor:
        app: What is reached; it is loaded for its contracts, and none of its services is hosted.
        settings: Of the app; its transport is gone through.
    """

    def __init__(self, app: App, settings: Settings) -> None:
        self.instance: str = f"{COMMAND}{Host.system().new_id()}"
        self._app = App(app.name, *app.services)
        node = msgspec.structs.replace(
            settings.node, services=(GATEWAY,), instance=self.instance, grace=1.0, drain_delay=0.0
        )
        gateway = msgspec.structs.replace(settings.gateway, host="127.0.0.1", port=0, hosts=("localhost",))
        self._settings = msgspec.structs.replace(settings, node=node, gateway=gateway)
        self._told: queue.SimpleQueue[str | BaseException] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="hanse-through", daemon=True)
        self._stops = Stops()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.url: str = ""

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            told = self._told.get(timeout=START_SECONDS_MAX)
        except queue.Empty:
            told = CouldNotStart(f"expected the nodes to be reached within {START_SECONDS_MAX:g} s")
        if isinstance(told, BaseException):
            raise told
        self.url = told
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop is not None and self._thread.is_alive():
            _ = self._loop.call_soon_threadsafe(self._stops.came, signal.SIGTERM)
        self._thread.join(STOP_SECONDS_MAX)

    def _run(self) -> None:
        try:
            _ = asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - told to whoever waits
            self._told.put(error)

    async def _serve(self) -> int:
        self._loop = asyncio.get_running_loop()
        return await serve(self._app, self._settings, announce=self._told.put, stops=self._stops)
