"""The ground of releases on one machine: what a rollout wants becomes what the supervisor runs and the edge shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, final

from msgspec.structs import replace

from hanse.control.desired import Desired
from hanse.control.edge_figures import Figures
from hanse.control.edge_mirror import Pairs
from hanse.control.edge_window import Buckets, frozen
from hanse.control.ground import Ground, Sight, Wanted
from hanse.control.instances import System
from hanse.control.released import Overlay, overlay_for
from hanse.control.rollout import Came
from hanse.control.sighted import Looks, callers_of, counted, sight_of, tally_of, with_ledgers
from hanse.kernel.faults import NotFound, Unavailable
from hanse.service.service import Service

ROLLOUTS_MAX = 100
"""Rollouts of which it is remembered what is slow."""


class Yard(Protocol):
    """What a supervisor offers to whoever releases."""

    @property
    def system(self) -> System:
        """All that runs."""
        ...

    @property
    def services(self) -> Mapping[str, Desired]:
        """What the settings want to run, by name, and as many of each as somebody has wished for since."""
        ...

    @property
    def overlays(self) -> Mapping[str, Overlay]:
        """What releases want, by name of the service."""
        ...

    @property
    def in_force(self) -> bool:
        """Whether the edge goes by all that is wanted."""
        ...

    def uncopied(self, service: str) -> str:
        """Why no copies of the requests to a service could be made and compared; empty where they can."""
        ...

    def overlay(self, service: str, overlay: Overlay) -> None:
        """Have something else run of a service than the settings say; it is remembered."""
        ...

    async def pairs(self) -> Pairs:
        """Answers to copies of requests since it was asked last. Raises `Unavailable` while the edge is away."""
        ...

    async def figures(self) -> Figures:
        """What the edge has counted. Raises `Unavailable` while it is away."""
        ...

    async def looks(self, service: str) -> Looks:
        """What the machine shows of the instances of a service."""
        ...

    def fits(self, wanted: Wanted) -> tuple[Came, str]:
        """Whether a release fits those who run beside it, by what all of them promise; and what does not."""
        ...

    def once(self, name: str, service: str, directory: str) -> tuple[Came, str]:
        """Run the release hook of a service, once under a name; what it has come to, and what it failed with."""
        ...

    def end_once(self, name: str, service: str) -> Came:
        """End a release hook that still runs, as an instance of the service is ended; "waiting" until it has."""
        ...


@final
class LocalGround:
    """See the module.

    Args of the constructor:
        yard: The supervisor.
    """

    def __init__(self, yard: Yard) -> None:
        self._yard = yard
        self._slow: dict[str, dict[str, Buckets]] = {}

    async def carry(self, wanted: Wanted) -> Sight:
        """See `Ground.carry`."""
        yard = self._yard
        self._want(wanted.service, overlay_for(wanted))
        figures, looks = await self._figures(), await yard.looks(wanted.service)
        figures = with_ledgers(figures, yard.system, looks)
        came, why = self._came(wanted)
        tally = tally_of(figures, wanted, yard.system, self._slow_for(wanted, figures), looks)
        in_force = yard.in_force and yard.overlays.get(wanted.service) == overlay_for(wanted)
        sight = sight_of(wanted, yard.system, tally, in_force=in_force, came=came, why=why)
        sight = replace(sight, instances=yard.services[wanted.service].instances)
        if (own := self._own()) and wanted.service in own:
            sight = replace(sight, callers=callers_of(yard.system, own), hosts=own)
        return replace(sight, pairs=await self._pairs(wanted)) if wanted.mirrored else sight

    async def settle(self, service: str, release: str, source: str, position: int) -> None:
        """See `Ground.settle`."""
        self._want(service, Overlay(release, source, position=position))

    def _own(self) -> tuple[str, ...]:
        """The services of the app."""
        return tuple(name for name, one in self._yard.services.items() if one.own)

    def _want(self, service: str, overlay: Overlay) -> None:
        if service not in self._yard.services:
            raise NotFound("service", service)
        known = self._yard.overlays.get(service)
        if known is None or (overlay.position >= known.position and overlay != known):
            self._yard.overlay(service, overlay)

    async def _figures(self) -> Figures:
        try:
            return await self._yard.figures()
        except Unavailable:
            # An edge that is away counts nothing; what it counts when it comes back is another beginning.
            return Figures(since=0.0, revision=0)

    async def _pairs(self, wanted: Wanted) -> Pairs:
        """Those of this service; there is seldom another one that is mirrored at the same time."""
        try:
            found = await self._yard.pairs()
        except Unavailable:
            return Pairs()
        return replace(found, pairs=tuple(one for one in found.pairs if one.service == wanted.service))

    def _came(self, wanted: Wanted) -> tuple[Came, str]:
        """What is done once in a state; nothing is tried out here."""
        if wanted.state == "checking":
            return self._yard.fits(wanted)
        if wanted.state == "preparing":
            return self._yard.once(f"hook-{wanted.rollout}", wanted.service, wanted.new_source)
        if wanted.state == "rolling_back":
            return self._yard.end_once(f"hook-{wanted.rollout}", wanted.service), ""
        return "passed", ""

    def _slow_for(self, wanted: Wanted, figures: Figures) -> dict[str, Buckets]:
        """What is slow: as the old release answered before anybody was sent to the new one; nothing until then."""
        known = self._slow.get(wanted.rollout)
        if known is None and not wanted.share:
            return {}
        if not known:
            while len(self._slow) >= ROLLOUTS_MAX:
                del self._slow[next(iter(self._slow))]
            known = self._slow[wanted.rollout] = frozen(counted(figures), wanted.service, wanted.old)
        return known


def ground_on(yard: Yard) -> type[Service]:
    """The ground as a service, for the node that has the releases."""
    local = LocalGround(yard)

    class LocalGrounds(Service, Ground):
        """Carries releases out on this machine."""

        async def carry(self, wanted: Wanted) -> Sight:
            return await local.carry(wanted)

        async def settle(self, service: str, release: str, source: str, position: int) -> None:
            await local.settle(service, release, source, position)

    return LocalGrounds
