"""What cannot be delivered, ever: a message that is larger than its transport or its broker takes.

It would be tried for ever, and its log or its backlog held back with it. It becomes a dead letter instead, with the
reason; what comes behind it under its key waits there too, so that the key stays in order. A relay has it kept in the
store whose log tells of it; a subscriber, which takes what a broker keeps, in the store of the group that it is for.
Events are refused when they are emitted, where the limit is known by then (`hanse.service.service.Outlet`); this is for
those that were emitted before the limit was what it is or by others, and for changes of rows.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import final

from hanse.delivery.inbox import Inbox
from hanse.kernel.faults import TooLarge
from hanse.kernel.host import Host
from hanse.kernel.message import Message
from hanse.store.base import Store

_log = logging.getLogger("hanse.delivery")


@final
class Refusals:
    """Delivers for one relay or subscriber, and keeps what is refused.

    Args of the constructor:
        store: Where dead letters are kept.
        name: The relay's, or that of the subscriber's group; the group of the dead letters.
        deliver: Sees one message handled; raises `TooLarge` where it is too large to be sent.
        host: Clocks and ids.
        ordered: Whether messages of a key wait behind one that is kept.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        deliver: Callable[[Message], Awaitable[None]],
        *,
        host: Host,
        ordered: bool = True,
    ) -> None:
        self._inbox = Inbox(store, name, host=host, ordered=ordered)
        self._deliver = deliver

    async def open(self) -> None:
        """Read whether anything was refused before.

        Raises:
            Unavailable: The store cannot be reached.
        """
        await self._inbox.open()

    async def send(self, message: Message) -> None:
        """See a message handled that was parked: past those that are.

        Raises:
            TooLarge: It is as before.
            HandlerFailed: Its handler failed; send it again, as the next attempt.
            Fault: It did not get there.
        """
        await self._deliver(message)

    async def deliver(self, message: Message) -> None:
        """See a message handled, or kept as a dead letter where nobody can be given it."""
        # Nearly always there is none, and then nobody looks.
        if self._inbox.parked and await self._inbox.waits(message):
            return
        try:
            await self._deliver(message)
        except TooLarge as error:
            _log.error(
                "%s parks %s %s, which cannot be sent: %s", self._inbox.group, message.headers.type, message.id, error
            )
            await self._inbox.refuse(message, error)
