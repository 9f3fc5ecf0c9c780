"""One request on its way: to a server, perhaps to a second one, and its answer back.

    choosing -> connecting -> sent -> answered -> over
        ^___________________|                       with what `hanse.control.edge_retry` allows
                                 -> tunnel -> over  where both sides agreed on another protocol

Nothing is called back in the middle of a step: what has come is told in order, and what is done about a failure is
decided in one place, `_failed`.
"""

from __future__ import annotations

import asyncio
from typing import final

from hanse.control.edge_choice import asker_of
from hanse.control.edge_figures import Counts, Key
from hanse.control.edge_mirror import Pair
from hanse.control.edge_passing import OUTSIDE
from hanse.control.edge_retry import Failure, Step, Tried, may_repeat, next_step
from hanse.control.edge_table import Server, Timeouts
from hanse.deploy.edge.builtin.answering import Answering
from hanse.deploy.edge.builtin.asker import Asker
from hanse.deploy.edge.builtin.destination import Destination, Nowhere, destination
from hanse.deploy.edge.builtin.edge import Edge
from hanse.deploy.edge.builtin.heads import Line, set_cookie, switching_head, trailer_lines
from hanse.deploy.edge.builtin.http1 import SWITCHING, Body, End, Event, Field, RequestHead, ResponseHead, Upgraded
from hanse.deploy.edge.builtin.incoming import Incoming
from hanse.deploy.edge.builtin.mirror import Copy, begin_copy
from hanse.deploy.edge.builtin.outgoing import WAITING_BYTES_MAX, Outgoing
from hanse.deploy.edge.builtin.tunnel import Tunnel
from hanse.deploy.edge.builtin.upstream import IDLE_SECONDS, Upstream
from hanse.deploy.edge.faults import BrokenAnswer, OutcomeUnknown
from hanse.kernel.faults import DeadlineExceeded, Fault, Overloaded, Unavailable

_OK = 200
_SERVER_ERROR = 500


