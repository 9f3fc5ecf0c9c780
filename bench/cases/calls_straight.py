"""A transport between two nodes that know each other: no directory, no choice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from hanse.kernel.message import Message
from hanse.transport.base import Call, Features, Receiver, service_of
from hanse.transport.direct import AsksDirectly, Direct
from hanse.transport.lot import Handle, handlers_of


class Straight:
    """Sends everything to one address, and serves what comes."""

    def __init__(self, direct: Direct, to: str = "") -> None:
        assert isinstance(direct, AsksDirectly)
        self._direct = direct
        self._calling, self._given_up = direct.calling, direct.given_up
        self._to = to
        self._receivers: dict[str, Receiver] = {}
        self._handlers: dict[str, Callable[[str], Handle]] = {}

    @property
    def features(self) -> Features:
        return self._direct.features

    async def open(self) -> None:
        await self._direct.open(self, lambda _: None)

    async def close(self) -> None:
        await self._direct.close()

    def listen(self, service: str, receiver: Receiver, /) -> None:
        self._receivers[service] = receiver
        self._handlers[service] = handlers_of(receiver)

    def leave(self, service: str, /) -> None:
        self._receivers.pop(service, None)

    def request(self, message: Message, /) -> Awaitable[Message]:
        return self._direct.request(message, self._to)

    def calling(self, address: str, /) -> Call:
        return self._calling(address, self._to)

    def given_up(self) -> None:
        self._given_up()

    def stream(self, message: Message, /) -> AsyncIterator[Message]:
        return self._direct.stream(message, self._to)

    def serve(self, message: Message, /) -> Awaitable[Message]:
        return self._receivers[message.address.rpartition(".")[0]].serve(message)  # as `Routed` does

    def handler(self, address: str, /) -> Handle:
        return self._handlers[service_of(address)](address)

    def serve_stream(self, message: Message, /) -> AsyncIterator[Message]:
        return self._receivers[service_of(message.address)].serve_stream(message)
