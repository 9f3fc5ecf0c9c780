"""What a transport promises of requests: one answer each, side by side, in time, and none that nobody waits for."""

from __future__ import annotations

import asyncio

import pytest

from hanse.kernel.faults import DeadlineExceeded, Internal, Invalid, Overloaded, Unavailable, UnknownOperation
from hanse.kernel.message import Headers, Kind
from hanse.testing.transport_hooks import TransportHooks, ask, call, fate, read, stream, unheard
from hanse.testing.transport_things import FLAWS, Deaf, Things

# pytest shows a test's name; a docstring would only repeat it.
# ruff: noqa: D102

SOME = 20
"""Calls at once: more than any pool of workers that somebody may have left at its default of a few."""

ENDED_SECONDS = 0.2
"""Time of messages that are meant to run out of it."""

ROUNDING_SECONDS = 1e-9
"""What a sum of seconds may be off by."""

CROWD_SECONDS = 200.0
"""How long a crowd of calls may take: adapters go through real servers, on machines that have other work."""


class AnswerTests(TransportHooks):
    """Requests and their answers."""

    async def test_a_call_is_answered(self) -> None:
        async with self.pair() as pair:
            message = call("echo", b"tea")
            reply = await pair.one.request(message)
            assert (reply.kind, reply.id, reply.body) == (Kind.REPLY, message.id, b"tea")

    async def test_each_of_many_calls_has_its_own_answer(self) -> None:
        async with self.pair() as pair:
            bodies = [b"%d" % n for n in range(200)]
            assert await asyncio.gather(*(ask(pair.one, call("echo", body)) for body in bodies)) == bodies
            assert len(pair.things.came) == len(bodies)

    async def test_two_messages_with_one_id_have_each_their_own_answer(self) -> None:
        # A retry keeps its id, and the first try may still be under way.
        async with self.pair() as pair:
            twins = (ask(pair.one, call(name, name.encode(), id="the same")) for name in ("wait", "echo"))
            async with asyncio.TaskGroup() as group:
                slow, fast = map(group.create_task, twins)
                assert await fast == b"echo"
                pair.things.gate.set()
            assert slow.result() == b"wait"

    async def test_a_message_that_is_sent_again_is_handled_again(self) -> None:
        # What has taken effect is known to inboxes and idempotency keys; a transport that guessed would lose retries.
        async with self.pair() as pair:
            for kind in (Kind.CALL, Kind.EVENT):
                message = call("echo", b"tea", kind=kind)
                assert [await ask(pair.one, message) for _ in range(2)] == [b"tea"] * 2
            assert len(pair.things.came) == 2 * len((Kind.CALL, Kind.EVENT))

    async def test_a_node_calls_what_it_serves_itself(self) -> None:
        async with self.pair() as pair:
            assert await ask(pair.other, call("echo", b"mine")) == b"mine"

    async def test_each_of_two_nodes_calls_the_other(self) -> None:
        async with self.pair() as pair:
            back = Things("back")
            await self.listen([pair.one, pair.other], {"back": back.server}, at=pair.one)
            there = [ask(pair.one, call("echo", b"%d" % n)) for n in range(50)]
            here = [ask(pair.other, call("back.echo", b"%d" % n)) for n in range(50)]
            assert await asyncio.gather(*there, *here) == [b"%d" % n for n in range(50)] * 2

    async def test_an_event_and_a_note_are_acknowledged(self) -> None:
        async with self.pair() as pair:
            for kind in (Kind.EVENT, Kind.SEND):
                assert (await pair.one.request(call("echo", kind=kind))).kind is Kind.REPLY
            assert [message.kind for message in pair.things.came] == [Kind.EVENT, Kind.SEND]

    async def test_an_event_that_its_handler_refuses_is_not_acknowledged(self) -> None:
        async with self.pair() as pair:
            with pytest.raises(Invalid):
                await ask(pair.one, call("refuse", kind=Kind.EVENT))

    async def test_what_is_sent_under_one_key_comes_in_order(self) -> None:
        async with self.pair() as pair:
            bodies, ordered = [b"%d" % n for n in range(200)], Headers(key="order-7")
            async with asyncio.TaskGroup() as group:
                for body in bodies:
                    _ = group.create_task(ask(pair.one, call("echo", body, headers=ordered)))
            assert [message.body for message in pair.things.came] == bodies


