"""What tests share: a shop that runs in a process of its own, the commands that reach it, and a tab of a browser."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, cast

import pytest
from tests.planted.unmeasured import unmeasured
from tests.transport.process import free_port

from .browser import CHROMIUM, Tab, browsing

SHOP = """
from collections.abc import AsyncIterator
from hanse import App, Collection, Event, Fault, Gateway, Resource, Service, current, rpc

class Order(Resource):
    sku: str
    count: int = 1
    status: str = "new"

class OrderPlaced(Event):
    order_id: str
    count: int = 1

class Private(Event):
    pass

class OutOfStock(Fault, status=409, detail="no {sku} left"):
    sku: str

class Orders(Service, events=(OrderPlaced, Private)):
    orders: Collection[Order]

    @rpc(faults=(OutOfStock,))
    async def place(self, sku: str, count: int = 1) -> Order:
        if sku == "none":
            raise OutOfStock(sku)
        order = await self.orders.create(Order(sku=sku, count=count))
        await self.emit(OrderPlaced(order_id=order.id, count=count))
        return order

    @rpc
    async def numbers(self, upto: int) -> AsyncIterator[int]:
        for number in range(upto):
            yield number

    @rpc
    async def tags(self) -> dict[str, str]:
        return dict(current().tags)

gateway = Gateway().resources(Order).rpc(Orders).events(OrderPlaced, emit=True)
app = App("shop", Orders, gateway=gateway)
"""
HANSE = [sys.executable, "-m", "hanse"]
LINE_SECONDS_MAX = 80.0
"""For a line to come; a test that waits longer has failed."""


class Command:
    """A command that goes on."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.out = cast("IO[str]", process.stdout)

    def line(self) -> str:
        """The next line that it prints; empty at its end."""
        return self.out.readline().rstrip("\n")

    def until(self, part: str) -> str:
        """The next line with this in it."""
        return next(line.rstrip("\n") for line in self.out if part in line)

    def end(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(LINE_SECONDS_MAX)

    def quiet(self, seconds: float) -> bool:
        """Whether it prints nothing for so long."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.out, selectors.EVENT_READ)
            return not selector.select(seconds)


class Shop:
    """A shop in a folder, its server, and commands that reach it."""

    def __init__(self, folder: Path, port: int, stack: ExitStack) -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{port}"
        self._port = port
        self._stack = stack
        self._server: Command | None = None

    def start(self) -> None:
        """Serve, and wait until it does."""
        self._server = self._started(
            *("run", "shop.py", "--port", str(self._port), "--store", "sqlite:///shop.db"), given=unmeasured()
        )
        assert self._server.until("Hanse shop")

    def kill(self) -> None:
        """Kill the server as a power cut would."""
        assert self._server is not None
        assert self._server.end(signal.SIGKILL) == -signal.SIGKILL

    def hanse(self, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """A command, to its end."""
        return subprocess.run(
            [*HANSE, *arguments],
            cwd=self.folder,
            env=self._environment(os.environ),
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=3 * LINE_SECONDS_MAX,
        )

    def going(self, *arguments: str) -> Command:
        """A command that goes on; its errors are in the same stream."""
        return self._started(*arguments, given=os.environ)

    def _environment(self, given: Mapping[str, str]) -> dict[str, str]:
        return {**given, "HANSE_URL": self.url, "COLUMNS": "200"}

    def _started(self, *arguments: str, given: Mapping[str, str]) -> Command:
        process = self._stack.enter_context(
            subprocess.Popen(
                [*HANSE, *arguments],
                cwd=self.folder,
                env=self._environment(given),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                bufsize=1,
            )
        )
        _ = self._stack.callback(process.kill)
        return Command(process)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A shop that runs."""
    (tmp_path / "shop.py").write_text(SHOP)
    with ExitStack() as stack:
        shop = Shop(tmp_path, free_port(), stack)
        shop.start()
        yield shop


@pytest.fixture
def tab(tmp_path: Path) -> Iterator[Tab]:
    """A tab of a browser; without a browser on this machine, the test is skipped."""
    if not CHROMIUM:
        pytest.skip("no chromium is installed here, and the page needs a browser")
    with browsing(tmp_path) as tab:
        yield tab
