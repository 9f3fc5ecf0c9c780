"""Calls over a broker: what comes together is handled together, and each call comes to an end of its own."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

import pytest

from hanse.kernel.faults import DeadlineExceeded, NotFound, Overloaded, TooLarge, Unavailable, UnknownOperation
from hanse.kernel.message import FAULT, NO_HEADERS, REPLY as REPLY_KIND, Headers, Kind, Message
from hanse.mesh.fault import fault_in, fault_message, undone_message
from hanse.transport.base import Answer
from hanse.transport.brokered.asked import ASKED_MAX
from hanse.transport.brokered.frames import MESSAGE, REFUSED, REPLIES, REPLY, TOGETHER_MAX, TOGETHER_TOKEN
from hanse.transport.direct import NotSent
from hanse.transport.lot import Handle, Lot, Worker, one_by_one

from .line import End, call, ends

WAIT_SECONDS = 30.0


class Desk:
    """Answers by what the message says, one lot after the other."""

    def __init__(self) -> None:
        self.lots: list[list[bytes]] = []
        self.began: list[bytes] = []
        self.ended: list[bytes] = []
        self.gate: asyncio.Event = asyncio.Event()
        self.stops: int = 0

    def handler(self, address: str, /) -> Handle:
        del address
        handle = one_by_one(self.serve)

        async def noted(lot: Lot[bytes], worker: Worker) -> None:
            self.lots.append([body for *_, body in reversed(lot.asks)])
            await handle(lot, worker)

        return noted

    async def serve(self, message: Message, /) -> Message:
        body = message.body
        self.began.append(body)
        try:
            if self.stops:
                self.stops -= 1
                return undone_message(Unavailable("it stops"), message.id)
            if body.startswith(b"wait"):
                await self.gate.wait()
            elif body.startswith(b"fault"):
                return fault_message(NotFound("order", "7"), message.id)
            elif body.startswith(b"break"):
                raise RuntimeError("swordfish")
            return Message(REPLY_KIND, message.id, "", 0.0, NO_HEADERS, body)
        finally:
            self.ended.append(body)

    def serve_stream(self, message: Message, /) -> AsyncIterator[Message]:
        raise NotImplementedError(message)


async def until(holds: Callable[[], object]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not holds():  # noqa: ASYNC110 - nothing tells of it, and it takes some turns of the loop
            await asyncio.sleep(0)


async def asked(end: End, *bodies: bytes, headers: Headers = NO_HEADERS) -> list[bytes | str]:
    """Ask all in one turn: the bodies of the answers, and the codes of faults."""
    return list(await asyncio.gather(*(fate(end, call("do", body, headers=headers)) for body in bodies)))


async def fate(end: End, message: Message) -> bytes | str:
    try:
        answer: Answer = await end.station.calls.ask(message)
    except Exception as error:  # noqa: BLE001 - all of them are told
        return getattr(error, "code", repr(error))
    except asyncio.CancelledError:
        end.station.calls.given_up()
        raise
    if isinstance(answer, bytes):
        return answer
    return answer.headers.type if answer.kind is FAULT else answer.body


async def test_calls_of_one_turn_are_one_lot_and_are_told_in_one_message() -> None:
    desk, bodies = Desk(), [b"%d" % number for number in range(8)]
    async with ends("one", "other") as (one, other):
        other.station.listen("desk", desk)
        assert await asked(one, *bodies) == bodies
        assert desk.lots == [bodies]
        assert one.line.said == [(TOGETHER_TOKEN, REPLIES)]
        assert await asked(one, b"alone") == [b"alone"]
        assert one.line.said[1:] == [(b"9", REPLY)]
        assert not other.station.served.works


async def test_calls_under_other_headers_are_other_lots_and_keep_their_order() -> None:
    desk, bodies = Desk(), [b"0", b"1", b"2", b"3", b"4", b"5"]
    mine, yours, tagged = Headers(key="mine"), Headers(key="yours"), Headers(tags={"ref": "7"})
    under = [mine, mine, yours, mine, tagged, tagged]
    async with ends("one", "other") as (one, other):
        other.station.listen("desk", desk)
        calls = [fate(one, call("do", body, headers=headers)) for body, headers in zip(bodies, under, strict=True)]
        assert await asyncio.gather(*calls) == bodies
        assert desk.lots == [[b"0", b"1"], [b"2"], [b"3"], [b"4"], [b"5"]]


async def test_where_half_of_a_lot_fails_the_other_half_does_not() -> None:
    async with ends("one", "other") as (one, other):
        other.station.listen("desk", Desk())
        assert await asked(one, b"a", b"fault", b"b", b"fault", b"c") == [b"a", "not_found", b"b", "not_found", b"c"]
        assert sorted(lead for _, lead in one.line.said) == sorted([MESSAGE, MESSAGE, REPLIES])


async def test_a_handler_that_breaks_its_promise_breaks_no_other_call(caplog: pytest.LogCaptureFixture) -> None:
    async with ends("one", "other") as (one, other):
        other.station.listen("desk", Desk())
        assert await asked(one, b"a", b"break", b"b") == [b"a", "unavailable", b"b"]
    assert "swordfish" in caplog.text


async def test_where_some_of_a_lot_wait_the_others_are_answered() -> None:
    desk = Desk()
    async with ends("one", "other") as (one, other), asyncio.TaskGroup() as group:
        other.station.listen("desk", desk)
        all_ = group.create_task(asked(one, b"wait 1", b"a", b"wait 2", b"b"))
        await until(lambda: len(other.station.served.works) == 2)
        assert one.line.said == [(b"2", REPLY), (b"4", REPLY)], "each of which came in a turn of its own"
        desk.gate.set()
        assert await all_ == [b"wait 1", b"a", b"wait 2", b"b"]


async def test_who_gives_up_amid_a_lot_ends_its_own_calls_alone() -> None:
    desk = Desk()
    async with ends("one", "other") as (one, other), asyncio.TaskGroup() as group:
        other.station.listen("desk", desk)
        kept, left = (
            group.create_task(asked(one, *bodies)) for bodies in ((b"wait 1", b"wait 2"), (b"wait 3", b"wait 4"))
        )
        await until(lambda: len(desk.began) == 4)
        other.station.pulse._tell_all()
        await until(lambda: all(awaited.peer for awaited in one.station.asked.waiting.values()))
        left.cancel()
        await until(lambda: len(desk.ended) == 2)
        assert sorted(desk.ended) == [b"wait 3", b"wait 4"]
        desk.gate.set()
        assert await kept == [b"wait 1", b"wait 2"]
        assert one.station.asked.is_empty


async def test_who_gave_up_before_it_was_known_who_works_on_it_is_told_for() -> None:
    desk = Desk()
    async with ends("one", "other") as (one, other), asyncio.TaskGroup() as group:
        other.station.listen("desk", desk)
        left = group.create_task(asked(one, b"wait 1", b"wait 2"))
        await until(lambda: len(desk.began) == 2)
        left.cancel()
        await until(lambda: one.station.asked.is_empty)
        assert not desk.ended
        other.station.pulse._tell_all()
        await until(lambda: len(desk.ended) == 2)


async def test_where_the_connection_ends_nobody_knows_what_became_of_a_lot() -> None:
    desk = Desk()
    async with ends("one", "other") as (one, other), asyncio.TaskGroup() as group:
        other.station.listen("desk", desk)
        fates = group.create_task(asked(one, b"wait 1", b"wait 2"))
        await until(lambda: len(desk.began) == 2)
        one.lose()
        assert await fates == ["unavailable", "unavailable"]
        one.there.set()
        desk.gate.set()
        await until(lambda: not other.station.served.works)
        assert await asked(one, b"again") == [b"again"], "answers to what nobody waits for are left"


async def test_a_node_that_has_gone_ends_what_it_worked_on_and_what_is_worked_on_for_it() -> None:
    desk = Desk()
    async with ends("one", "other") as (one, other), asyncio.TaskGroup() as group:
        other.station.listen("desk", desk)
        fates = group.create_task(asked(one, b"wait 1", b"wait 2"))
        await until(lambda: len(desk.began) == 2)
        other.station.pulse._tell_all()
        await until(lambda: all(awaited.peer for awaited in one.station.asked.waiting.values()))
        one.station.pulse.gone(other.names.node, "has gone")
        assert await fates == ["unavailable", "unavailable"]
        other.station.pulse.gone(one.names.node, "has gone")
        await until(lambda: len(desk.ended) == 2)


async def test_time_that_is_over_ends_those_whose_it_is() -> None:
    desk = Desk()
    async with ends("one", "other") as (one, other):
        other.station.listen("desk", desk)
        late = [fate(one, call("do", b"wait", timeout=0.001)) for _ in range(3)]
        fates = asyncio.gather(*late, fate(one, call("do", b"wait well")))
        await until(lambda: len(one.station.asked.waiting) == 1)
        desk.gate.set()
        assert await fates == [DeadlineExceeded.code] * 3 + [b"wait well"]


async def test_what_nobody_took_is_asked_again() -> None:
    desk = Desk()
    async with ends("one", "other") as (one, other), asyncio.TaskGroup() as group:
        fates = group.create_task(asked(one, b"a", b"b"))
        await until(lambda: len(one.station.calls._tasks) == 2)
        other.station.listen("desk", desk)
        assert await fates == [b"a", b"b"]


async def test_what_is_asked_again_waits_for_a_connection_and_ends_with_its_time() -> None:
    async with ends("one", "other") as (one, other), asyncio.TaskGroup() as group:
        fates = group.create_task(asked(one, b"a", b"b"))
        late = group.create_task(fate(one, call("do", b"late", timeout=0.001)))
        await until(lambda: len(one.station.calls._tasks) == 3)
        one.lose()
        assert await late == Unavailable.code
        other.station.listen("desk", Desk())
        one.there.set()
        assert await fates == [b"a", b"b"]


async def test_what_is_asked_again_and_finds_no_room_waits_for_it() -> None:
    async with ends("one", "other") as (one, other), asyncio.TaskGroup() as group:
        fates = group.create_task(asked(one, b"a", b"b"))
        late = group.create_task(fate(one, call("do", b"late", timeout=0.001)))
        await until(lambda: len(one.station.calls._tasks) == 3)
        one.free.clear()
        assert await late in {Overloaded.code, DeadlineExceeded.code}
        other.station.listen("desk", Desk())
        await until(lambda: len(one.station.asked.waiting) == 2)
        one.free.set()
        assert await fates == [b"a", b"b"]
        assert one.station.asked.is_empty


async def test_what_is_served_here_is_handed_over_whatever_becomes_of_the_line() -> None:
    here, there = Desk(), Desk()
    async with ends("one", "other") as (one, other):
        other.station.listen("desk", there)
        assert await asked(one, b"a") == [b"a"]
        one.station.listen("desk", here)
        assert await asked(one, b"b") == [b"b"]
        assert (await one.station.request(call("do", b"c"))).body == b"c"
        one.lose()
        assert await asked(one, b"d") == [b"d"]
        assert (there.began, here.began) == ([b"a"], [b"b", b"c", b"d"])


async def test_more_than_may_wait_is_refused() -> None:
    async with ends("one", "other") as (one, other), asyncio.TaskGroup() as group:
        other.station.listen("desk", Desk())
        waits = group.create_task(fate(one, call("do", b"wait")))
        await until(lambda: one.station.asked.waiting)
        waiting = one.station.asked.waiting
        [(token, awaited)] = waiting.items()
        waiting.update(dict.fromkeys(map(b"x%d".__mod__, range(ASKED_MAX)), awaited))
        assert await asked(one, b"a") == [Overloaded.code]
        waiting.clear()
        waiting[token] = awaited
        one.lose()
        assert await waits == Unavailable.code


async def test_who_gives_up_is_not_asked_for_again() -> None:
    desk = Desk()
    async with ends("one", "other") as (one, other), asyncio.TaskGroup() as group:
        left = group.create_task(asked(one, b"a"))
        await until(lambda: len(one.station.calls._tasks) == 1)
        left.cancel()
        other.station.listen("desk", desk)
        await until(lambda: not len(one.station.calls._tasks))
        assert await asked(one, b"b") == [b"b"]
        assert desk.began == [b"b"]


async def test_one_release_is_asked_once() -> None:
    async with ends("one") as (one,):
        message = Message(Kind.CALL, "1", "desk@1.5.do", 60.0)
        assert await fate(one, message) == NotSent.code
        assert not len(one.station.calls._tasks)


async def test_what_a_node_that_stops_refused_is_asked_again() -> None:
    desk = Desk()
    desk.stops = 2
    async with ends("one", "other") as (one, other):
        other.station.listen("desk", desk)
        assert await asked(one, b"a", b"b", b"c") == [b"a", b"b", b"c"]
        assert len(desk.began) == 5


async def test_where_nobody_is_there_at_all_that_is_told() -> None:
    async with ends("one", "other") as (one, other):
        assert await asked(one, b"a", b"b") == [UnknownOperation.code] * 2
        other.station.listen("desk", Desk())
        assert await asked(one, b"a") == [b"a"]
        other.station.leave("desk")
        assert await asked(one, b"a") == [Unavailable.code]


async def test_who_closes_asks_nothing_again() -> None:
    async with ends("one") as (one,), asyncio.TaskGroup() as group:
        fates = group.create_task(asked(one, b"a", b"b"))
        await until(lambda: len(one.station.calls._tasks) == 2)
        assert one.station.close()
        await one.station.end()
        assert await fates == ["unavailable", "unavailable"]


async def test_what_finds_no_room_waits_for_it() -> None:
    async with ends("one", "other") as (one, other), asyncio.TaskGroup() as group:
        other.station.listen("desk", Desk())
        one.free.clear()
        fates = group.create_task(asked(one, b"a", b"b"))
        await until(lambda: len(one.station.asked.waiting) == 2)
        one.free.set()
        assert await fates == [b"a", b"b"]
        one.free.clear()
        assert await fate(one, call("do", b"a", timeout=0.001)) in {Overloaded.code, DeadlineExceeded.code}
        assert one.station.asked.is_empty


async def test_what_is_too_large_is_not_asked_and_what_is_called_by_no_name_neither() -> None:
    async with ends("one", "other") as (one, other):
        other.station.listen("desk", Desk())
        one.body_bytes_max = 200
        assert await asked(one, b"a", bytes(300), b"b") == [b"a", TooLarge.code, b"b"]
        assert await fate(one, call("x" * 2_000)) == TooLarge.code
        one.body_bytes_max = 1_000_000
        assert await fate(one, call("x" * 2_000)) == UnknownOperation.code
        assert one.station.asked.is_empty


async def test_answers_that_cannot_be_told_together_are_told_alone() -> None:
    bodies = [bytes([65 + number]) * 60 for number in range(4)]
    async with ends("one", "other") as (one, other):
        other.station.listen("desk", Desk())
        other.body_bytes_max = 200
        assert await asked(one, *bodies) == bodies
        assert {lead for _, lead in one.line.said} == {REPLY}
        assert await asked(one, bytes(300)) == [TooLarge.code]
        assert one.line.said[-1][1] == REFUSED


async def test_answers_of_one_turn_are_told_in_messages_of_some() -> None:
    bodies = [b"%d" % number for number in range(2 * TOGETHER_MAX + 1)]
    async with ends("one", "other") as (one, other):
        other.station.listen("desk", Desk())
        assert await asked(one, *bodies) == bodies
        assert [lead for _, lead in one.line.said] == [REPLIES, REPLIES, REPLY]


async def test_answers_for_which_there_is_no_room_are_told_once_there_is() -> None:
    async with ends("one", "other") as (one, other), asyncio.TaskGroup() as group:
        other.station.listen("desk", Desk())
        other.free.clear()
        fates = group.create_task(asked(one, b"a", b"b"))
        await until(lambda: len(other.station.served.works) == 2 and not other.station.served._replies.working)
        other.free.set()
        assert await fates == [b"a", b"b"]
        assert not other.station.served.works


async def test_answers_that_cannot_be_read_are_left(caplog: pytest.LogCaptureFixture) -> None:
    async with ends("one", "other") as (one, other):
        other.station.listen("desk", Desk())
        with caplog.at_level(logging.WARNING, "hanse.transport.brokered"):
            one.station.calls.told(TOGETHER_TOKEN, REPLIES + b"of tomorrow")
        assert "expected answers of Hanse's" in caplog.text
        assert await asked(one, b"a") == [b"a"]


async def test_a_request_tells_its_fault_as_an_exception_of_its_own() -> None:
    async with ends("one", "other") as (one, other):
        other.station.listen("desk", Desk())
        answer = await one.station.request(call("do", b"fault"))
        assert isinstance(fault_in(answer), NotFound)
        assert (await one.station.request(call("do", b"well"))).body == b"well"
