"""Sends to other nodes: asks who is to be asked, has it carried there, and notes how that went.

What was certainly not begun is sent elsewhere at once: it could not be sent, or was refused before its handler ran, as
by a node that stops. Whatever else fails goes to the caller. Its client decides about another try, which comes with the
same id, and is sent to somebody else where there is anybody; so is the second of two that race.
"""

from __future__ import annotations

import asyncio
import difflib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import cast

import msgspec

from hanse.kernel.closing import closing
from hanse.kernel.faults import DeadlineExceeded, Fault, Overloaded, Unavailable, UnknownOperation
from hanse.kernel.host import TICK_SECONDS, Host
from hanse.kernel.message import CALL, Headers, Message
from hanse.mesh.breaker import COUNTED
from hanse.mesh.choice import Chooser, why_out
from hanse.mesh.fault import FAULT, is_undone
from hanse.mesh.instance import Instance
from hanse.mesh.routes import ANY, Way
from hanse.transport.base import Answer, Call, by_message, whole
from hanse.transport.direct import AsksDirectly, Direct, NotSent
from hanse.transport.discovery import Announcement

_log = logging.getLogger("hanse.mesh")

TRIES_MAX = 5
"""Instances that are tried for one call, as long as nothing was begun."""

FIRST_SECONDS = 2.0
"""How long after its start a node waits for somebody who serves what is asked, before it says that nobody does."""

FAILED_MAX = 1_000
"""Calls whose failed instances are remembered, for another try to go elsewhere."""

WAYS_MAX = 1_000
"""Addresses for which it is kept in mind how an operation is called there."""

NAMES_TOLD_MAX = 5
"""Instances that the text of a fault names."""


class Tried(msgspec.Struct, frozen=True):
    """Who was asked for a call so far and has not begun, and what the last of them came to."""

    instances: tuple[Instance, ...] = ()
    outcome: Message | Fault | None = None


NOBODY = Tried()


