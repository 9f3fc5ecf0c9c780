"""Who orders, who mends what cannot be told of, and what has to be there in the end."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec

from hanse import Fault, Resource, policy
from hanse.delivery.action import Selection
from hanse.kernel.tasks import Tasks
from hanse.node.node import Node
from hanse.sim.operator import OPERATOR

from .shop import Charge, Declined, Kind, Letter, Mailer, Order, Orders, Shipment, Slip

TENTH: tuple[Kind, ...] = ("good", "good", "declined", "good", "good", "good", "declined", "good", "good", "good")
KINDS: tuple[Kind, ...] = ("good", "poison", *TENTH[2:], *TENTH, *TENTH)
"""What is ordered, in turn; little of it poison, or whoever is told of it stops taking more at once: what gathers while
a part is dead may hold no more of it than a group fails at in a row."""

AT_ONCE = 3
PAUSE_SECONDS = 0.2
"""Between two orders of one customer, so that the machine has time for those who are killed."""

CALL_SECONDS = 5.0
LOOK_SECONDS = 0.1
REST_SECONDS = 0.5
"""Between two looks at all that there is, which take the time of those who are looked at."""

LOOKS_MAX = 120
"""At what has come of the orders without a change, until it is taken to stay so: a group that fails at many in a row
tries one in a quarter of a minute."""

MORE_SECONDS_MAX = 60.0
MENDED_AT_ONCE = 20


class Effects(msgspec.Struct, frozen=True):
    """What has come of orders.

    Attributes:
        orders: How many were placed.
        once: How many of them had each of their effects once, and no other.
        wrong: What is not as it has to be, for people.
    """

    orders: int
    once: int
    wrong: tuple[str, ...]


class Customer:
    """Orders one thing after the other, each until it is known what has become of it; and an operator beside.

    Args of the constructor:
        node: Which calls the app.
    """

    def __init__(self, node: Node) -> None:
        self.placed: dict[str, Kind] = {}
        self.refused = 0
        self._node = node
        self._numbers = itertools.count()
        self._leaving = asyncio.Event()

    @asynccontextmanager
    async def ordering(self) -> AsyncGenerator[None]:
        """Order, and mend, for as long as this is entered; what was begun is brought to its end."""
        failed: list[BaseException] = []
        async with Tasks(failed.append) as tasks:
            work = [tasks.start(self._order()) for _ in range(AT_ONCE)]
            mending = tasks.start(self._mend())
            yield
            self._leaving.set()
            _ = await asyncio.wait([*work, mending])
        assert failed == []

    async def more(self, count: int) -> None:
        """Return when so many more orders were placed."""
        wanted = len(self.placed) + count
        async with asyncio.timeout(MORE_SECONDS_MAX):
            while len(self.placed) < wanted:  # noqa: ASYNC110
                await asyncio.sleep(LOOK_SECONDS)  # nothing tells of it

    async def _order(self) -> None:
        while not self._leaving.is_set():
            number = next(self._numbers)
            id, kind = f"o{number:05d}", KINDS[number % len(KINDS)]
            asked = policy(self._node.client(Orders), idempotency_key=id, timeout=CALL_SECONDS)
            while not await _known(asked, id, kind):
                self.refused += 1
                await asyncio.sleep(LOOK_SECONDS)  # whoever was killed is soon back
            self.placed[id] = kind
            await asyncio.sleep(PAUSE_SECONDS)

    async def _mend(self) -> None:
        while not self._leaving.is_set():
            await self.mend()
            await asyncio.sleep(LOOK_SECONDS)  # an operator who looks now and again

    async def mend(self) -> int | None:
        """Mend what cannot be told of, and have it told; how many letters there were, None where nobody says."""
        letters = self._node.letters("mailer")
        with self._node.context(OPERATOR, timeout=CALL_SECONDS):
            try:
                found = (await letters.find(Selection(), limit=MENDED_AT_ONCE)).items
                for line in found:
                    _ = await letters.edit(line.id, b'{"poison": false}', patch=True)
                if found:
                    _ = await letters.replay(Selection(ids=tuple(line.id for line in found)))
            except Fault:
                return None
            return len(found)

    async def effects(self) -> Effects:
        """Wait until all is as it has to be, or until nothing changes any more; how it is then."""
        found, looks = await self._effects(), 0
        while found.wrong and looks < LOOKS_MAX:
            _ = await self.mend()
            await asyncio.sleep(REST_SECONDS)  # nothing tells that all has come to rest
            last, found = found, await self._effects()
            looks = looks + 1 if found == last else 0
        return found

    async def _effects(self) -> Effects:
        try:
            seen = [Counter(await self._of(kind)) for kind in (Order, Charge, Shipment, Slip, Letter)]
            copied = Counter(await self._node.client(Mailer).copied())
        except Fault as fault:
            return Effects(len(self.placed), 0, (f"nobody could look: {fault}",))
        wrong: list[str] = []
        for id, kind in self.placed.items():
            found = [one[id] for one in (*seen, copied)]
            if found != WANTED[kind]:
                wrong.append(f"{kind} {id}: {dict(zip(NAMES, found, strict=True))}")
        once = len(self.placed) - len(wrong)
        strangers = sorted({id for one in seen for id in one} - set(self.placed))
        return Effects(len(self.placed), once, (*wrong, *(f"nobody ordered {id}" for id in strangers)))

    async def _of(self, kind: type[Resource]) -> list[str]:
        """The order of each row, as often as it has one."""
        rows = [msgspec.structs.asdict(row) async for row in self._node.collection(kind).scan()]
        return [row.get("order") or row["id"] for row in rows if row.get("status", "shipped") == "shipped"]


NAMES = ("orders", "charges", "shipments", "slips", "letters", "copies")
WANTED: dict[Kind, list[int]] = {
    "good": [1, 1, 1, 1, 1, 1],
    "poison": [1, 1, 1, 1, 1, 1],
    # Taken back; but of what was charged somebody had been told.
    "declined": [0, 0, 0, 1, 0, 0],
}


async def _known(asked: Orders, id: str, kind: Kind) -> bool:
    """Ask for an order; whether it is known what has become of it."""
    place: Callable[..., Awaitable[None]] = asked.place
    try:
        await place(id=id, kind=kind)
    except Declined:
        return True
    except Fault:
        return False
    return True
