"""What makes a connection last: where a server goes away, the next one that takes this client is gone to.

    find a server -> use it, until it ends or says nothing any more -> be without one -> find a server -> ...

Servers are tried one after the other, and for ever, with pauses once all were; only who opens a transport gives up.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar, final

from hanse.kernel.faults import CouldNotStart, Misconfigured
from hanse.transport.brokered.servers import Server, Servers

T = TypeVar("T")

LOOK_SECONDS = 2.0
"""Between looks at whether a server still says something."""


class RefusedError(Exception):
    """A server does not want this client, or cannot be used; to try again at once will not help."""


class Watched(Protocol):
    """One socket to a server."""

    @property
    def ended(self) -> asyncio.Event:
        """Set once it, or one that it goes with, has ended."""
        ...

    @property
    def why(self) -> str:
        """Why it ended; empty where it has not, or only another did."""
        ...

    @property
    def quiet(self) -> int:
        """How often in a row `look` found that nothing had come since the last time."""
        ...

    def look(self) -> None:
        """Have the server say something, and notice when it has not."""
        ...

    def abort(self, why: str) -> None:
        """End it now; nothing happens where it has ended."""
        ...


class Steps(NamedTuple, Generic[T]):
    """What a connection does in the words of its broker.

    Attributes:
        dial: Goes to a server, within a limit of its own. Raises `RefusedError`, or what sockets and timeouts do.
        wires: The sockets of one way to a server, as they are now; they end together.
        use: Begins to use it. Does not raise.
        down: Ends that, given why; and tells whoever has to know. Does not raise.
    """

    dial: Callable[[Server], Awaitable[T]]
    wires: Callable[[T], Sequence[Watched]]
    use: Callable[[T], None]
    down: Callable[[str], Awaitable[None]]


@final
class Lasting(Generic[T]):
    """Goes from server to server.

    Attributes:
        why: Why there is no server; whoever ends the connection says so here.
    """

    def __init__(
        self, broker: str, servers: Servers, steps: Steps[T], log: logging.Logger, *, quiet_max: int = 2
    ) -> None:
        """Be nowhere.

        Args:
            broker: What people call it, such as NATS.
            servers: Whose turn it is.
            steps: What the connection does.
            log: Told where it comes and goes.
            quiet_max: Looks in a row that find nothing, after which another server is gone to.
        """
        self._broker = broker
        self._servers = servers
        self._steps = steps
        self._log = log
        self._quiet_max = quiet_max
        self._at: str = ""
        self.why: str = "it was not opened"

    async def open(self, patience: float) -> T:
        """Find a first server, and use it; `keep` it then.

        Raises:
            CouldNotStart: None is there within so many seconds, or all refuse.
        """
        try:
            async with asyncio.timeout(patience):
                found = await self._find(insist=False)
        except TimeoutError:
            problem = f"no {self._broker} could be reached in {patience} s; the last said: {self.why}"
            raise CouldNotStart(f"{problem}. Is one running, and is the URL right?") from None
        except RefusedError as error:
            raise CouldNotStart(f"{self._broker} cannot be used: {error}") from None
        self._use(found)
        return found

    async def keep(self, found: T) -> None:
        """Go to another server whenever one has gone; for ever."""
        while True:
            await self._watch(found)
            wires = self._steps.wires(found)
            why = next((wire.why for wire in wires if wire.why), "")
            for wire in wires:
                wire.abort(why)
            self._log.warning("the connection to %s broke (%s); it is tried again", self._broker, why)
            self.why = why
            await self._steps.down(why)
            found = await self._find(insist=True)
            self._use(found)
            self._log.info("connected to %s again, at %s", self._broker, self._at)

    def _use(self, found: T) -> None:
        self.why = ""
        self._steps.use(found)

    async def _find(self, *, insist: bool) -> T:
        """A server that takes this client; waits for ever. Raises `RefusedError` unless it is to insist."""
        refused = 0
        while True:
            await asyncio.sleep(self._servers.pause())
            server = self._servers.next()
            self._at = str(server)
            try:
                found = await self._steps.dial(server)
            except (RefusedError, Misconfigured) as error:
                self.why = f"{server}: {error}"
                self._log.warning("%s cannot be used: %s", self._broker, self.why)
                refused += 1
                if not insist and refused >= len(self._servers):
                    raise RefusedError(self.why) from None
            except (OSError, ValueError) as error:  # the latter of names that no resolver takes
                self.why = f"{server}: {str(error) or 'it did not answer in time'}"
            else:
                self._servers.reached()
                return found

    async def _watch(self, found: T) -> None:
        """Until a socket ends, which all are told of, or the server says nothing any more; more may join them."""
        wires = self._steps.wires
        ended = wires(found)[0].ended
        while not ended.is_set():
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    _ = await ended.wait()
            except TimeoutError:
                for wire in wires(found):
                    wire.look()
                    if wire.quiet >= self._quiet_max:
                        wire.abort(f"it said nothing for {LOOK_SECONDS * self._quiet_max:g} s")
