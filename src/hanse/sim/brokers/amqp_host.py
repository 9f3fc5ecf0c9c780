"""A virtual host of a RabbitMQ: exchanges, queues, and how messages get from the ones to the others. No I/O."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, final

import msgspec

from hanse.sim.brokers.amqp_queues import AnyQueue, Config, Item, Storage, Taker, queue_of

ACCESS_REFUSED: Final = 403
NOT_FOUND: Final = 404
RESOURCE_LOCKED: Final = 405
PRECONDITION_FAILED: Final = 406
CHANNEL_ERROR: Final = 504
NOT_ALLOWED: Final = 530
NOT_IMPLEMENTED: Final = 540
"""Codes of what is not done."""

KINDS: Final = ("fanout", "direct")
"""Of exchanges."""

_TYPES: Final = {"byte": 127, "short": 32_767, "signedint": 2**31 - 1}
"""Of numbers, and the largest of each."""


class Problem(Exception):
    """What is not done; it ends a channel.

    Attributes:
        code: As AMQP has it.
        text: In the words of RabbitMQ.
    """

    def __init__(self, code: int, text: str) -> None:
        """Say it."""
        super().__init__(text)
        self.code: int = code
        self.text: str = text


class Ending(Problem):
    """What is not done, and ends the connection."""


class Exchange(msgspec.Struct, eq=False):
    """Passes messages on.

    Attributes:
        config: Its kind, whether it is durable, and whether it goes with the last binding.
        bindings: Names of queues, and under which key.
    """

    config: tuple[str, bool, bool]
    bindings: dict[tuple[str, str], None] = {}


@final
class VirtualHost:
    """The one that there is, in one life of the server."""

    def __init__(self, storage: Storage, clock: Callable[[], float]) -> None:
        """Have the queues that are there.

        Args:
            storage: Has them.
            clock: The wall clock.
        """
        self._storage = storage
        self._clock = clock
        self._exchanges: dict[str, Exchange] = {}

    @property
    def idle(self) -> bool:
        """Whether no message waits for whoever is to have it alone; what is kept for others waits for ever."""
        now = self._clock()
        waits = (q for q in self._storage.queues.values() if q.config.kind == "classic" and not q.is_over(now))
        return not any(queue.ready(now) for queue in waits)

    def queue(self, name: str, owner: object) -> AnyQueue:
        """One of the queues. Raises `Problem`."""
        found = self._find(name)
        if found is None:
            raise Problem(NOT_FOUND, f"NOT_FOUND - no queue '{name}' in vhost '/'")
        if found.owner not in (None, owner):
            raise Problem(
                RESOURCE_LOCKED,
                f"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{name}' in vhost '/'. It could be "
                "originally declared on another connection or the exclusive property value does not match that of the "
                "original declaration.",
            )
        return found

    def declare(self, config: Config, owner: object) -> AnyQueue:
        """Have a queue. Raises `Problem` where another of its name is there."""
        now = self._clock()
        if self._find(config.name) is None:
            self._storage.add(queue_of(config, now, owner if config.exclusive else None), now)
        found = self.queue(config.name, owner)
        found.used = now
        _check(found.config, config)
        return found

    def ready(self, queue: AnyQueue) -> int:
        """Messages that wait in a queue."""
        return queue.ready(self._clock())

    def delete(self, name: str) -> int:
        """Have a queue no more; what was in it."""
        queue = self._storage.queues.pop(name, None)
        if queue is None:
            return 0
        for place, exchange in list(self._exchanges.items()):
            left = {to: None for to in exchange.bindings if to[0] != name}
            if exchange.bindings and not left and exchange.config[2]:
                del self._exchanges[place]
            exchange.bindings = left
        for taker in queue.takers:
            taker.gone(taker)
        return queue.ready(self._clock())

    def meet(self, name: str, kind: str, durable: bool, auto_delete: bool) -> None:  # noqa: FBT001 - as they come
        """Have an exchange. Raises `Problem`."""
        if kind not in KINDS:
            raise Problem(NOT_IMPLEMENTED, f"NOT_IMPLEMENTED - this twin has no exchanges of the type '{kind}'")
        wanted = (kind, durable, auto_delete)
        found = self._exchanges.setdefault(name, Exchange(wanted))
        for what, received, current in zip(("type", "durable", "auto_delete"), wanted, found.config, strict=True):
            if received != current:
                raise Problem(PRECONDITION_FAILED, _different(what, f"exchange '{name}'", received, current))

    def bind(self, queue: str, exchange: str, key: str, owner: object) -> None:
        """Have an exchange pass to a queue. Raises `Problem`."""
        _ = self.queue(queue, owner)
        self._exchange(exchange).bindings[queue, key] = None

    def publish(self, exchange: str, item: Item) -> bool:
        """Pass a message on; whether any queue has it. Raises `Problem`."""
        found = [queue for name in self._routes(exchange, item.key) if (queue := self._find(name)) is not None]
        for queue in found:
            queue.put(msgspec.structs.replace(item))
            queue.hand_out(self._clock())
        return bool(found)

    def item(self, exchange: str, key: str, properties: bytes, body: bytes, wait: float, lasts: bool) -> Item:  # noqa: FBT001 - as they come
        """A message that was published just now, and may wait for some seconds."""
        now = self._clock()
        return Item(0, exchange, key, properties, body, now, now + wait if wait < math.inf else wait, lasts)

    def take(self, queue: AnyQueue, taker: Taker, start: object) -> None:
        """Somebody takes from a queue from now on."""
        queue.begin(taker, start)
        queue.hand_out(self._clock())

    def hand_out(self, queue: AnyQueue) -> None:
        """Whoever takes from a queue may have room again."""
        queue.hand_out(self._clock())

    def leave(self, queue: AnyQueue, taker: Taker) -> None:
        """Somebody takes no more; with the last one goes a queue that was made so."""
        if taker not in queue.takers:
            return
        queue.takers.remove(taker)
        if not queue.takers:
            queue.used = self._clock()
            if queue.config.auto_delete and self._storage.queues.get(queue.config.name) is queue:
                _ = self.delete(queue.config.name)

    def forget(self, owner: object) -> None:
        """A connection has ended: what was its alone goes with it."""
        for queue in [queue for queue in self._storage.queues.values() if queue.owner is owner]:
            _ = self.delete(queue.config.name)

    def _find(self, name: str) -> AnyQueue | None:
        found = self._storage.queues.get(name)
        if found is not None and found.is_over(self._clock()):
            _ = self.delete(name)
            return None
        return found

    def _exchange(self, name: str) -> Exchange:
        if name not in self._exchanges:
            raise Problem(NOT_FOUND, f"NOT_FOUND - no exchange '{name}' in vhost '/'")
        return self._exchanges[name]

    def _routes(self, exchange: str, key: str) -> list[str]:
        if not exchange:
            return [key]
        found = self._exchange(exchange)
        return list(
            dict.fromkeys(queue for queue, bound in found.bindings if found.config[0] == "fanout" or bound == key)
        )


def _check(there: Config, wanted: Config) -> None:
    """Raise `Problem` where a queue is there, and another was wanted."""
    queue = f"queue '{there.name}'"
    for what in ("durable", "auto_delete"):
        received, current = getattr(wanted, what), getattr(there, what)
        if received != current:
            raise Problem(PRECONDITION_FAILED, _different(what, queue, received, current))
    for what in sorted({*there.arguments, *wanted.arguments}):
        received, current = wanted.arguments.get(what), there.arguments.get(what)
        if received != current:
            raise Problem(PRECONDITION_FAILED, _different(what, queue, received, current))


def _different(what: str, where: str, received: object, current: object) -> str:
    def said(value: object) -> str:
        if value is None:
            return "none"
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if type(value) is not int:
            return f"'{text}'"
        # A client sends a number as the shortest type that has room for it.
        kind = next((kind for kind, most in _TYPES.items() if abs(value) <= most), "long")
        return f"the value '{text}' of type '{kind}'"

    problem = f"inequivalent arg '{what}' for {where} in vhost '/'"
    return f"PRECONDITION_FAILED - {problem}: received {said(received)} but current is {said(current)}"
