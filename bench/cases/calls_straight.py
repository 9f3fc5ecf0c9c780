"""A transport between two nodes that know each other: no directory, no choice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from hanse.kernel.message import Message
from hanse.transport.base import Features, Handle, Receiver, handlers_of, service_of
from hanse.transport.direct import Direct


class Straight:
    """Sends everything to one address, and serves what comes."""

    def __init__(self, direct: Direct, to: str = "") -> None:
        self._direct = direct
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

    def stream(self, message: Message, /) -> AsyncIterator[Message]:
        return self._direct.stream(message, self._to)

    def serve(self, message: Message, /) -> Awaitable[Message]:
        return self._receivers[message.address.rpartition(".")[0]].serve(message)  # as `Routed` does

    def handler(self, address: str, /) -> Handle:
        return self._handlers[service_of(address)](address)

    def serve_stream(self, message: Message, /) -> AsyncIterator[Message]:
        return self._receivers[service_of(message.address)].serve_stream(message)
