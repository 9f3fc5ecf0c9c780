"""Copies of requests to another release. The client never waits for one, and never sees what it came to.

A copy is marked, so that what handles it writes nothing. It is sent when its request is whole; beyond a limit of copies
under way, and of bytes of a body, none is made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import final

import msgspec

from hanse.control.edge_choice import Asking, Released
from hanse.control.edge_mirror import BODY_BYTES_MAX, Heard, Pair
from hanse.control.edge_table import WHOLE, Server, Target
from hanse.deploy.edge.builtin.edge import Edge, Pick
from hanse.deploy.edge.builtin.http1 import Body, End, Event, ResponseHead
from hanse.deploy.edge.builtin.upstream import Upstream

_OK = 200


@final
class Listening:
    """Takes down an answer, as far as it is compared."""

    def __init__(self, began: float) -> None:
        """Nothing was heard.

        Args:
            began: When it was asked for, on the host's clock.
        """
        self._began = began
        self._heard = Heard()
        self._pieces: list[bytes] = []
        self._size = 0

    def head(self, head: ResponseHead) -> None:
        """The head of the answer."""
        kind = head.get(b"content-type").decode("latin-1")
        self._heard = msgspec.structs.replace(self._heard, status=head.status, type=kind)

    def body(self, data: bytes) -> None:
        """A piece of its body."""
        if self._size < BODY_BYTES_MAX:
            self._pieces.append(data[: BODY_BYTES_MAX - self._size])
        self._size += len(data)

    def heard(self, now: float, problem: str = "") -> Heard:
        """All of it.

        Args:
            now: On the host's clock.
            problem: Why it is not whole; empty where it is.
        """
        body, cut = b"".join(self._pieces), self._size > BODY_BYTES_MAX
        return msgspec.structs.replace(
            self._heard, body=body, cut=cut, seconds=round(now - self._began, 6), problem=problem
        )


@final
class Shadow:
    """The answer to a copy, as it comes over a connection to a server."""

    def __init__(self, listening: Listening) -> None:
        """Wait for an answer.

        Args:
            listening: Takes it down.
        """
        self.done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._listening = listening
        self._final = False
        self._keep = False

    async def ask(self, upstream: Upstream, request: list[bytes], *, to_head: bool) -> bool:
        """Send a copy, and wait for its answer; whether the connection may be used again."""
        upstream.begin(self, to_head=to_head)
        upstream.write(request)
        return await self.done

    def came(self, events: list[Event]) -> None:
        """See `Waiting`."""
        for event in events:
            match event:
                case ResponseHead(status=status):
                    self._final = status >= _OK
                    self._keep = event.keep_alive and event.framing != "close"
                    self._listening.head(event)
                case Body(data):
                    self._listening.body(data)
                case End() if self._final:
                    self._end(self._keep)
                case _:
                    pass

    def garbled(self) -> None:
        """See `Waiting`."""
        self._fail(ConnectionError("its answer is no HTTP"))

    def upstream_lost(self) -> None:
        """See `Waiting`."""
        self._fail(ConnectionError("its server went away"))

    def upstream_full(self, *, full: bool) -> None:
        """See `Waiting`: a copy is sent at once."""
        del full

    def _end(self, keep: bool) -> None:  # noqa: FBT001 - its only argument
        if not self.done.done():
            self.done.set_result(keep)

    def _fail(self, error: ConnectionError) -> None:
        if not self.done.done():
            self.done.set_exception(error)


@final
class Copy:
    """One request that is copied, and both of its answers."""

    def __init__(self, edge: Edge, pair: Pair, pick: Pick, head: bytes) -> None:
        """Wait until the request is whole.

        Args:
            edge: What is shared.
            pair: What is known of it.
            pick: Who gets the copy.
            head: That it begins with.
        """
        self.told: Listening = Listening(edge.host.monotonic())
        self._edge = edge
        self._pair = pair
        self._pick = pick
        self._request = [head]
        self._size = 0
        self._first: Heard | None = None
        self._second: Heard | None = None
        self._given_up = False
        edge.tally.enter(pick.server.id)

    def body(self, pieces: bytes) -> None:
        """A piece of the request's body, as it goes over the wire; a body that is too long is not copied."""
        self._size += len(pieces)
        if self._size > BODY_BYTES_MAX:
            self.give_up()
        else:
            self._request.append(pieces)

    def send(self, timeout: float) -> None:
        """The request is whole."""
        if not self._given_up:
            self._edge.start(self._run(timeout))

    def give_up(self) -> None:
        """There will be no copy."""
        if not self._given_up:
            self._given_up = True
            self._edge.tally.leave(self._pick.server.id)
            self._edge.mirrors.over(None)

    def over(self, *, whole: bool, sent: bool) -> None:
        """The request is over.

        Args:
            whole: Whether the client has all of its answer.
            sent: Whether all of the request has come.
        """
        if not sent:
            self.give_up()
        self._first = self.told.heard(self._edge.host.monotonic(), "" if whole else "the client did not get it whole")
        self._compare()

    async def _run(self, timeout: float) -> None:
        listening, upstreams = Listening(self._edge.host.monotonic()), self._edge.upstreams
        upstream: Upstream | None = None
        problem = ""
        try:
            async with asyncio.timeout(timeout):
                upstream = await upstreams.connect(self._pick.server, timeout)
                shadow = Shadow(listening)
                if await shadow.ask(upstream, self._request, to_head=self._pair.method == "HEAD"):
                    upstreams.park(upstream)
                    upstream = None
        except TimeoutError:
            problem = f"no answer within {timeout:g} s"
        except OSError as error:
            problem = str(error)
        finally:
            if upstream is not None:
                upstream.abort()
            self._edge.tally.leave(self._pick.server.id)
        self._second = listening.heard(self._edge.host.monotonic(), problem)
        self._compare()

    def _compare(self) -> None:
        if not self._given_up and self._first is not None and self._second is not None:
            self._edge.mirrors.over(msgspec.structs.replace(self._pair, told=self._first, copied=self._second))


def begin_copy(edge: Edge, target: Target, pair: Pair, asking: Asking, head: Callable[[Server], bytes]) -> Copy | None:
    """A copy of a request, where the table wants one and there is room and a server for it.

    Args:
        edge: What is shared.
        target: The service.
        pair: What is known of the request.
        asking: The request, as a server is chosen by it.
        head: Makes the head that a server gets.
    """
    mirror = target.mirror
    if mirror is None or mirror.release == pair.release or pair.method not in mirror.methods:
        return None
    chance = edge.host.chance
    if chance.random() * WHOLE >= mirror.points:
        return None
    if mirror.placebo and chance.random() * WHOLE < mirror.placebo:
        pair = msgspec.structs.replace(pair, mirror=pair.release)
    pick = edge.pick(target, asking, Released(pair.mirror, forced=True), set())
    if pick is None or not edge.mirrors.admits():
        return None
    return Copy(edge, pair, pick, head(pick.server))
