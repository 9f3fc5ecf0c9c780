"""One message in a hundred cannot be handled: it is parked with what comes after it of its key, and all others go on.

`HANSE_MESSAGES=10000` is the long form; with `-s` it says how long it took, and how much memory.
"""

from __future__ import annotations

import asyncio
import os
import resource
from collections import defaultdict
from pathlib import Path

import pytest
from tests.faults.amount import Amount, tell
from tests.faults.amounts import POISONED

from hanse import App, Collection, Event, Node, Resource, Service, Terminal, on, rpc
from hanse.delivery.action import Selection
from hanse.kernel.message import Headers, Identity
from hanse.kernel.settings import NodeSettings, Settings

pytestmark = pytest.mark.timeout(600)

MESSAGES = int(os.environ.get("HANSE_MESSAGES", "600"))
KEYS = MESSAGES // 10 + 1
"""One more than a round number, so that those that cannot be handled are of many keys."""

POISON = 100
"""Of so many messages one cannot be handled."""

AT_ONCE = 500
LOOKS_MAX = 60_000
OPERATOR = Headers(identity=Identity("ada", scopes=frozenset({"deadletters:write"})))
BROKEN: set[str] = set()


class Sold(Event):
    number: int


class Line(Resource):
    number: int


class Till(Service, events=(Sold,)):
    @rpc
    async def sell(self, first: int, end: int) -> None:
        await self.emit(*(Sold(number=number) for number in range(first, end)))


class Book(Service):
    lines: Collection[Line]

    @on(Sold, key=lambda sold: str(sold.number % KEYS))
    async def write(self, sold: Sold) -> None:
        if BROKEN and sold.number % POISON == POISON - 1:
            raise Terminal("nobody can read this")
        _ = await self.lines.create(Line(number=sold.number))


def of_key(numbers: list[int]) -> dict[int, list[int]]:
    found: defaultdict[int, list[int]] = defaultdict(list)
    for number in numbers:
        found[number % KEYS].append(number)
    return found


async def written(node: Node) -> list[int]:
    """What was written, in the order in which it was."""
    lines = [one async for one in node.collection(Line).scan()]
    return [line.number for line in sorted(lines, key=lambda line: line.rev)]


def expected(key: int, *, mended: bool) -> list[int]:
    """Of a key all, or all up to the first that nobody can read."""
    numbers = range(key, MESSAGES, KEYS)
    poison = [number for number in numbers if number % POISON == POISON - 1]
    return list(numbers if mended or not poison else range(key, poison[0], KEYS))


async def test_what_cannot_be_handled_holds_back_its_key_alone_and_is_handled_once_mended(tmp_path: Path) -> None:
    BROKEN.add("the reader")
    settings = Settings(node=NodeSettings(store=f"sqlite:///{tmp_path}/data"))
    async with Node(App("till", Till, Book), settings) as node:
        for first in range(0, MESSAGES, AT_ONCE):
            await node.client(Till).sell(first, min(first + AT_ONCE, MESSAGES))
        await node.settle()
        before = of_key(await written(node))
        assert {key: before[key] for key in range(KEYS)} == {key: expected(key, mended=False) for key in range(KEYS)}
        with node.context(OPERATOR):
            letters = node.letters("book")
            [group] = (await letters.groups()).items
            unwritten = MESSAGES - sum(map(len, before.values()))
            assert group.size == await letters.count(Selection()) == unwritten
            # Of a key that has several, the later ones wait behind the first, and have not been tried.
            stuck = [key for key in range(KEYS) if expected(key, mended=False) != expected(key, mended=True)]
            assert group.count == len(stuck)
            BROKEN.clear()
            action = await letters.replay(Selection())
            for _ in range(LOOKS_MAX):
                action = await letters.action(action.id)
                if action.state != "running":
                    break
                await asyncio.sleep(0.005)
        assert (action.state, action.asked, action.succeeded, action.failed) == ("done", unwritten, unwritten, 0)
        after = of_key(await written(node))
        assert {key: after[key] for key in range(KEYS)} == {key: expected(key, mended=True) for key in range(KEYS)}
    print(f"{MESSAGES} messages, {unwritten} parked, {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB")  # noqa: T201
    kept = {"handled": MESSAGES - unwritten, "parked": unwritten}
    tell(Amount("poison", POISONED, {"messages": MESSAGES, "poison": MESSAGES // POISON, **kept}))
