"""The courier: sees one message handled, however often it takes, on behalf of whoever took it from somewhere.

Two things can fail: see `hanse.delivery.retry`. Where the handler did, the next message says so, and since when; where
the message did not get there, it is the same again, for ever, and told once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import final

import msgspec

from hanse.delivery.brake import Braked
from hanse.delivery.outbox import Taken, message_of
from hanse.delivery.pause import pause
from hanse.delivery.retry import HandlerFailed, next_delay
from hanse.kernel.fault_point import fault_point
from hanse.kernel.host import Host
from hanse.kernel.message import Message

_log = logging.getLogger("hanse.delivery")

ACK_SECONDS = 30.0
"""How long one delivery may take before it is tried again."""

SURE = 2
"""Deliveries in a row after which a group that failed at everything is said to handle something again."""

Deliver = Callable[[Message], Awaitable[None]]
"""Sees one message handled: returns when its effects are committed (or it is parked), raises `HandlerFailed` where its
handler failed, any other fault where it did not get there. Keeps to the message's `timeout`."""


class CourierOptions(msgspec.Struct, frozen=True):
    """Limits of deliveries.

    Attributes:
        ack_seconds: How long one delivery may take.
        producer: `service/release/instance` that messages say they come from; empty for what they say already.
    """

    ack_seconds: float = ACK_SECONDS
    producer: str = ""


USUAL = CourierOptions()


@final
class Courier:
    """Delivers what it is given, until that is acknowledged or it has to stop.

    Attributes:
        retries: Deliveries that failed and were tried again.
        away: What the last delivery failed with that did not get there; None where one has since.
    """

    def __init__(
        self,
        whose: str,
        deliver: Deliver,
        *,
        host: Host,
        stopping: asyncio.Event,
        changed: Callable[[], object],
        options: CourierOptions = USUAL,
    ) -> None:
        """Deliver nothing yet.

        Args:
            whose: For whom, in the log.
            deliver: Sees one message handled, once.
            host: Clock and chance.
            stopping: Set when nothing is to be begun any more.
            changed: Told when deliveries begin to fail.
            options: Limits.
        """
        self.retries: int = 0
        self.away: Exception | None = None
        self._whose = whose
        self._deliver = deliver
        self._host = host
        self._stopping = stopping
        self._changed = changed
        self._options = options
        self._braked = False
        self._in_a_row = 0

    @property
    def trouble(self) -> str:
        """Why it cannot deliver at the moment; empty where it can, as far as it knows."""
        return "" if self.away is None else f"it cannot deliver: {self.away}"

    async def see_through(self, wanted: Taken) -> bool:
        """Deliver an entry until it is acknowledged; False where it has to stop first."""
        attempt, tries, since = 1, 0, 0.0
        timeout, producer = self._options.ack_seconds, self._options.producer
        while not self._stopping.is_set():
            message = message_of(wanted, timeout, producer=producer, attempt=attempt, since=since)
            fault = await self._try(message)
            if fault is None:
                fault_point("relay.acknowledged")
                return True
            tries += 1
            self.retries += 1
            if isinstance(fault, HandlerFailed):
                attempt += 1
                since = since or self._host.now()
            await pause(self._stopping, next_delay(tries, fault, self._host.chance.random()))
        return False

    def note(self, error: Exception | None) -> None:
        """Know that a delivery did not get there, or that one did."""
        # Told once, not for each message: an outage would drown the log.
        if error is None:
            if self.away is not None or self._braked:
                self._got_there()
            return
        self._in_a_row = 0
        if self.away is None and not (self._braked and isinstance(error, Braked)):
            _log.warning("the %s cannot deliver: %s; it tries again until it can", self._whose, error)
        self._braked = isinstance(error, Braked)
        self.away = error
        self._changed()

    def _got_there(self) -> None:
        """One was delivered after others were not."""
        self.away = None
        self._in_a_row += 1
        # Of a group that fails at everything one is tried now and then, and parked, which counts as delivered: alone
        # it does not say that anything works again.
        if self._braked and self._in_a_row < SURE:
            return
        self._braked = False
        _log.info("the %s delivers again", self._whose)

    async def _try(self, message: Message) -> Exception | None:
        fault_point("relay.before_delivery")
        try:
            await self._deliver(message)
        except HandlerFailed as fault:
            return fault
        except Exception as error:  # noqa: BLE001 - whatever is in the way, the message is kept and tried again
            self.note(error)
            return error
        self.note(None)
        return None
