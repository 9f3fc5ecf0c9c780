import asyncio
import contextvars

import pytest

from hanse.kernel.message import NO_HEADERS, Kind, Message
from hanse.kernel.tasks import Tasks
from hanse.transport.base import Answer
from hanse.transport.lot import Handle, Lot, Worker, one_by_one
from hanse.transport.workers import IDLE_MAX, Workers

SET: contextvars.ContextVar[object] = contextvars.ContextVar("set", default=None)


class Odd:
    """A value that cannot be compared."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("neither equal nor different")

    def __hash__(self) -> int:
        return 0


class Asker:
    """Notes what was handled for it."""

    def __init__(self) -> None:
        self.working: dict[Worker, None] = {}
        self.ended: list[int] = []
        self.seen: list[object] = []
        self.gate: asyncio.Event = asyncio.Event()

    def put(self, workers: Workers, number: int, operation: str = "echo", handle: Handle | None = None) -> Lot[int]:
        asks = [(number, str(number), 0.0, b"")]
        lot = Lot(self, Kind.CALL, operation, NO_HEADERS, 0.0, asks, handle or one_by_one(self.serve))
        workers.put(lot)
        return lot

    async def serve(self, message: Message) -> Message:
        assert (int(message.id), asyncio.current_task()) in [(worker.key, worker.task) for worker in self.working]
        self.seen.append(SET.get())
        if message.address == "wait":
            await self.gate.wait()
        elif message.address == "set":
            SET.set(Odd())
        return message

    def told(self, number: int, body: bytes, /) -> None:
        raise AssertionError("a receiver that serves messages one by one answers by messages")

    def handled(self, number: int, message: Message, answer: Answer | None, /) -> None:
        assert answer is message
        assert number not in [worker.key for worker in self.working]
        self.ended.append(number)


async def turns(count: int = 8) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_what_waits_for_nothing_costs_one_task_in_all() -> None:
    asker = Asker()
    async with Tasks(print) as tasks:
        workers = Workers(tasks)
        for number in range(100):
            asker.put(workers, number)
        await turns()
        assert asker.ended == list(range(100))
        assert len(tasks) == 1


async def test_where_one_of_a_lot_waits_another_worker_goes_on_with_the_rest() -> None:
    asker = Asker()
    asks = [(number, str(number), 0.0, b"") for number in range(8)]
    async with Tasks(print) as tasks:
        workers = Workers(tasks)

        async def serve(message: Message) -> Message:
            if message.id in {"7", "4"}:
                await asker.gate.wait()
            return message

        workers.put(Lot(asker, Kind.CALL, "some", NO_HEADERS, 0.0, asks, one_by_one(serve)))
        await turns()
        assert asker.ended == [6, 5, 3, 2, 1, 0], "the last is the next"
        assert [worker.key for worker in asker.working] == [7, 4]
        asker.gate.set()
        await turns()
        assert asker.ended[-2:] == [7, 4]


async def test_behind_the_limit_of_tasks_messages_wait() -> None:
    asker = Asker()
    async with Tasks(print, limit=2) as tasks:
        workers = Workers(tasks)
        for number, operation in enumerate(["wait", "wait", "echo"]):
            asker.put(workers, number, operation)
        await turns()
        assert asker.ended == []
        asker.gate.set()
        await turns()
        assert sorted(asker.ended) == [0, 1, 2]
        asker.put(workers, 3)
        await turns()
        assert asker.ended[-1] == 3


async def test_what_nobody_wants_any_more_does_not_begin() -> None:
    asker = Asker()
    async with Tasks(print) as tasks:
        workers = Workers(tasks)
        asker.put(workers, 1).asks.clear()
        asker.put(workers, 2)
        await turns()
        assert asker.ended == [2]


async def test_after_a_crowd_few_workers_stay() -> None:
    asker = Asker()
    async with Tasks(print) as tasks:
        workers = Workers(tasks)
        for number in range(2 * IDLE_MAX):
            asker.put(workers, number, "wait")
        await turns(3 * IDLE_MAX)
        assert len(tasks) == 2 * IDLE_MAX
        asker.gate.set()
        await turns()
        assert len(asker.ended) == 2 * IDLE_MAX
        assert len(tasks) == IDLE_MAX


@pytest.mark.parametrize("before", [None, Odd()])
async def test_what_a_handler_sets_the_next_one_does_not_see(before: object) -> None:
    SET.set(before)
    asker = Asker()
    async with Tasks(print, limit=1) as tasks:
        workers = Workers(tasks)
        for number, operation in enumerate(["echo", "set", "set", "echo"]):
            asker.put(workers, number, operation)
        await turns()
        assert asker.ended == [0, 1, 2, 3], "one that has to end at the limit of tasks leaves nothing behind"
        assert all(seen is before for seen in asker.seen)


async def test_what_a_handler_sets_it_sees_when_it_goes_on() -> None:
    seen = list[object]()

    async def serve(message: Message) -> Message:
        SET.set(message.id)
        await asyncio.sleep(0)
        seen.append(SET.get())
        return message

    asker = Asker()
    async with Tasks(print) as tasks:
        workers = Workers(tasks)
        for number in range(3):
            asker.put(workers, number, handle=one_by_one(serve))
        await turns()
    assert seen == ["0", "1", "2"]