@final
class Exchange:
    """One request and its answer.

    Attributes:
        began: On the host's clock.
        moved: When something last went either way, on the loop's clock.
        status: Of the answer; 0 until there is one.
    """

    def __init__(self, edge: Edge, asker: Asker, head: RequestHead, line: Line) -> None:
        self.began: float = edge.host.monotonic()
        self.moved: float = edge.loop.time()
        self.status: int = 0
        self.asker: Asker = asker
        self._edge = edge
        self._incoming = incoming = Incoming(edge, asker.peer, head, line)
        self.head: RequestHead = head
        self.address: str = incoming.address
        self.request_id: str = incoming.request_id
        self.trace_id: str = incoming.trace_id
        self._keyed = bool(head.get(b"idempotency-key"))
        self._repeatable = may_repeat(head.method, keyed=self._keyed)
        self._at: Destination | None = None
        self._nowhere: Nowhere | None = None
        self._cookie = ""
        self._attempts = 0
        self._avoided: set[str] = set()
        self._upstream: Upstream | None = None
        self._fresh = False
        self._answering = Answering(head)
        self._whole = False
        self._early = b""
        self._copy: Copy | None = None
        self._over = False
        self.tunnel: Tunnel | None = None
        self._out = Outgoing(chunked=head.length is None, keep=0)

    # What the client's connection tells.

    def begin(self) -> None:
        """Find somebody who answers."""
        self._edge.exchanges.add(self)
        self._attempt()

    def body(self, data: bytes) -> None:
        """A piece of the request's body has come."""
        if self._over:
            return
        self._out.add(data)
        if self._copy is not None:
            self._copy.body(self._out.framed(data))
        self._flush()

    def body_end(self, trailers: list[Field]) -> None:
        """All of the request has come."""
        if self._over:
            return
        self._out.end(trailers)
        if self._copy is not None and self._at is not None:
            if self.head.length is None:
                self._copy.body(trailer_lines(trailers))
            self._copy.send(self._at.target.timeouts.head)
        self._flush()

    def asker_full(self, *, full: bool) -> None:
        """Whether the client takes no more of its answer for now."""
        if self._upstream is not None:
            self._upstream.read(on=not full)

    def asker_gone(self) -> None:
        """The client has left: nobody waits for the answer."""
        if self._over:
            return
        if not self.status:
            self._counts().gone += 1
        self._end()
        if self._upstream is not None:
            self._upstream.abort()

    def early(self, data: bytes) -> None:
        """What a client says in another protocol before the server has agreed to it."""
        if self.tunnel is not None:
            self.tunnel.up(data)
        elif not self._over:
            self._early += data
            if len(self._early) > WAITING_BYTES_MAX:
                self.asker.read(on=False)

    def refuse_slow(self, fault: Fault) -> None:
        """The client is too slow with its body."""
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.abort()
        if self.status:
            self._end()
            self.asker.abort()
        else:
            self._refuse(fault)

    # What the sweep asks.

    def look(self, now: float) -> None:
        """Break off what has waited too long."""
        timeouts = self._at.target.timeouts if self._at else Timeouts()
        upstream = self._upstream
        if self._over or upstream is None:
            return
        if self.tunnel is not None:
            if now - self.tunnel.moved > timeouts.tunnel:
                self.cut()
            return
        still = now - self.moved
        if self.status:
            if still > timeouts.idle and not self.asker.full:
                self._failed(Failure.HALFWAY)
        elif still > (timeouts.head if self._out.done else timeouts.idle) and (self._out.done or upstream.full):
            self._failed(Failure.LATE)

    @property
    def server(self) -> str:
        """Id of the server that it is at; empty for none."""
        return self._at.pick.server.id if self._at else ""

    @property
    def waits(self) -> Key | None:
        """For whose answer it waits; None where the head of one has come, or nobody was asked."""
        at = self._at
        if at is None or self.status or self._over:
            return None
        return Key(at.route.service, at.pick.release, at.pick.server.id, at.route.path)

    @property
    def wants_body(self) -> bool:
        """Whether it waits for the client to send more."""
        return not self._out.done and not self._over and self._out.waiting < WAITING_BYTES_MAX

    def cut(self) -> None:
        """Break it off on both sides."""
        if self._over:
            return
        self._end()
        if self._upstream is not None:
            self._upstream.abort()
        self.asker.abort()

    # Sending.

    def _attempt(self) -> None:
        """Choose a server, by the table as it is now, and send the request there."""
        found = destination(self._edge, self._incoming.line, self._incoming.asking, self._avoided)
        if isinstance(found, Nowhere):
            self._at, self._nowhere = None, found
            self._refuse(found.fault)
            return
        self._at = found
        self._cookie = self._cookie or found.cookie
        target, pick = found.target, found.pick
        if not self._attempts:
            keeps = self._repeatable and not found.is_outside
            self._out = Outgoing(chunked=self.head.length is None, keep=target.retries.body_bytes if keeps else 0)
            self._copy = self._mirror(found)
        self._attempts += 1
        self._edge.tally.enter(pick.server.id)
        idle_max = IDLE_SECONDS if self._repeatable else target.retries.reuse_idle
        upstream = self._edge.upstreams.take(pick.server, idle_max) if self._attempts == 1 else None
        if upstream is not None:
            self._send(upstream, found)
        else:
            try:
                self._edge.start(self._connect(found))
            except Overloaded as fault:
                self._refuse(fault)

    async def _connect(self, at: Destination) -> None:
        server = at.pick.server
        if at.pick.pause:
            await asyncio.sleep(at.pick.pause)
        if self._over:
            return
        try:
            upstream = await self._edge.upstreams.connect(server, at.target.timeouts.connect)
        except (OSError, TimeoutError, UnicodeError):
            # UnicodeError: the name of a host that cannot be one.
            if not self._over:
                self._edge.failed_at(server)
                self._failed(Failure.UNSENT)
            return
        if self._over:
            self._edge.upstreams.park(upstream)
        else:
            self._send(upstream, at)

    def _send(self, upstream: Upstream, at: Destination) -> None:
        self._upstream, self._fresh = upstream, not upstream.used
        upstream.begin(self, to_head=self.head.method == "HEAD")
        self.moved = self._edge.loop.time()
        upstream.write([self._incoming.head_for(upstream.server, at), *self._out.take()])
        self.asker.read(on=not upstream.full)

    def _mirror(self, at: Destination) -> Copy | None:
        """Begin a copy for another release, where the table wants one of this request."""
        target = at.target
        if target.mirror is None or self.head.upgrade:
            return None
        pair = Pair(
            service=target.service,
            route=at.route.path,
            method=self.head.method,
            target=self._incoming.line.target.decode("ascii"),
            trace_id=self.trace_id,
            release=at.pick.release,
            mirror=target.mirror.release,
        )

        def head(server: Server) -> bytes:
            return self._incoming.head_for(server, at, shadow=True)

        return begin_copy(self._edge, target, pair, self._incoming.asking, head)

    def _flush(self) -> None:
        """Send on what has come of the body; the client waits where that is too much."""
        upstream = self._upstream
        if upstream is not None and upstream.alive:
            self.moved = self._edge.loop.time()
            upstream.write(self._out.take())
        if self._out.waiting >= WAITING_BYTES_MAX or (upstream is not None and upstream.full):
            self.asker.read(on=False)

    # What the server's connection tells.

    def upstream_full(self, *, full: bool) -> None:
        """See `Waiting`."""
        self.moved = self._edge.loop.time()
        self.asker.read(on=not full)

    def came(self, events: list[Event]) -> None:
        """See `Waiting`."""
        self.moved = self._edge.loop.time()
        out: list[bytes] = []
        ended: End | None = None
        for event in events:
            if ended is not None:
                # More than was asked for: whatever it answers, it is nothing that anybody here has asked.
                self._answering.reusable = False
                break
            ended = self._take(event, out)
            if self.tunnel is not None or self._over:
                return
        if ended is not None:
            out.append(self._answering.end(ended.trailers))
        if out:
            self.asker.write(b"".join(out))
        if ended is not None:
            self._finish()

    def _take(self, event: Event, out: list[bytes]) -> End | None:
        """Have one event go out to the client; the end of the answer, if it is that."""
        match event:
            case Body(data):
                out.append(self._piece(data))
            case ResponseHead():
                keeps = event.keep_alive and event.framing != "close"
                self._answering.reusable = keeps and self.server != OUTSIDE
                self._answer(event, out)
            case End() if self.status >= _OK:
                return event
            case End() | Upgraded() | RequestHead():
                # The end of an interim answer is nothing to anybody.
                pass
        return None

    def _piece(self, data: bytes) -> bytes:
        """A piece of the answer's body, as it goes over the wire."""
        if self._copy is not None:
            self._copy.told.body(data)
        return self._answering.piece(data)

    def _answer(self, head: ResponseHead, out: list[bytes]) -> None:
        """The head of an answer."""
        status = head.status
        if status < _OK and status != SWITCHING:
            out.append(self._answering.interim(head))
            return
        if status == SWITCHING and not (self.head.upgrade and head.get(b"upgrade")):
            self.garbled()
            return
        at = self._at
        assert at is not None
        self._count(head)
        self.status = status
        if self._copy is not None:
            self._copy.told.head(head)
        self._out.forget()
        if status == SWITCHING:
            self._switch(head, out)
        else:
            last = not self._out.done or self._edge.stopping
            out.append(self._answering.begin(head, self._more(head, at), last=last))

    def _count(self, head: ResponseHead) -> None:
        counts = self._counts()
        counts.requests += 1
        counts.retried += self._attempts > 1
        counts.errors += head.status >= _SERVER_ERROR
        self._count_asker(counts, failed=head.status >= _SERVER_ERROR)
        counts.took(self._edge.host.monotonic() - self.began)

    def _count_asker(self, counts: Counts, *, failed: bool) -> None:
        """Count people beside requests, where who asks decides which release answers."""
        at = self._at
        if at is None or not (split := at.target.split).sticks_to:
            return
        who = asker_of(split, self._incoming.asking)
        place, now = (at.pick.server.id, at.route.path), self._edge.host.monotonic()
        self._edge.people.count(counts, place, split.salt, who, now, failed=failed)

    def _switch(self, head: ResponseHead, out: list[bytes]) -> None:
        """Begin a tunnel."""
        upstream = self._upstream
        assert upstream is not None
        self.tunnel = upstream.switched = Tunnel(self.asker, upstream, self._tunnel_over)
        self.asker.write(b"".join([*out, switching_head(head)]))
        upstream.write([self._early])
        self._early = b""
        self.asker.read(on=not upstream.full)

    def _tunnel_over(self) -> None:
        self._upstream = None
        self._end()

    def _more(self, head: ResponseHead, at: Destination) -> list[bytes]:
        """What the edge adds to the head of an answer."""
        lines: list[bytes] = []
        secure = self._edge.scheme == "https"
        if not head.get(b"x-request-id"):
            lines.append(b"X-Request-ID: " + self.request_id.encode("latin-1"))
        if self._cookie:
            lines.append(set_cookie(at.target.split.cookie, self._cookie, secure=secure))
        sticky, seat = at.pick.sticky, at.pick.seat
        if sticky and self._incoming.asking.cookies.get(sticky) != seat:
            lines.append(set_cookie(sticky, seat, secure=secure))
        return lines

    def _finish(self) -> None:
        """The answer is whole."""
        upstream = self._upstream
        assert upstream is not None
        self._upstream, self._whole = None, True
        self._end()
        whole = self._out.done and not self._out.waiting
        self.asker.over(keep=not self._answering.closing and whole)
        if whole and self._answering.reusable and upstream.between:
            self._edge.upstreams.park(upstream)
        elif whole:
            upstream.close()
        else:
            upstream.abort()

    def garbled(self) -> None:
        """See `Waiting`."""
        self._failed(Failure.HALFWAY if self.status else Failure.GARBLED)

    def upstream_lost(self) -> None:
        """See `Waiting`."""
        if self._over:
            return
        if self.tunnel is not None:
            self.tunnel.upstream_lost()
            return
        self._upstream = None
        if self.status:
            self._failed(Failure.HALFWAY)
        else:
            if self._fresh and self._at is not None:
                self._edge.failed_at(self._at.pick.server)
            self._failed(Failure.UNHEARD)

    # Ends.

    def _failed(self, failure: Failure) -> None:
        """An attempt failed; what is done about it is decided by `next_step`."""
        at = self._at
        assert at is not None
        target, server = at.target, at.pick.server.id
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.abort()
        self._counts().failed += 1
        others = self._edge.has_others(target, self._avoided | {server})
        tried = Tried(self.head.method, self._keyed, self._attempts, self._out.kept, others)
        step = next_step(failure, tried, target.retries)
        if step == "again":
            if failure is Failure.UNSENT or self._fresh:
                self._avoided.add(server)
            self._edge.tally.leave(server)
            self._at = None
            self._out.rewind()
            self._attempt()
        elif step == "break off":
            counts = self._counts()
            counts.errors += self.status < _SERVER_ERROR
            if self.status < _SERVER_ERROR and target.split.sticks_to:
                who = asker_of(target.split, self._incoming.asking)
                self._edge.people.failed(counts, target.split.salt, who)
            self._end()
            self.asker.abort()
        else:
            self._counts().unknown += step == "unknown"
            self._refuse(_fault(step, target.service))

    def _refuse(self, fault: Fault) -> None:
        """Answer with what went wrong."""
        counts = self._counts()
        counts.requests += 1
        counts.errors += fault.status >= _SERVER_ERROR
        counts.retried += self._attempts > 1
        self._count_asker(counts, failed=fault.status >= _SERVER_ERROR)
        self.status = fault.status
        self._end()
        self.asker.refuse(fault, self.trace_id)

    def _end(self) -> None:
        self._over = True
        if self._at is not None:
            self._edge.tally.leave(self._at.pick.server.id)
        if self._copy is not None:
            self._copy.over(whole=self._whole, sent=self._out.done)
        self._edge.over(self)

    def _counts(self) -> Counts:
        at = self._at
        if at is not None:
            return self._edge.tally.of(at.route.service, at.pick.release, at.pick.server.id, at.route.path)
        route, release = (self._nowhere.route, self._nowhere.release) if self._nowhere else (None, "")
        return self._edge.tally.of(route.service if route else "", release, "", route.path if route else "")


def _fault(step: Step, service: str) -> Fault:
    match step:
        case "unknown":
            return OutcomeUnknown(service)
        case "late":
            return DeadlineExceeded(service)
        case "broken":
            return BrokenAnswer(service)
        case _:
            return Unavailable(f"no server of {service} takes requests; try again in a moment")
