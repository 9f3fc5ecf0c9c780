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

from hanse.control.carried import carried
from hanse.control.edge_choice import Asking, Header, Released
from hanse.control.edge_figures import Counts
from hanse.control.edge_mirror import Pair
from hanse.control.edge_passing import OUTSIDE, neighbours_of, passage
from hanse.control.edge_retry import Failure, Step, Tried, may_repeat, next_step
from hanse.control.edge_table import EdgeRoute, Server, Table, Target, Timeouts
from hanse.deploy.edge.builtin.asker import Asker
from hanse.deploy.edge.builtin.edge import Edge, Pick
from hanse.deploy.edge.builtin.heads import (
    Line,
    Told,
    baggage_of,
    cookies_of,
    request_head,
    response_head,
    set_cookie,
    switching_head,
    trailer_lines,
    without_prefix,
)
from hanse.deploy.edge.builtin.http1 import SWITCHING, Body, End, Event, Field, RequestHead, ResponseHead, Upgraded
from hanse.deploy.edge.builtin.mirror import Copy, begin_copy
from hanse.deploy.edge.builtin.outgoing import WAITING_BYTES_MAX, Outgoing
from hanse.deploy.edge.builtin.upstream import IDLE_SECONDS, Upstream
from hanse.deploy.edge.faults import BrokenAnswer, NotANeighbour, NotForwarded, NotRouted, OutcomeUnknown
from hanse.kernel.faults import DeadlineExceeded, Fault, Overloaded, Unavailable
from hanse.kernel.traceparent import new_trace, parse_traceparent

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
        self.head: RequestHead = head
        self.line: Line = line
        self.asker: Asker = asker
        self._edge = edge
        self._keyed = bool(head.get(b"idempotency-key"))
        self._repeatable = may_repeat(head.method, keyed=self._keyed)
        self._route: EdgeRoute | None = None
        self._target: Target | None = None
        self._released = Released("")
        self._cookie = ""
        self._pick: Pick | None = None
        self._attempts = 0
        self._avoided: set[str] = set()
        self._upstream: Upstream | None = None
        self._fresh = False
        self._chunked = False
        self._closing = False
        self._reusable = False
        self._whole = False
        self._early = b""
        self._copy: Copy | None = None
        self._over = False
        self.tunnel: bool = False
        self._ended_up = self._ended_down = False
        seen = edge.seen(asker.peer, head)
        self._trusted, self._may_force = seen.trusted, seen.may_force
        trace = parse_traceparent(head.get(b"traceparent").decode("latin-1"))
        self._traceparent = str(trace) if trace else new_trace(edge.host)
        self.trace_id: str = self._traceparent[3:35]
        self.request_id: str = edge.request_id(head, self.trace_id)
        self.address: str = seen.address
        header = _header_of(head)
        # Strangers choose no release.
        inside = self._may_force or edge.choices.table.egress is not None
        self._tree = carried(",".join(baggage_of(head))) if inside else ""
        self._asking = Asking(header, cookies_of(head.get(b"cookie")), seen.address, self._may_force, self._tree)
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
        if self._copy is not None and self._target is not None:
            if self.head.length is None:
                self._copy.body(trailer_lines(trailers))
            self._copy.send(self._target.timeouts.head)
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
            self._counts(self._pick).gone += 1
        self._end()
        if self._upstream is not None:
            self._upstream.abort()

    def early(self, data: bytes) -> None:
        """What a client says in another protocol before the server has agreed to it."""
        if self.tunnel:
            self.tunnelled(data, up=True)
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
        timeouts = self._target.timeouts if self._target else Timeouts()
        upstream = self._upstream
        if self._over or upstream is None:
            return
        still = now - self.moved
        if self.tunnel:
            if still > timeouts.tunnel:
                self.cut()
        elif self.status:
            if still > timeouts.idle and not self.asker.full:
                self._failed(Failure.HALFWAY)
        elif still > (timeouts.head if self._out.done else timeouts.idle) and (self._out.done or upstream.full):
            self._failed(Failure.LATE)

    @property
    def server(self) -> str:
        """Id of the server that it is at; empty for none."""
        return self._pick.server.id if self._pick else ""

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
        edge, choices = self._edge, self._edge.choices
        self._route = route = choices.route(self.line.host, self.line.path)
        if choices.table.egress is not None and self.line.scheme == "https":
            # To ask it in plain would tell everybody on the way what was meant to be secret.
            self._refuse(NotForwarded("https:// in plain; let no HTTPS_PROXY name it"))
            return
        if route is None:
            self._unrouted(choices.table)
            return
        self._target = target = choices.targets[route.service]
        if not self._attempts:
            self._out = Outgoing(
                chunked=self.head.length is None, keep=target.retries.body_bytes if self._repeatable else 0
            )
        self._released = choices.release(target, self._asking, edge.host.chance.random)
        self._cookie = self._cookie or self._released.cookie
        self._pick = pick = edge.pick(target, self._asking, self._released, self._avoided)
        if pick is None:
            self._refuse(Unavailable(f"no server of {target.service} takes requests; try again in a moment"))
            return
        if not self._attempts:
            self._copy = self._mirror(target, route, pick.release)
        self._go(pick, target)

    def _unrouted(self, table: Table) -> None:
        """No service is asked for; perhaps a host outside is, to which requests are passed on."""
        egress = table.egress
        if egress is None or not self.line.scheme:
            self._refuse(NotRouted(self.line.path[:200]) if table.routes else Unavailable("nothing runs yet"))
        elif passed := passage(self.line.host, egress):
            self._route, self._target, server = passed
            self._pick = pick = Pick(server, "")
            self._out = Outgoing(chunked=self.head.length is None, keep=0)
            self._go(pick, self._target)
        else:
            self._refuse(NotANeighbour(self.line.host[:200], neighbours_of(table) or "none yet"))

    def _go(self, pick: Pick, target: Target) -> None:
        """Send the request to a server."""
        edge = self._edge
        self._attempts += 1
        edge.tally.enter(pick.server.id)
        idle_max = IDLE_SECONDS if self._repeatable else target.retries.reuse_idle
        upstream = edge.upstreams.take(pick.server, idle_max) if self._attempts == 1 else None
        if upstream is not None:
            self._send(upstream)
        else:
            try:
                edge.start(self._connect(pick, target.timeouts.connect))
            except Overloaded as fault:
                self._refuse(fault)

    async def _connect(self, pick: Pick, timeout: float) -> None:
        if pick.pause:
            await asyncio.sleep(pick.pause)
        if self._over:
            return
        try:
            upstream = await self._edge.upstreams.connect(pick.server, timeout)
        except (OSError, TimeoutError, UnicodeError):
            # UnicodeError: the name of a host that cannot be one.
            if not self._over:
                self._edge.failed_at(pick.server)
                self._failed(Failure.UNSENT)
            return
        if self._over:
            self._edge.upstreams.park(upstream)
        else:
            self._send(upstream)

    def _send(self, upstream: Upstream) -> None:
        target, route = self._target, self._route
        assert target is not None
        assert route is not None
        self._upstream, self._fresh = upstream, not upstream.used
        upstream.begin(self, to_head=self.head.method == "HEAD")
        self.moved = self._edge.loop.time()
        upstream.write([self._head_for(upstream.server, target, route), *self._out.take()])
        self.asker.read(on=not upstream.full)

    def _head_for(self, server: Server, target: Target, route: EdgeRoute, *, shadow: bool = False) -> bytes:
        """The head that a server gets."""
        stripped = route.path if route.strip_prefix else ""
        told = Told(
            host=self.line.host or f"{server.host}:{server.port}",
            peer=self.asker.peer,
            scheme=self._edge.scheme,
            traceparent=self._traceparent,
            request_id=self.request_id,
            trusted=self._trusted,
            may_force=self._may_force,
            forced_by=target.forced_by,
            prefix=stripped.rstrip("/"),
            shadow=shadow,
            release=self._tree or (self._pick.release if self._pick and len(target.split.shares) > 1 else ""),
            outside=route.service == OUTSIDE,
        )
        asked = without_prefix(self.line.target, stripped) if stripped else self.line.target
        return request_head(self.head, asked, told, upgrade=self.head.upgrade)

    def _mirror(self, target: Target, route: EdgeRoute, release: str) -> Copy | None:
        """Begin a copy for another release, where the table wants one of this request."""
        if target.mirror is None or self.head.upgrade:
            return None
        pair = Pair(
            service=target.service,
            route=route.path,
            method=self.head.method,
            target=self.line.target.decode("ascii"),
            trace_id=self.trace_id,
            release=release,
            mirror=target.mirror.release,
        )

        def head(server: Server) -> bytes:
            return self._head_for(server, target, route, shadow=True)

        return begin_copy(self._edge, target, pair, self._asking, head)

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
                self._reusable = False
                break
            ended = self._take(event, out)
            if self.tunnel or self._over:
                return
        if ended is not None and self._chunked:
            out.append(trailer_lines(ended.trailers))
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
                self._reusable = event.keep_alive and event.framing != "close" and self.server != OUTSIDE
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
        return b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data

    def _answer(self, head: ResponseHead, out: list[bytes]) -> None:
        """The head of an answer."""
        status = head.status
        if status < _OK and status != SWITCHING:
            if self.head.version != "1.0":
                out.append(response_head(head, [], chunked=False, close=False))
            return
        if status == SWITCHING and not (self.head.upgrade and head.get(b"upgrade")):
            self.garbled()
            return
        pick, counts = self._pick, self._counts(self._pick)
        assert pick is not None
        counts.requests += 1
        counts.retried += self._attempts > 1
        counts.errors += status >= _SERVER_ERROR
        counts.took(self._edge.host.monotonic() - self.began)
        self.status = status
        if self._copy is not None:
            self._copy.told.head(head)
        self._out.forget()
        if status == SWITCHING:
            self._switch(head, out)
            return
        unframed = head.framing in {"chunked", "close"}
        self._chunked = unframed and self.head.version != "1.0"
        self._closing = (
            not self.head.keep_alive
            or self.head.version == "1.0"
            or self.head.upgrade
            or not self._out.done
            or (unframed and not self._chunked)
            or self._edge.stopping
        )
        out.append(response_head(head, self._more(head, pick.server), chunked=self._chunked, close=self._closing))

    def _switch(self, head: ResponseHead, out: list[bytes]) -> None:
        """Begin a tunnel."""
        upstream = self._upstream
        assert upstream is not None
        self.tunnel = upstream.tunnel = True
        self.asker.write(b"".join([*out, switching_head(head)]))
        upstream.write([self._early])
        self._early = b""
        self.asker.read(on=not upstream.full)

    def _more(self, head: ResponseHead, server: Server) -> list[bytes]:
        """What the edge adds to the head of an answer."""
        lines: list[bytes] = []
        secure = self._edge.scheme == "https"
        if not head.get(b"x-request-id"):
            lines.append(b"X-Request-ID: " + self.request_id.encode("latin-1"))
        if self._cookie and self._target is not None:
            lines.append(set_cookie(self._target.split.cookie, self._cookie, secure=secure))
        sticky = self._pick.sticky if self._pick else ""
        if sticky and self._asking.cookies.get(sticky) != server.id:
            lines.append(set_cookie(sticky, server.id, secure=secure))
        return lines

    def _finish(self) -> None:
        """The answer is whole."""
        upstream = self._upstream
        assert upstream is not None
        self._upstream, self._whole = None, True
        self._end()
        whole = self._out.done and not self._out.waiting
        self.asker.over(keep=not self._closing and whole)
        if whole and self._reusable and upstream.between:
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
        self._upstream = None
        if self._over:
            return
        if self.tunnel:
            self._end()
            self.asker.over(keep=False)
        elif self.status:
            self._failed(Failure.HALFWAY)
        else:
            if self._fresh and self._pick is not None:
                self._edge.failed_at(self._pick.server)
            self._failed(Failure.UNHEARD)

    # A tunnel.

    def tunnelled(self, data: bytes, *, up: bool) -> None:
        """See `Waiting`."""
        self.moved = self._edge.loop.time()
        if not up:
            self.asker.write(data)
        elif self._upstream is not None and self._upstream.alive:
            self._upstream.write([data])

    def asker_eof(self) -> bool:
        """The client sends nothing more; whether its connection stays open, as the server may still say something."""
        upstream = self._upstream
        if not self.tunnel or upstream is None:
            return False
        self._ended_up = True
        upstream.write_eof()
        return not self._both_ended()

    def upstream_eof(self) -> bool:
        """See `Waiting`."""
        self._ended_down = True
        self.asker.end_writing()
        return not self._both_ended()

    def _both_ended(self) -> bool:
        """Whether neither side of a tunnel says anything more; then it is over."""
        upstream = self._upstream
        if not self._ended_up or not self._ended_down or upstream is None:
            return False
        self._upstream = None
        self._end()
        upstream.close()
        self.asker.over(keep=False)
        return True

    # Ends.

    def _failed(self, failure: Failure) -> None:
        """An attempt failed; what is done about it is decided by `next_step`."""
        target, pick = self._target, self._pick
        assert target is not None
        assert pick is not None
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.abort()
        self._counts(pick).failed += 1
        others = self._edge.has_others(target, self._avoided | {pick.server.id})
        tried = Tried(self.head.method, self._keyed, self._attempts, self._out.kept, others)
        step = next_step(failure, tried, target.retries)
        if step == "again":
            if failure is Failure.UNSENT or self._fresh:
                self._avoided.add(pick.server.id)
            self._edge.tally.leave(pick.server.id)
            self._pick = None
            self._out.rewind()
            self._attempt()
        elif step == "break off":
            self._counts(pick).errors += self.status < _SERVER_ERROR
            self._end()
            self.asker.abort()
        else:
            self._counts(pick).unknown += step == "unknown"
            self._refuse(_fault(step, target.service))

    def _refuse(self, fault: Fault) -> None:
        """Answer with what went wrong."""
        counts = self._counts(self._pick)
        counts.requests += 1
        counts.errors += fault.status >= _SERVER_ERROR
        counts.retried += self._attempts > 1
        self.status = fault.status
        self._end()
        self.asker.refuse(fault, self.trace_id)

    def _end(self) -> None:
        self._over = True
        if self._pick is not None:
            self._edge.tally.leave(self._pick.server.id)
        if self._copy is not None:
            self._copy.over(whole=self._whole, sent=self._out.done)
        self._edge.over(self)

    def _counts(self, pick: Pick | None) -> Counts:
        route = self._route
        where = route.path if route else ""
        service = route.service if route else ""
        if pick is None:
            return self._edge.tally.of(service, self._released.release, "", where)
        return self._edge.tally.of(service, pick.release, pick.server.id, where)


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


def _header_of(head: RequestHead) -> Header:
    def header(name: str) -> str:
        return head.get(name.encode()).decode("latin-1")

    return header