class FaultTests(TransportHooks):
    """What goes wrong at the other node, as its caller learns of it: at once, and as what it is."""

    async def test_a_fault_arrives_as_its_own_class_with_its_fields(self) -> None:
        async with self.pair() as pair:
            with pytest.raises(Invalid, match="2 values are wrong") as raised:
                await ask(pair.one, call("refuse"))
            assert (type(raised.value), raised.value.errors) == (Invalid, FLAWS)

    async def test_a_fault_says_its_code_in_its_headers(self) -> None:
        # Breakers and figures count faults without decoding them.
        async with self.pair() as pair:
            reply = await pair.one.request(call("refuse"))
            assert (reply.kind, reply.headers.type) == (Kind.FAULT, "invalid")

    async def test_a_handler_that_breaks_answers_without_telling_why(self) -> None:
        async with self.pair() as pair:
            with pytest.raises(Internal) as raised:
                await ask(pair.one, call("fail"))
            assert "swordfish" not in f"{raised.value!r} {raised.value}"

    async def test_a_service_that_nobody_serves_is_refused_at_once(self) -> None:
        async with self.pair() as pair:
            with pytest.raises(UnknownOperation, match="nothing"):
                await ask(pair.one, call("nothing.echo"))
            with pytest.raises(UnknownOperation, match="nothing"):
                await read(pair.one, stream("nothing.count"))

    async def test_an_operation_that_is_not_there_is_refused_at_once(self) -> None:
        async with self.pair() as pair:
            with pytest.raises(UnknownOperation, match=r"things\.ecko"):
                await ask(pair.one, call("ecko"))
            with pytest.raises(UnknownOperation, match=r"things\.cuont"):
                await read(pair.one, stream("cuont"))

    async def test_a_server_that_is_full_says_so_at_once(self) -> None:
        async with self.nodes(2) as (one, other), unheard() as tasks:
            things = Things(calls_max=1)
            await self.listen([one, other], {"things": things.server}, at=other)
            waiting = tasks.start(ask(one, call("wait", b"in")))
            await things.until(lambda: things.running == 1)
            with pytest.raises(Overloaded, match="limit of 1 at once"):
                await ask(one, call("wait"))
            things.gate.set()
            assert await waiting == b"in"

    async def test_a_node_that_drains_refuses_calls_and_finishes_those_it_has(self) -> None:
        async with self.pair() as pair, unheard() as tasks:
            waiting = tasks.start(ask(pair.one, call("wait", b"in")))
            await pair.things.until(lambda: pair.things.running == 1)
            pair.things.server.drain()
            with pytest.raises(Unavailable):
                await ask(pair.one, call("echo"))
            pair.things.gate.set()
            assert await waiting == b"in"


class SideBySideTests(TransportHooks):
    """Calls under way at once."""

    async def test_calls_are_handled_side_by_side(self) -> None:
        async with self.pair() as pair, unheard() as tasks:
            asked = [tasks.start(ask(pair.one, call("wait", b"%d" % n))) for n in range(SOME)]
            await pair.things.until(lambda: pair.things.running == SOME)
            pair.things.gate.set()
            assert await asyncio.gather(*asked) == [b"%d" % n for n in range(SOME)]

    async def test_a_call_that_waits_holds_up_no_other(self) -> None:
        async with self.pair() as pair, unheard() as tasks:
            waiting = tasks.start(ask(pair.one, call("wait")))
            await pair.things.until(lambda: pair.things.running == 1)
            for n in range(SOME):
                assert await ask(pair.one, call("echo", b"%d" % n)) == b"%d" % n
            assert not waiting.done()

    async def test_a_handler_may_call_back_to_where_it_was_called_from(self) -> None:
        async with self.pair() as pair:
            back = Things("back")
            await self.listen([pair.one, pair.other], {"back": back.server}, at=pair.one)
            pair.things.back, back.back = pair.other, pair.one
            body = b"back.forward things.forward back.echo there and back again"
            assert await ask(pair.one, call("forward", body)) == b"there and back again"

    async def test_a_crowd_of_calls_is_answered_or_told_of_a_limit(self) -> None:
        async with self.pair() as pair, unheard() as tasks:
            asked = [
                tasks.start(fate(pair.one, call("wait", b"%d" % n), limit=CROWD_SECONDS)) for n in range(self.crowd)
            ]
            ended: list[object] = []

            def note(one: object) -> None:
                ended.append(one)
                pair.things.changed.set()

            for one in asked:
                one.add_done_callback(note)
            # One that ends before the gate opens has failed: then the others need not come.
            await pair.things.until(lambda: bool(ended) or pair.things.running == self.crowd, limit=CROWD_SECONDS)
            pair.things.gate.set()
            assert await asyncio.gather(*asked) == [b"%d" % n for n in range(self.crowd)]
            assert pair.things.running == 0


