"""What others make of the same: an order is committed, and another process charges it; both are killed again and again.

Killed where they have the same moments: with the order committed, with the charge written, and with it committed but
not acknowledged. They run in the environment of the benches.
"""

from __future__ import annotations

import asyncio
import os
from asyncio.subprocess import DEVNULL, Process
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec
from tests.store.postgresql.server import started

from .parts import Dose
from .places import Place, servers_of
from .sweep import survive

ROOT = Path(__file__).parents[2]
TITLE = "Hanse, on RabbitMQ and PostgreSQL"
PYTHON = ROOT / ".venv-bench" / "bin" / "python"
TABLES = "CREATE TABLE orders (id int PRIMARY KEY); CREATE TABLE charges (id serial PRIMARY KEY, shop_order int)"
POINTS = ("order.after_commit", "handler.before_commit", "handler.after_commit")
"""In the code of the peers."""

OURS = {"orders": ("unit.after_commit",), "payments": (), "mailer": ("unit.before_commit", "inbox.after_handler")}
"""The same moments, by the part of the shop that has them."""

NTH_MAX = 3
LIFE_SECONDS_MAX = 90.0
QUIET_LOOKS, LOOK_SECONDS = 180, 0.5
"""So many looks without a new charge, and all has come to rest: longer than any peer takes until it tries again."""


class Database(Protocol):
    """What is used of a connection of asyncpg, which has no types."""

    async def execute(self, query: str) -> str: ...

    async def fetch(self, query: str) -> Sequence[Mapping[str, int]]: ...

    async def close(self) -> None: ...


class Peer(NamedTuple):
    """One of the others."""

    title: str
    script: str
    broker: str = ""


PEERS = (
    Peer("FastStream with faststream-outbox, on PostgreSQL", "faststream_shop.py"),
    Peer("Celery with acks_late, on RabbitMQ and PostgreSQL", "celery_shop.py", "amqp"),
)


class Compared(msgspec.Struct, frozen=True):
    """What has come of the orders with one of them.

    Attributes:
        title: Whose.
        kills: How many.
        orders: That were placed.
        lost: Those that were never charged.
        twice: Those that were charged more than once.
    """

    title: str
    kills: int
    orders: int
    lost: int
    twice: int


async def ours(folder: Path, times: int) -> Compared:
    """The shop, killed at the same moments."""
    wanted = {
        part: [Dose(point, 1 + at % NTH_MAX) for at in range(times) for point in points]
        for part, points in OURS.items()
    }
    told = await survive(Place("postgresql", "amqp", broker=True), folder, wanted)
    wrong = told.effects.wrong
    assert wrong == (), wrong
    return Compared(TITLE, sum(told.kills.values()), told.effects.orders, 0, 0)


async def compare(peer: Peer, folder: Path, times: int) -> Compared:
    """Kill a peer so often at each of the moments, and count."""
    with ExitStack() as stack:
        server = started()
        _ = stack.callback(server.remove)
        environment = os.environ | {"PEER_DATABASE": server.store(), "PEER_TOLD": str(folder / "told")}
        if peer.broker:
            (broker,) = stack.enter_context(servers_of(peer.broker, folder))
            environment |= {"PEER_BROKER": f"{broker.url.replace('//', '//guest:guest@')}//"}
        connect: Callable[[str], Awaitable[Database]] = import_module("asyncpg").connect
        connection = await connect(server.store())
        try:
            _ = await connection.execute(TABLES)
            return await _killed(Runner(peer, environment, folder), connection, times)
        finally:
            await connection.close()


class Runner:
    """Starts the processes of a peer."""

    def __init__(self, peer: Peer, environment: dict[str, str], folder: Path) -> None:
        self.peer = peer
        self._environment = environment
        self._folder = folder

    async def start(self, *arguments: str, at: str = "") -> Process:
        """One of them, which is killed at a point where one is given."""
        command = [str(PYTHON), str(ROOT / "bench" / "faults" / self.peer.script), *arguments]
        with (self._folder / "peer.log").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *command, env=self._environment | {"PEER_AT": at}, stdin=DEVNULL, stdout=log, stderr=log
            )

    def kills(self) -> Sequence[str]:
        """Where they have died by now."""
        told = self._folder / "told"
        return told.read_text().splitlines() if told.exists() else []

    def log(self) -> str:
        """The last that they said."""
        return (self._folder / "peer.log").read_text()[-3_000:]


async def _killed(runner: Runner, connection: Database, times: int) -> Compared:
    orders = times * 2 * NTH_MAX + times
    for at in range(times):
        # Whoever orders asks for all of them again, and does not know which were placed.
        placing = await runner.start("place", str(orders), at=f"{POINTS[0]}:{1 + at % NTH_MAX}")
        await _died(placing, runner)
    assert await (await runner.start("place", str(orders))).wait() == 0, runner.log()
    for at in range(times):
        for point in POINTS[1:]:
            await _died(await runner.start("work", at=f"{point}:{1 + at % NTH_MAX}"), runner)
    working = await runner.start("work")
    try:
        await _quiet(connection)
    finally:
        working.kill()
        _ = await working.wait()
    charged = Counter(row["shop_order"] for row in await connection.fetch("SELECT shop_order FROM charges"))
    lost = sum(not charged[order] for order in range(orders))
    twice = sum(charged[order] > 1 for order in range(orders))
    return Compared(runner.peer.title, len(runner.kills()), orders, lost, twice)


async def _died(process: Process, runner: Runner) -> None:
    known = len(runner.kills())
    try:
        async with asyncio.timeout(LIFE_SECONDS_MAX):
            _ = await process.wait()
    except TimeoutError:
        process.kill()
        _ = await process.wait()
        raise AssertionError(f"{runner.peer.title} did not come to its point\n{runner.log()}") from None
    assert len(runner.kills()) == known + 1 or len(runner.kills()) == known, runner.log()


async def _quiet(connection: Database) -> None:
    """Return when nothing has been charged for a while."""
    known, quiet = -1, 0
    while quiet < QUIET_LOOKS:
        count = (await connection.fetch("SELECT count(*) FROM charges"))[0]["count"]
        quiet = quiet + 1 if count == known else 0
        known = count
        await asyncio.sleep(LOOK_SECONDS)  # nothing tells that nothing more comes