class Sender:
    """The way out of one node to others."""

    def __init__(
        self,
        chooser: Chooser,
        direct: Direct,
        suspect: Callable[[str], None],
        *,
        host: Host,
        first_seconds: float = FIRST_SECONDS,
    ) -> None:
        """Know of nobody yet.

        Args:
            chooser: Says who is asked.
            direct: Carries what is sent.
            suspect: Told the name of an instance that cannot be reached.
            host: Its clock and chance.
            first_seconds: How long after `start` somebody may be waited for.
        """
        self.open: bool = False
        self._chooser = chooser
        self._directory = chooser.directory
        self._direct = direct
        self._ask: Callable[[Message, str], Awaitable[Answer]] = direct.request
        self._call: Callable[[str, str], Call] = self._by_message
        self._given_up: Callable[[], None] = _nothing
        if isinstance(direct, AsksDirectly):
            self._ask, self._call, self._given_up = direct.ask, direct.calling, direct.given_up
        self._suspect = suspect
        self._clock = host.monotonic
        self._draw = host.chance.random
        self._first_seconds = first_seconds
        self._young_until = 0.0
        self._heard = asyncio.Event()
        self._at: dict[str, Instance] = {}
        self._failed: dict[str, tuple[Instance, ...]] = {}

    def start(self) -> None:
        """Others can be asked from now on, once they are known."""
        self.open = True
        self._young_until = self._clock() + self._first_seconds

    def stop(self) -> None:
        """Nobody is asked any more."""
        self.open = False
        self._heard.set()

    # What is heard of others.

    def told(self, said: Announcement) -> None:
        """An instance says something of itself."""
        if self._directory.told(said, self._clock()):
            self._chooser.changed()
            self._heard.set()

    def gone(self, name: str) -> None:
        """An instance has gone."""
        if self._directory.gone(name):
            self._chooser.changed()

    def lost(self, address: str) -> None:
        """A connection broke, or who was there has gone silent."""
        for instance in self._directory.at(address):
            self._lose(instance, "its connection broke")

    # What is asked of others.

    def calling(self, service: str, address: str) -> Call:
        """How an operation is called where no route says where: as by `request`.

        What that does for each call is done here with less, as long as the first who is asked answers well.
        """
        clock, draw, choose, make = self._clock, self._draw, self._chooser.choose, self._call
        ways: dict[str, Call] = {}

        async def call(id: str, timeout: float, headers: Headers, body: bytes) -> Answer:
            begun = clock()
            instance = choose(service, ANY, begun, draw)
            if instance is None:
                return await self.request(service, Message(CALL, id, address, timeout, headers, body))
            way = ways.get(instance.address)
            if way is None:
                if len(ways) >= WAYS_MAX:
                    ways.clear()
                way = ways[instance.address] = make(address, instance.address)
            answer: Answer | None = None
            fault: Fault | None = None
            instance.in_flight += 1
            try:
                answer = await way(id, timeout, headers, body)
            except Fault as error:
                fault = error
            except asyncio.CancelledError:
                self._given_up()
                raise
            finally:
                instance.in_flight -= 1
            now = clock()
            if type(answer) is bytes or (isinstance(answer, Message) and answer.kind is not FAULT):
                instance.answered(now - begun, now)
                return answer
            outcome = fault or cast("Message", answer)
            if not self._is_undone(instance, id, outcome, now):
                return _given(outcome)
            message = _later(Message(CALL, id, address, timeout, headers, body), now - begun)
            return await self.request(service, message, ANY, Tried((instance,), outcome))

        return call

    def _by_message(self, address: str, to: str) -> Call:
        return by_message(lambda message: self._ask(message, to), address)

    async def request(self, service: str, message: Message, way: Way = ANY, so_far: Tried = NOBODY) -> Message:
        """Send to one that serves it, and wait for the answer; see `Transport.request`."""
        before = self._before(message.id) if message.headers.attempt != 1 else ()
        tried, outcome = so_far.instances, so_far.outcome
        while len(tried) < TRIES_MAX:
            begun = self._clock()
            instance = self._chooser.choose(service, way, begun, self._draw, before + tried)
            if instance is None:
                instance = await self._first(service, way, message.timeout)
                now = self._clock()
                message = _later(message, now - begun)
                begun = now
            elif instance in tried:
                break
            self._at[message.id] = instance
            instance.in_flight += 1
            try:
                reply = outcome = whole(await self._ask(message, instance.address), message)
                now = self._clock()
                if reply.kind is not FAULT:
                    instance.answered(now - begun, now)
                    return reply
            except Fault as fault:
                outcome, now = fault, self._clock()
            except asyncio.CancelledError:
                self._given_up()
                raise
            finally:
                instance.in_flight -= 1
                _ = self._at.pop(message.id, None)
            if not self._is_undone(instance, message.id, outcome, now):
                break
            tried += (instance,)
            message = _later(message, now - begun)
        return _given(outcome)

    async def stream(self, service: str, message: Message, way: Way = ANY) -> AsyncIterator[Message]:
        """Send to one that serves it, and give what it answers; see `Transport.stream`."""
        tried: tuple[Instance, ...] = ()
        outcome: Message | Fault | None = None
        while len(tried) < TRIES_MAX:
            begun = self._clock()
            instance = self._chooser.choose(service, way, begun, self._draw, tried)
            if instance is None:
                instance = await self._first(service, way, message.timeout)
                now = self._clock()
                message = _later(message, now - begun)
                begun = now
            elif instance in tried:
                break
            instance.in_flight += 1
            items = 0
            try:
                async with closing(self._direct.stream(message, instance.address)) as replies:
                    async for reply in replies:
                        if not items and reply.kind is FAULT and is_undone(reply):
                            outcome = reply
                            break
                        items += 1
                        yield reply
                    else:
                        return
            except Fault as fault:
                outcome = fault
            finally:
                instance.in_flight -= 1
            now = self._clock()
            if not self._is_undone(instance, message.id, outcome, now) or items:
                break
            tried += (instance,)
            message = _later(message, now - begun)
        yield _given(outcome)

    # What becomes of it.

    def _is_undone(self, instance: Instance, id: str, outcome: Message | Fault | None, now: float) -> bool:
        """Note what a call came to that did not go well; whether it may be sent elsewhere, as nothing was begun."""
        assert outcome is not None
        if isinstance(outcome, NotSent):
            self._lose(instance, str(outcome))
            return True
        silent = isinstance(outcome, Fault)
        if isinstance(outcome, Message) and is_undone(outcome):
            return True
        code = outcome.code if isinstance(outcome, Fault) else outcome.headers.type
        if code == Overloaded.code and not silent:
            instance.burdened(now)
        elif code in COUNTED:
            if self._chooser.failed(instance, now, silent=silent):
                state = instance.standing.state.value
                _log.warning("%s at %s is left alone for a while: %s", instance.name, instance.address, state)
        elif not silent:
            instance.standing.answered()
        self._remember(id, instance)
        return False

    def _lose(self, instance: Instance, why: str) -> None:
        if self._chooser.lost(instance, self._clock()):
            _log.warning("%s at %s gets no calls until it is found again: %s", instance.name, instance.address, why)
        self._suspect(instance.name)

    def _before(self, id: str) -> tuple[Instance, ...]:
        """Who was asked the same before: those that failed, and the one that is still being asked."""
        at = self._at.get(id)
        failed = self._failed.get(id, ())
        return failed if at is None else (*failed, at)

    def _remember(self, id: str, instance: Instance) -> None:
        self._failed[id] = (*self._failed.pop(id, ()), instance)
        if len(self._failed) > FAILED_MAX:
            del self._failed[next(iter(self._failed))]

    async def _first(self, service: str, way: Way, timeout: float) -> Instance:
        """Who is asked, once somebody can be: a node that has just come waits a moment for others to be heard of.

        Those that it has heard of by then may have gone before it came, as others tell of them still.

        Raises:
            Unavailable: Whoever serves it is away.
            UnknownOperation: Nobody serves it.
        """
        now = self._clock()
        until = min(self._young_until, now + timeout) if timeout else self._young_until
        while self.open:
            instance = self._chooser.choose(service, way, now, self._draw)
            if instance is not None:
                return instance
            if now >= until:
                break
            self._heard.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(max(min(until, self._chooser.back_at(service)) - now, TICK_SECONDS)):
                    await self._heard.wait()
            now = self._clock()
        raise self._nobody(service)

    def _nobody(self, service: str) -> Unavailable | UnknownOperation:
        if not self.open:
            return Unavailable("the transport is closed")
        if self._directory.knows(service):
            away = [f"{one.name} {why_out(one)}" for one in self._directory.serving(service)]
            told = "; ".join(away[:NAMES_TOLD_MAX]) or "whoever did has gone"
            return Unavailable(f"nobody serves {service!r} at the moment: {told}")
        # Names with a slash are of our own making, such as that of a collection's rows.
        there = [name for name in self._directory.names if "/" not in name]
        near = difflib.get_close_matches(service, there, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"others serve {', '.join(there) or 'nothing'}"
        return UnknownOperation(f"nobody serves {service!r}; {hint}")


def _nothing() -> None:
    """Whoever is asked by a coroutine of its own hears of a cancellation by itself."""


def _later(message: Message, took: float) -> Message:
    """The same message, with what is left of its time.

    Raises:
        DeadlineExceeded: Nothing is.
    """
    if not message.timeout:
        return message
    if took >= message.timeout:
        raise DeadlineExceeded(message.address)
    left = message.timeout - took
    return Message(message.kind, message.id, message.address, left, message.headers, message.body)


def _given(outcome: Message | Fault | None) -> Message:
    assert outcome is not None
    if isinstance(outcome, NotSent):
        # To whoever asked it is all the same; and breakers count it as what it is.
        raise Unavailable(str(outcome)) from outcome
    if isinstance(outcome, Fault):
        raise outcome
    return outcome
