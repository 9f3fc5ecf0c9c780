"""Releases over a transport that chooses among instances by itself: a release is served under a name of its own.

Who hosts `orders` in release 1.5 serves `orders`, for whoever does not mind, and `orders@1.5`. So a broker goes on
balancing, among all or among those of one release, and a route has only the release to choose.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from typing import final

import msgspec

from hanse.kernel.closing import closing
from hanse.kernel.faults import DeadlineExceeded, Unavailable, UnknownOperation
from hanse.kernel.host import Host
from hanse.kernel.message import CALL, FAULT, NO_HEADERS, Headers, Message
from hanse.kernel.route import Route
from hanse.mesh.explained import Explained, route_name
from hanse.mesh.fault import is_undone
from hanse.mesh.routes import Way, headed, way_for
from hanse.transport.base import (
    RELEASE,
    Answer,
    AsksAtOnce,
    Call,
    Features,
    Receiver,
    Transport,
    by_message,
    service_of,
)
from hanse.transport.direct import NotSent

AWAY_SECONDS = 1.0
"""For which a release that nobody served is not asked for again: others answer meanwhile."""

AWAY_MAX = 10_000
"""Releases that are remembered to be away."""

RELEASES_MAX = 5
"""Releases that are tried for one call; then any answers."""

_ANY = Route()


@final
class Released:
    """Calls that are shared among releases as routes say; all else is the transport's.

    Attributes:
        routes: By service.

    Example:
        >>> from hanse.transport.memory import MemoryTransport
        >>> calls = Released(MemoryTransport(), Host.system())
        >>> calls.route({"orders": Route(releases={"1.5": 1}, source="hanse.toml")})
        >>> calls.explain("orders.place").release
        '1.5'
    """

    def __init__(self, transport: Transport, host: Host) -> None:
        """Begin with no routes.

        Args:
            transport: Chooses among instances.
            host: Its clock and chance.
        """
        self.routes: Mapping[str, Route] = {}
        self._home = ""
        self._transport = transport
        self._host = host
        self._away: dict[tuple[str, str], float] = {}
        self._calling: Callable[[str], Call] = partial(by_message, transport.request)
        self._given_up: Callable[[], None] = _nothing
        if isinstance(transport, AsksAtOnce):
            self._calling, self._given_up = transport.calling, transport.given_up

    @property
    def features(self) -> Features:
        """See `Transport.features`."""
        return self._transport.features

    async def open(self) -> None:
        """See `Transport.open`."""
        await self._transport.open()

    async def close(self) -> None:
        """See `Transport.close`."""
        await self._transport.close()

    def listen(self, service: str, receiver: Receiver, /) -> None:
        """See `Transport.listen`."""
        self._transport.listen(service, receiver)

    def leave(self, service: str, /) -> None:
        """See `Transport.leave`."""
        self._transport.leave(service)

    def route(self, routes: Mapping[str, Route], home: str = "") -> None:
        """See `TakesRoutes.route`."""
        self.routes = dict(routes)
        self._home = home

    def explain(self, address: str, headers: Headers = NO_HEADERS) -> Explained:
        """Which release would be asked for; who of it answers, the broker knows."""
        service = service_of(address)
        release = self._way(service, headers).release
        among = f"release {release} of {service}, or of any if nobody serves that" if release else f"all of {service}"
        summary = f"the transport chooses by itself among the instances of {among}"
        return Explained(address, summary, release, route=route_name(service, self.routes.get(service)))

    def request(self, message: Message, /) -> Awaitable[Message]:
        """See `Transport.request`."""
        if not self.routes and not message.headers.release and not self._home:
            return self._transport.request(message)
        return self._request(self._begun(message))

    def calling(self, address: str, /) -> Call:
        """See `AsksAtOnce.calling`."""
        at_once = self._calling(address)

        def call(id: str, timeout: float, headers: Headers, body: bytes) -> Awaitable[Answer]:
            if not self.routes and not headers.release and not self._home:
                return at_once(id, timeout, headers, body)
            return self._request(self._begun(Message(CALL, id, address, timeout, headers, body)))

        return call

    def given_up(self) -> None:
        """See `AsksAtOnce.given_up`."""
        self._given_up()

    async def stream(self, message: Message, /) -> AsyncIterator[Message]:
        """See `Transport.stream`."""
        message = self._begun(message)
        begun, service = self._host.monotonic(), service_of(message.address)
        for _ in range(RELEASES_MAX):
            way = self._way(service, message.headers)
            release = way.release
            if not release:
                break
            try:
                items = self._transport.stream(_of_release(self._later(message, begun), way))
                async with closing(items) as replies:
                    async for reply in replies:
                        yield reply
            except (NotSent, UnknownOperation):
                self._is_away(service, release)
            else:
                return
        async with closing(self._transport.stream(self._later(message, begun))) as replies:
            async for reply in replies:
                yield reply

    async def _request(self, message: Message) -> Message:
        begun, service = self._host.monotonic(), service_of(message.address)
        for _ in range(RELEASES_MAX):
            way = self._way(service, message.headers)
            release = way.release
            if not release:
                break
            try:
                reply = await self._transport.request(_of_release(self._later(message, begun), way))
            except (NotSent, UnknownOperation):
                self._is_away(service, release)
            else:
                if reply.kind is not FAULT or not is_undone(reply):
                    return reply
                if reply.headers.type != Unavailable.code:
                    break  # it lacks the operation, which another release may have
                self._is_away(service, release)
        return await self._transport.request(self._later(message, begun))

    def _begun(self, message: Message) -> Message:
        """A message of a story that began here, where it stays with the release of this node."""
        if not self._home or message.headers.release:
            return message
        return message.with_headers(msgspec.structs.replace(message.headers, release=self._home))

    def _way(self, service: str, headers: Headers) -> Way:
        """The release that a call goes to, of those that are not known to be away; empty for any."""
        route = self.routes.get(service, _ANY)
        wanted = {headers.release, *route.releases, *(name for rule in route.rules for name in rule.releases)} - {""}
        now = self._host.monotonic()
        offered = [name for name in wanted if self._away.get((service, name), 0.0) <= now]
        return way_for(route, headers, offered, self._host.chance.random())

    def _is_away(self, service: str, release: str) -> None:
        if len(self._away) >= AWAY_MAX:
            self._away.clear()
        self._away[service, release] = self._host.monotonic() + AWAY_SECONDS

    def _later(self, message: Message, begun: float) -> Message:
        """A message with what is left of its time. Raises `DeadlineExceeded`."""
        if not message.timeout:
            return message
        left = message.timeout - (self._host.monotonic() - begun)
        if left <= 0.0:
            raise DeadlineExceeded(message.address)
        return msgspec.structs.replace(message, timeout=left)


@final
class OfRelease:
    """Serves what was sent to one release as what was sent to any.

    Args of the constructor:
        receiver: Serves it.
    """

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def serve(self, message: Message, /) -> Awaitable[Message]:
        """See `Receiver.serve`."""
        return self._receiver.serve(_plain(message))

    def serve_stream(self, message: Message, /) -> AsyncIterator[Message]:
        """See `Receiver.serve_stream`."""
        return self._receiver.serve_stream(_plain(message))


def released(transport: Transport, host: Host) -> Transport:
    """What calls go through: the transport, or releases over it where it chooses among instances by itself.

    Args:
        transport: Carries them.
        host: Its clock and chance.
    """
    features = transport.features
    return Released(transport, host) if features.balances and not features.local else transport


def _nothing() -> None:
    """A request that is cancelled says so itself."""


def _of_release(message: Message, way: Way) -> Message:
    """A message for one release; whatever is called for it in turn stays with that, where it was chosen."""
    service, _, operation = message.address.rpartition(".")
    address = f"{service}{RELEASE}{way.release}.{operation}"
    return msgspec.structs.replace(message, address=address, headers=headed(message.headers, way))


def _plain(message: Message) -> Message:
    service, _, operation = message.address.rpartition(".")
    return msgspec.structs.replace(message, address=f"{service.partition(RELEASE)[0]}.{operation}")
