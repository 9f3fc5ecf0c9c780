"""Routes that are kept as rows, and followed by every node: who changes one reaches all callers, with no restart.

Whoever keeps them is a service like any other, reached by its contract. Where it is away, nodes go on by what they know
last; a node that starts meanwhile goes by its settings, or does not begin where its settings say that it needs them:
else a release that is on its way would get from it as much as the old one. Each node says how far it has come, so that
whoever takes instances away knows when nobody asks them any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Protocol, cast, final

from hanse.contract.declare import Contract, rpc
from hanse.contract.derive import describe
from hanse.contract.model import Resource
from hanse.kernel.closing import closing
from hanse.kernel.faults import Fault, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.route import Route
from hanse.mesh.client import Caller, client_of
from hanse.node.hosted import rows_client
from hanse.service.change import Created, Deleted, Existing, Ready, Reset, Updated, parts_of
from hanse.service.remote import RemoteCollection

SAYS_SECONDS = 5.0
"""How often a node says how far it has come, though nothing changed."""

WAITS_SECONDS = 2.0
"""How long the start of a node waits for the routes that there are."""

NEEDS_SECONDS_MAX = 30.0
"""How long the start of a node that needs them waits, before it has failed."""

NEVER = -1
"""The position of who was told of no routes."""

FAILURES_COUNTED_MAX = 10
"""After which the rest between two attempts grows no more."""

REST_SECONDS_MIN = 0.1
REST_SECONDS_MAX = 5.0
"""Between two attempts to follow them."""

_log = logging.getLogger("hanse.node")


class KeptRoute(Resource, collection="hanse_routes"):
    """How the calls of one service are shared, as a row; its id is the service's name.

    Attributes:
        route: As the settings would have it; it goes before those.
    """

    route: Route


class RouteKeeper(Contract, Protocol, name="hanse_route_keeper"):
    """What nodes say to whoever keeps the routes."""

    @rpc(idempotent=True)
    async def followed(self, instance: str, position: int) -> None:
        """A node goes by all routes that were written up to a position."""
        ...


@final
class KeptRoutes:
    """Follows the routes that are kept, and has calls go by them.

    Attributes:
        position: Up to where what was written is known here.
    """

    def __init__(
        self, instance: str, caller: Caller, host: Host, go_by: Callable[[Mapping[str, Route]], object]
    ) -> None:
        """Get ready; `follow` and `say` do the work.

        Args:
            instance: Name of the node.
            caller: Reaches the keeper.
            host: Clocks and chance.
            go_by: Told of all routes by name of the service, whenever one has changed.
        """
        self.position: int = NEVER
        self._instance = instance
        self._rows = RemoteCollection(KeptRoute, rows_client(KeptRoute, caller))
        self._keeper = cast("RouteKeeper", client_of(describe(RouteKeeper), caller))
        self._host = host
        self._go_by = go_by
        self._moved = asyncio.Event()

    async def known(self) -> None:
        """Wait until the routes that there are have been told, at most `WAITS_SECONDS`."""
        if not await self._come(WAITS_SECONDS):
            _log.info("nobody tells which routes there are: calls go by the settings until somebody does")

    async def needed(self) -> None:
        """Wait until the routes that there are have been told.

        Raises:
            Unavailable: They were not, for `NEEDS_SECONDS_MAX`.
        """
        if not await self._come(NEEDS_SECONDS_MAX):
            raise Unavailable(
                f"expected to be told which routes there are, and heard nothing for {NEEDS_SECONDS_MAX:g} s: see that "
                f"whoever keeps them runs (below `hanse up` the supervisor does), or set node.need_routes = false to "
                f"go by the settings until then"
            )

    async def _come(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                _ = await self._moved.wait()
        return self.position != NEVER

    async def follow(self) -> None:
        """Follow them, again and again, for as long as it is not cancelled."""
        failures = 0
        while True:
            before = self.position
            try:
                await self._follow()
            except Fault as fault:
                _log.debug("the routes cannot be followed: %s", fault)
            failures = 0 if self.position != before else failures + 1
            rest = min(REST_SECONDS_MAX, REST_SECONDS_MIN * 2.0 ** min(failures, FAILURES_COUNTED_MAX))
            await asyncio.sleep(rest * (0.5 + self._host.chance.random() / 2.0))

    async def say(self) -> None:
        """Say how far it has come, whenever it has and now and then, for as long as it is not cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(SAYS_SECONDS):
                    _ = await self._moved.wait()
            self._moved.clear()
            if self.position == NEVER:
                continue
            try:
                await self._keeper.followed(self._instance, self.position)
            except Fault as fault:
                _log.debug("nobody heard which routes are followed: %s", fault)

    async def _follow(self) -> None:
        """The rows that are there, then each change; what was known before holds until all those are told."""
        found: dict[str, Route] = {}
        async with closing(self._rows.follow()) as told:
            async for one in told:
                match one:
                    case Existing(value=row) | Created(after=row) | Updated(after=row):
                        found[row.id] = row.route
                    case Deleted(before=row):
                        _ = found.pop(row.id, None)
                    case Reset():
                        found = {}
                    case Ready():
                        pass
                if not isinstance(one, Existing | Reset):
                    self._go_by(dict(found))
                    self.position = parts_of(one.cursor)[1]
                    self._moved.set()