class EndTests(TransportHooks):
    """Deadlines, and callers who give up."""

    async def test_a_call_ends_at_its_deadline_and_so_does_its_handler(self) -> None:
        async with self.pair() as pair:
            # So that a connection stands: to make one takes its part of a deadline.
            assert await ask(pair.one, call("echo", b"first")) == b"first"
            with pytest.raises(DeadlineExceeded, match=r"things\.hold"):
                await ask(pair.one, call("hold", timeout=ENDED_SECONDS))
            await pair.things.until(lambda: pair.things.cancelled == ["things.hold"])
            assert await ask(pair.one, call("echo", b"well")) == b"well"

    async def test_a_call_ends_at_its_deadline_whatever_its_receiver_does(self) -> None:
        async with self.pair() as pair:
            self.apart(pair.one)
            deaf = Deaf()
            await self.listen([pair.one, pair.other], {"deaf": deaf}, at=pair.other)
            assert await ask(pair.one, call("echo", b"first")) == b"first"
            try:
                with pytest.raises(DeadlineExceeded, match=r"deaf\.echo"):
                    await ask(pair.one, call("deaf.echo", timeout=ENDED_SECONDS))
            finally:
                deaf.over.set()
            assert await ask(pair.one, call("echo", b"well")) == b"well"

    async def test_time_is_handed_on_as_time_left(self) -> None:
        async with self.pair() as pair:
            last = Things("last")
            await self.listen([pair.one, pair.other], {"last": last.server}, at=pair.one)
            pair.things.back = pair.other
            assert await ask(pair.one, call("forward", b"last.echo on", timeout=5.0)) == b"on"
            (first,), (second,) = pair.things.came, last.came
            # Where no time passes, as in a simulation, what is left is rounded up by less than anybody can tell.
            assert 0.0 < second.timeout <= first.timeout + ROUNDING_SECONDS
            assert first.timeout <= 5.0  # noqa: PLR2004 - what it was sent with

    async def test_a_message_without_a_deadline_has_none(self) -> None:
        async with self.pair() as pair:
            assert await ask(pair.one, call("echo", b"soon", timeout=0.0)) == b"soon"
            assert pair.things.came[0].timeout == 0.0

    async def test_cancelling_a_call_reaches_its_handler(self) -> None:
        async with self.pair() as pair, unheard() as tasks:
            asking = tasks.start(ask(pair.one, call("hold")))
            await pair.things.until(lambda: pair.things.running == 1)
            _ = asking.cancel()
            await pair.things.until(lambda: pair.things.cancelled == ["things.hold"])
            assert await ask(pair.one, call("echo", b"well")) == b"well"
            assert asking.cancelled()

    async def test_calls_that_are_cancelled_at_once_leave_nothing_behind(self) -> None:
        async with self.pair() as pair, unheard() as tasks:
            for turns in range(SOME):
                asked = [tasks.start(ask(pair.one, call("hold"))) for _ in range(SOME)]
                for _ in range(turns):
                    await asyncio.sleep(0)
                for task in asked:
                    _ = task.cancel()
            assert await ask(pair.one, call("echo", b"well")) == b"well"
            await pair.things.until(lambda: pair.things.running == 0)

    async def test_cancelling_a_call_leaves_others_alone(self) -> None:
        async with self.pair() as pair, unheard() as tasks:
            asked = [tasks.start(ask(pair.one, call("wait", b"%d" % n))) for n in range(SOME)]
            await pair.things.until(lambda: pair.things.running == SOME)
            for task in asked[::2]:
                _ = task.cancel()
            await pair.things.until(lambda: len(pair.things.cancelled) == SOME // 2)
            pair.things.gate.set()
            assert await asyncio.gather(*asked[1::2]) == [b"%d" % n for n in range(1, SOME, 2)]

    async def test_cancelling_a_call_reaches_what_its_handler_called(self) -> None:
        async with self.pair() as pair, unheard() as tasks:
            last = Things("last")
            await self.listen([pair.one, pair.other], {"last": last.server}, at=pair.one)
            pair.things.back = pair.other
            asking = tasks.start(ask(pair.one, call("forward", b"last.hold")))
            await last.until(lambda: last.running == 1)
            _ = asking.cancel()
            await last.until(lambda: last.cancelled == ["last.hold"])
            await pair.things.until(lambda: pair.things.cancelled == ["things.forward"])
