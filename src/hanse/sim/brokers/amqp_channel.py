"""One channel of a client of RabbitMQ, from the server's side: what is asked on it is done in order."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Final, cast, final

from pamqp import base, commands, exceptions, header

from hanse.sim.brokers.amqp_host import (
    CHANNEL_ERROR,
    NOT_ALLOWED,
    NOT_IMPLEMENTED,
    PRECONDITION_FAILED,
    Ending,
    Problem,
    VirtualHost,
)
from hanse.sim.brokers.amqp_queues import AnyQueue, Config, Item, Stream, Taker
from hanse.transport.amqp.frames import BODY, HEADER, METHOD, content, method

BODY_BYTES_MAX: Final = 16 * 1024 * 1024
"""Of one message."""

NO_ROUTE: Final = 312
"""Code of what comes back as no queue has it."""

_LASTS = 2
_CONTENT_TYPE, _CONTENT_ENCODING, _HEADERS = 0x8000, 0x4000, 0x2000

Held = tuple[AnyQueue, Taker, Item]


@final
class Channel:
    """One of them.

    Attributes:
        open: Whether it takes anything; what comes after a mistake it passes over.
        ended: Whether the client knows that it is not there any more.
    """

    def __init__(self, number: int, host: VirtualHost, owner: object, say: Callable[[bytes], None]) -> None:
        """Be open.

        Args:
            number: Of it.
            host: Where queues are.
            owner: The connection, which may have queues of its own.
            say: Says frames to the client.
        """
        self.open: bool = True
        self.ended: bool = False
        self._number = number
        self._host = host
        self._owner = owner
        self._say_frames = say
        self._takers: dict[str, tuple[AnyQueue, Taker]] = {}
        self._held: dict[int, Held] = {}
        self._delivered = 0
        self._prefetch = 0
        self._confirms = False
        self._published = self._confirmed = 0
        # What comes: where to, of which size, with which properties, and what there is of it.
        self._publish: commands.Basic.Publish | None = None
        self._size = 0
        self._properties = b""
        self._body = bytearray()

    # What comes.

    def frame(self, kind: int, payload: bytes, command: base.Frame | None) -> None:
        """A frame came. Raises `Ending`."""
        try:
            if not self.open:
                self._bury(command)
            elif kind == METHOD and command is not None:
                self._do(command)
            elif kind == HEADER:
                self._header(payload)
            elif kind == BODY:
                self._body += payload
                self._whole()
        except Ending:
            raise
        except Problem as problem:
            which = 0 if command is None else command.index
            self.close()
            # Class and method of what was asked; of what was published, those of the publishing.
            goodbye = commands.Channel.Close(problem.code, problem.text, which >> 16, which & 0xFFFF)
            self._say(goodbye)

    def confirm(self) -> None:
        """Tell the client that its messages are there: all of this turn at once."""
        if self._published > self._confirmed and self.open:
            multiple = self._published - self._confirmed > 1
            self._confirmed = self._published
            self._say(commands.Basic.Ack(self._published, multiple))

    def close(self) -> None:
        """End: what was handed out on it goes to others."""
        self.open = False
        takers, self._takers = list(self._takers.values()), {}
        held, self._held = list(self._held.values()), {}
        for _, taker in takers:
            taker.shut = True
        self._back(held)
        for queue, taker in takers:
            self._host.leave(queue, taker)
            self._host.hand_out(queue)

    def _say(self, command: base.Frame) -> None:
        self._say_frames(method(self._number, command))

    def _bury(self, command: base.Frame | None) -> None:
        """The client does not know yet that it is closed, or knows now."""
        if isinstance(command, commands.Channel.CloseOk):
            self.ended = True
        elif isinstance(command, commands.Channel.Close):
            self._say(commands.Channel.CloseOk())
            self.ended = True

    def _do(self, command: base.Frame) -> None:  # noqa: C901, PLR0912 - a table
        match command:
            case commands.Channel.Open():
                raise Ending(CHANNEL_ERROR, "CHANNEL_ERROR - second 'channel.open' seen")
            case commands.Channel.Close():
                self.close()
                self.ended = True
                self._say(commands.Channel.CloseOk())
            case commands.Basic.Publish():
                self._publish = command
            case commands.Basic.Ack():
                self._acknowledge(command.delivery_tag or 0, multiple=bool(command.multiple))
            case commands.Basic.Nack():
                self._refuse(command.delivery_tag or 0, multiple=bool(command.multiple), again=bool(command.requeue))
            case commands.Basic.Reject():
                self._refuse(command.delivery_tag or 0, multiple=False, again=bool(command.requeue))
            case commands.Basic.Qos():
                self._prefetch = command.prefetch_count or 0
                self._say(commands.Basic.QosOk())
            case commands.Basic.Consume():
                self._consume(command)
            case commands.Basic.Cancel():
                self._cancel(command.consumer_tag or "")
            case commands.Confirm.Select():
                self._confirms = True
                self._say(commands.Confirm.SelectOk())
            case commands.Queue.Declare():
                self._declare(command)
            case commands.Queue.Bind():
                self._host.bind(command.queue, command.exchange, command.routing_key, self._owner)
                self._say(commands.Queue.BindOk())
            case commands.Queue.Delete():
                _ = self._host.queue(command.queue, self._owner)
                self._say(commands.Queue.DeleteOk(self._host.delete(command.queue)))
            case commands.Exchange.Declare():
                self._host.meet(
                    command.exchange, command.exchange_type, bool(command.durable), bool(command.auto_delete)
                )
                self._say(commands.Exchange.DeclareOk())
            case _:
                raise Ending(NOT_IMPLEMENTED, f"NOT_IMPLEMENTED - this twin does not know {command.name}")

    # Messages.

    def _header(self, payload: bytes) -> None:
        if self._publish is None:
            raise Ending(505, "UNEXPECTED_FRAME - expected a method, got a header")
        self._size, self._properties = int.from_bytes(payload[4:12], "big"), payload[12:]
        if self._size > BODY_BYTES_MAX:
            size = f"message size {self._size} is larger than configured max size {BODY_BYTES_MAX}"
            self._publish = None
            raise Problem(PRECONDITION_FAILED, f"PRECONDITION_FAILED - {size}")
        self._whole()

    def _whole(self) -> None:
        if self._publish is None or len(self._body) < self._size:
            return
        publish, self._publish = self._publish, None
        body, self._body = bytes(self._body), bytearray()
        known = _properties_in(self._properties)
        wait = math.inf if known.expiration is None else int(known.expiration) / 1_000
        lasts = known.delivery_mode == _LASTS
        item = self._host.item(publish.exchange, publish.routing_key, self._properties, body, wait, lasts)
        if self._confirms:
            self._published += 1
            self._say_frames(b"")  # so that something goes out at the end of this turn, and the confirm with it
        if not self._host.publish(publish.exchange, item) and publish.mandatory:
            back = commands.Basic.Return(NO_ROUTE, "NO_ROUTE", publish.exchange, publish.routing_key)
            self._say_frames(method(self._number, back) + content(self._number, self._properties, b"", body))

    def _give(self, queue: AnyQueue, taker: Taker, item: Item) -> None:
        self._delivered += 1
        if not taker.no_ack:
            self._held[self._delivered] = queue, taker, item
        again = item.returns > 0
        deliver = commands.Basic.Deliver(taker.tag, self._delivered, again, item.exchange, item.key)
        properties = item.properties
        if isinstance(queue, Stream):
            properties = with_number(properties, b"x-stream-offset", item.place)
        elif again and queue.config.kind == "quorum":
            properties = with_number(properties, b"x-delivery-count", item.returns)
        self._say_frames(method(self._number, deliver) + content(self._number, properties, b"", item.body))

    def _gone(self, taker: Taker) -> None:
        """The queue is not there any more."""
        if self._takers.pop(taker.tag, None) is not None:
            self._say(commands.Basic.Cancel(taker.tag, nowait=True))

    def _taken(self, number: int, *, multiple: bool) -> list[Held]:
        """What a number means of what was handed out. Raises `Problem`."""
        if multiple:
            numbers = [one for one in self._held if not number or one <= number]
        else:
            numbers = [number] if number in self._held else []
        if not numbers and number:
            raise Problem(PRECONDITION_FAILED, f"PRECONDITION_FAILED - unknown delivery tag {number}")
        return [self._held.pop(one) for one in numbers]

    def _acknowledge(self, number: int, *, multiple: bool) -> None:
        touched: dict[AnyQueue, None] = {}
        for queue, taker, item in self._taken(number, multiple=multiple):
            queue.done(taker, item)
            touched[queue] = None
        for queue in touched:
            self._host.hand_out(queue)

    def _refuse(self, number: int, *, multiple: bool, again: bool) -> None:
        if not again:
            self._acknowledge(number, multiple=multiple)
            return
        held = self._taken(number, multiple=multiple)
        self._back(held)
        for queue in dict.fromkeys(queue for queue, _, _ in held):
            self._host.hand_out(queue)

    def _back(self, held: list[Held]) -> None:
        by_taker: dict[int, tuple[AnyQueue, Taker, list[Item]]] = {}
        for queue, taker, item in held:
            by_taker.setdefault(id(taker), (queue, taker, []))[2].append(item)
        for queue, taker, back in by_taker.values():
            queue.back(taker, back)

    # Queues.

    def _declare(self, command: commands.Queue.Declare) -> None:
        if command.passive:
            queue = self._host.queue(command.queue, self._owner)
        else:
            config = Config(
                command.queue,
                durable=bool(command.durable),
                exclusive=bool(command.exclusive),
                auto_delete=bool(command.auto_delete),
                arguments=cast("dict[str, object]", command.arguments or {}),
            )
            queue = self._host.declare(config, self._owner)
        self._say(commands.Queue.DeclareOk(command.queue, self._host.ready(queue), len(queue.takers)))

    def _consume(self, command: commands.Basic.Consume) -> None:
        tag = command.consumer_tag
        if tag in self._takers:
            raise Ending(NOT_ALLOWED, f"NOT_ALLOWED - attempt to reuse consumer tag '{tag}'")
        queue = self._host.queue(command.queue, self._owner)
        if isinstance(queue, Stream) and not self._prefetch:
            name = f"'queue '{command.queue}' in vhost '/''"
            raise Problem(PRECONDITION_FAILED, f"PRECONDITION_FAILED - consumer prefetch count is not set for {name}")
        taker = Taker(
            tag,
            lambda taker, item: self._give(queue, taker, item),
            self._gone,
            prefetch=self._prefetch,
            no_ack=bool(command.no_ack),
        )
        self._takers[tag] = queue, taker
        self._say(commands.Basic.ConsumeOk(tag))
        self._host.take(queue, taker, (command.arguments or {}).get("x-stream-offset"))

    def _cancel(self, tag: str) -> None:
        queue, taker = self._takers.pop(tag, (None, None))
        if queue is not None and taker is not None:
            self._host.leave(queue, taker)
            self._host.hand_out(queue)
        self._say(commands.Basic.CancelOk(tag))


def with_number(raw: bytes, name: bytes, number: int) -> bytes:
    r"""Properties of a message, with a number in its headers.

    Example:
        >>> with_number(b"\x10\x00\x02", b"n", 7)
        b'0\x00\x00\x00\x00\x0b\x01nl\x00\x00\x00\x00\x00\x00\x00\x07\x02'
    """
    flags, at = int.from_bytes(raw[:2], "big"), 2
    for flag in (_CONTENT_TYPE, _CONTENT_ENCODING):
        if flags & flag:
            at += 1 + raw[at]
    there, behind = b"", raw[at:]
    if flags & _HEADERS:
        end = at + 4 + int.from_bytes(raw[at : at + 4], "big")
        there, behind = raw[at + 4 : end], raw[end:]
    table = there + struct.pack(">B", len(name)) + name + b"l" + number.to_bytes(8, "big")
    return struct.pack(">H", flags | _HEADERS) + raw[2:at] + struct.pack(">I", len(table)) + table + behind


def _properties_in(raw: bytes) -> commands.Basic.Properties:
    """Those of a message. Raises `Ending`."""
    found = header.ContentHeader()
    try:
        found.unmarshal(bytes(12) + raw)
        _ = int(found.properties.expiration or 0)
    except (ValueError, IndexError, struct.error, exceptions.PAMQPException):
        raise Ending(502, f"SYNTAX_ERROR - expected properties of a message, got {raw[:40]!r}") from None
    return found.properties
