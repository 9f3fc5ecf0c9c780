"""The service that has releases come to their places: it keeps rollouts as rows, and takes each a beat further.

Theory of operation: rules run for each live rollout, once a second and whenever its row has changed. They tell the
ground what the row wants, look at what is so, and write what `rollout_machine.beat` makes of that. Whatever has to
hold together is one commit: a rollout, the route that callers go by, and which release a service has. Seconds in which
nothing else changes are kept in memory, and written now and then: a controller that is killed has watched a little
less, and never a little more.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from msgspec.structs import replace

from hanse.contract.declare import rpc
from hanse.contract.guard import scope
from hanse.contract.model import Model, Resource, collection_of
from hanse.control.edge_table import WHOLE, Points
from hanse.control.ground import Companion, Ground, Sight, Wanted, is_heeded, wanted_of
from hanse.control.judged import Judgement, Tally, copied, judgement_of, looked, window_between
from hanse.control.plan import Plan
from hanse.control.release_set import LIVE_SETS, Member, ReleaseSet, callers_of, in_order, next_of
from hanse.control.rollout import ENDED, Command, Rollout, Seen, State, Veto
from hanse.control.rollout_machine import beat, begun, commanded, shared
from hanse.control.verdict import Verdict
from hanse.kernel.context import current
from hanse.kernel.faults import Conflict, DeadlineExceeded, Fault, Unavailable, UnknownOperation
from hanse.kernel.route import Route
from hanse.node.kept_routes import SAYS_SECONDS, KeptRoute, RouteKeeper
from hanse.service.collection import Collection
from hanse.service.held import Held
from hanse.service.query import one_of
from hanse.service.reaction import rule
from hanse.service.service import Service

_log = logging.getLogger("hanse.control")

WRITE = scope("releases:write")
"""Who may release."""

READ = scope("releases:read") | WRITE
"""Who may see what is released."""

KEPT_SECONDS = 5.0
"""Seconds that pass before a row is written in which nothing but time has changed."""

SILENT_SECONDS = 6.0 * SAYS_SECONDS
"""After which a node that says no more which routes it goes by is taken to have gone."""

_AWAY = (Unavailable, DeadlineExceeded, UnknownOperation)
"""Faults of a ground that does not say how it stands."""

_LIVE: tuple[State, ...] = (
    "checking",
    "preparing",
    "deploying",
    "trying",
    "stepping",
    "held",
    "rolling_back",
)


class Vetoed(Fault, status=409, detail="{service} {release} was rolled back: {why}; lift that first"):
    """A release was rolled back, and nobody has said since that it may be tried again."""

    service: str
    release: str
    why: str


class Standing(Resource, collection="hanse_standings"):
    """Which release a service has; its id is the service's name.

    Attributes:
        release: That gets all requests when nothing is on its way.
        source: Where it is started; empty for where the settings say.
        rollout: Id of the rollout that is on its way; empty for none.
    """

    release: str = ""
    source: str = ""
    rollout: str = ""


class Asked(Model):
    """A release that somebody wants.

    Attributes:
        service: Its name.
        new: The release.
        plan: How it is to come to its place.
        instances: How many run when nothing is on its way.
        source: Where it is started; empty for where the settings say.
        digest: What it consists of.
        old: The release that runs, where nothing has been released before.
        who: Who asks for it.
        release_set: Id of the release set that it belongs to; empty for none.
        breaking: Whether it goes on though it may not fit those who run beside it.
    """

    service: str
    new: str
    plan: Plan
    instances: int
    source: str = ""
    digest: str = ""
    old: str = ""
    who: str = ""
    release_set: str = ""
    breaking: bool = False


class Releases(
    Service, RouteKeeper, name="hanse_releases", owns=(Rollout, ReleaseSet, Veto, Standing, Judgement, KeptRoute)
):
    """Has releases come to their places, and go back from there."""

    ground: Ground
    rollouts: Collection[Rollout]
    vetoes: Collection[Veto]
    standings: Collection[Standing]
    sets: Collection[ReleaseSet]
    judgements: Collection[Judgement]
    routes: Collection[KeptRoute]

    async def started(self) -> None:
        """Begin with nothing in memory."""
        self._looked: dict[str, float] = {}
        self._turns: dict[str, asyncio.Lock] = {}
        self._working: dict[str, Rollout] = {}
        self._judgements: dict[str, Judgement] = {}
        self._tallies: dict[str, Tally] = {}
        self._followers: dict[str, tuple[int, float]] = {}

    @rpc(faults=(Vetoed,), allow=WRITE)
    async def begin(self, asked: Asked) -> Rollout:
        """Begin a rollout.

        Raises:
            Conflict: The service is on its way already, or has that release.
            Vetoed: It was rolled back, and nobody has lifted that.
        """
        return await self._begin(asked)

    @rpc(faults=(Vetoed,), allow=WRITE)
    async def begin_set(self, members: list[Member], *, who: str = "") -> ReleaseSet:
        """Begin to release several services as one, those that are called before those that call them.

        Raises:
            Misconfigured: They need each other in a circle, or one is there twice.
            Conflict: One is on its way already, or has that release.
            Vetoed: One was rolled back, and nobody has lifted that.
        """
        ordered = in_order(members)
        for member in ordered:
            _ = await self._may_begin(asked_for(member, "", who))
        return await self.sets.create(ReleaseSet(members=ordered, who=who))

    async def _begin(self, asked: Asked) -> Rollout:
        standing = await self._may_begin(asked)
        row = Rollout(
            service=asked.service,
            old=standing.release,
            new=asked.new,
            plan=asked.plan,
            instances=asked.instances,
            old_source=standing.source,
            new_source=asked.source,
            digest=asked.digest,
            release_set=asked.release_set,
            breaking=asked.breaking,
            kept_warm=bool(asked.release_set),
            who=asked.who,
        )
        row = await self.rollouts.create(begun(row, at=current().host.now()))
        _ = await self.standings.put(replace(standing, rollout=row.id))
        await self._route(row)
        return row

    async def _may_begin(self, asked: Asked) -> Standing:
        """How a service stands that may be released. Raises what `begin` does."""
        standing = await self._standing(asked.service, asked.old)
        if standing.rollout:
            on_its_way = await self.rollouts.get(standing.rollout)
            raise Conflict(f"{asked.service} is on its way to {on_its_way.new}: wait for it, or abort it first")
        if standing.release == asked.new:
            raise Conflict(f"{asked.service} has release {asked.new} already")
        veto = await self.vetoes.find(lambda one: one.service == asked.service)
        for one in veto.items:
            if one.digest == asked.digest and one.release == (asked.new if not asked.digest else one.release):
                raise Vetoed(asked.service, asked.new, one.why)
        return standing

    @rpc(allow=WRITE)
    async def command(self, id: str, command: Command, *, who: str = "") -> Rollout:
        """Say what to do about a rollout.

        Raises:
            NotFound: There is none of this id.
            Conflict: It cannot do that; says what it can.
        """
        row = await self.rollouts.get(id)
        after = commanded(self._work(row), command, who=who, at=current().host.now())
        return await self._write(row, after)

    @rpc(allow=WRITE)
    async def share(self, id: str, points: Points, *, who: str = "") -> Rollout:
        """Give the new release another share of the requests, in basis points, and hold the rollout there.

        Raises:
            NotFound: There is none of this id.
            Conflict: The new release has no share yet, or no longer.
        """
        row = await self.rollouts.get(id)
        return await self._write(row, shared(self._work(row), points, who=who, at=current().host.now()))

    @rpc(idempotent=True, allow=WRITE)
    async def lift(self, service: str, release: str) -> int:
        """Say that a release that was rolled back may be tried again; how many vetoes that were."""
        lifted = 0
        async for veto in self.vetoes.scan(lambda one: one.service == service):
            if veto.release == release:
                await self.vetoes.delete(veto.id)
                lifted += 1
        return lifted

    async def followed(self, instance: str, position: int) -> None:
        """See `RouteKeeper.followed`."""
        self._followers[instance] = (position, current().host.monotonic())

    @rule(Rollout, where=lambda row: one_of(row.state, _LIVE), every="250ms", lease="15s", concurrency=20)
    async def carry_on(self, held: Held[Rollout]) -> None:
        """Take one rollout a beat further."""
        await self._beat(held)

    @rule(Rollout, where=lambda row: one_of(row.state, _LIVE), every="1m", lease="15s", concurrency=20)
    async def hurry(self, held: Held[Rollout]) -> None:
        """Do the same at once for a row that the other rule has just written: nobody is told of what they wrote."""
        await self._beat(held)

    async def _beat(self, held: Held[Rollout]) -> None:
        async with self._turns.setdefault(held.value.id, asyncio.Lock()):
            if (await self.rollouts.get(held.value.id)).rev == held.value.rev:
                await self._beat_in_turn(held)

    async def _beat_in_turn(self, held: Held[Rollout]) -> None:
        host, row = current().host, self._work(held.value)
        try:
            sight = await self.ground.carry(await self._wanted(row))
        except _AWAY as fault:
            # What is so is not known, and stays as it is; seconds in which nobody looked do not count.
            if self._looked.pop(row.id, None) is not None:
                _log.warning("the rollout of %s waits, as nobody says how it stands: %s", row.service, fault.detail)
            return
        now = host.monotonic()
        seconds = now - self._looked.get(row.id, now)
        self._looked[row.id] = now
        in_force = await self._in_force(row, sight)
        judged, verdict = await self._judged(row, sight, alone=in_force and sight.share == WHOLE)
        seen = seen_of(sight, row, in_force=in_force, seconds=seconds, at=host.now())
        seen = judged_by(seen, verdict)
        if row.now.mirrored:
            seen = replace(seen, requests=judged.mirrored.pairs)
        after = beat(row, seen)
        if not is_news(held.value, after):
            self._working[row.id], self._judgements[row.id] = after, judged
            return
        _ = await self.judgements.put(judged)
        _ = await self._write(held.value, after)

    @rule(Standing, where=lambda row: row.rollout == "", every="10s", lease="15s", concurrency=20)
    async def settle(self, held: Held[Standing]) -> None:
        """Have a service that is not on its way run the release that it has."""
        with suppress(*_AWAY):
            row = held.value
            await self.ground.settle(row.id, row.release, row.source, row.rev)

    @rule(ReleaseSet, where=lambda row: one_of(row.state, LIVE_SETS), every="1s", lease="15s")
    async def carry_set_on(self, held: Held[ReleaseSet]) -> None:
        """Have the next rollout of a release set begin, or all go back."""
        row, at = held.value, current().host.now()
        rollouts = {one.service: one async for one in self.rollouts.scan(lambda one: one.release_set == row.id)}
        doing = next_of(row, rollouts)
        after = doing.row
        if doing.begin is not None:
            try:
                _ = await self._begin(asked_for(doing.begin, row.id, row.who))
            except (Conflict, Vetoed) as fault:
                after = replace(row, state="rolling_back", why=f"{doing.begin.service}: {fault.detail}")
        for service in doing.end:
            _ = await self._write(rollouts[service], commanded(rollouts[service], "promote", who="its set", at=at))
        if doing.abort:
            one = rollouts[doing.abort]
            _ = await self._write(one, commanded(one, "abort", who="its set", at=at))
        if after != row:
            _ = await held.put(after)

    async def _judged(self, row: Rollout, sight: Sight, *, alone: bool) -> tuple[Judgement, Verdict]:
        """What is known after what came since the last look, and what the judge says."""
        known = self._judgements.get(row.id)
        if known is None:
            found = await self.judgements.find(lambda one: one.id == row.id, limit=1)
            known = found.items[0] if found.items else judgement_of(row.id)
        window = window_between(self._tallies.get(row.id), sight.tally, row.lived)
        self._tallies[row.id] = sight.tally
        return looked(copied(known, sight.pairs, row.lived), window, row.step, row.plan, alone=alone)

    async def _standing(self, service: str, old: str) -> Standing:
        found = await self.standings.find(lambda one: one.id == service, limit=1)
        return found.items[0] if found.items else await self.standings.create(Standing(id=service, release=old))

    def _work(self, row: Rollout) -> Rollout:
        """A row with the seconds that were not written yet."""
        known = self._working.get(row.id)
        return known if known is not None and known.rev == row.rev else row

    async def _write(self, before: Rollout, after: Rollout) -> Rollout:
        """A rollout, and all that has to change with it."""
        written = await self.rollouts.put(after, if_match=before.rev)
        for remembered in (self._working, self._judgements):
            _ = remembered.pop(after.id, None)
        if after.state in ENDED:
            _ = self._looked.pop(after.id, None)
            _ = self._tallies.pop(after.id, None)
            _ = self._turns.pop(after.id, None)
            is_new = after.state == "done"
            release, source = (after.new, after.new_source) if is_new else (after.old, after.old_source)
            _ = await self.standings.put(Standing(id=after.service, release=release, source=source))
            if after.state == "rolled_back" and after.blamed:
                veto = Veto(
                    service=after.service, release=after.new, digest=after.digest, rollout=after.id, why=after.why
                )
                _ = await self.vetoes.create(veto)
        if after.share != before.share or after.state in ENDED:
            await self._route(after)
        if after.release_set and after.state == "rolling_back" != before.state:
            await self._take_along(after)
        return written

    async def _take_along(self, row: Rollout) -> None:
        """Have those go back at once that came after it in its set: they call what goes now."""
        whole = await self.sets.get(row.release_set)
        rollouts = {one.service: one async for one in self.rollouts.scan(lambda one: one.release_set == whole.id)}
        for one in callers_of(whole, row.service, rollouts):
            _ = await self._write(one, commanded(one, "abort", who="its set", at=current().host.now()))

    async def _route(self, row: Rollout) -> None:
        _ = await self.routes.put(KeptRoute(id=row.service, route=route_of(row)))

    async def _wanted(self, row: Rollout) -> Wanted:
        wanted = wanted_of(row)
        if row.state != "checking" or not row.release_set:
            return wanted
        members = (await self.sets.get(row.release_set)).members
        return replace(
            wanted, among=tuple(Companion(service=one.service, release=one.new, source=one.source) for one in members)
        )

    async def _in_force(self, row: Rollout, sight: Sight) -> bool:
        """Whether all nodes go by this rollout's route: those that the ground runs, and whoever else says so."""
        now = current().host.monotonic()
        self._followers = {name: heard for name, heard in self._followers.items() if now - heard[1] < SILENT_SECONDS}
        if not self._followers and not sight.callers:
            return True
        route = await self.routes.get(row.service)
        heard = {name: position for name, (position, _) in self._followers.items()}
        return route.route == route_of(row) and is_heeded(sight, heard, route.rev)


def asked_for(member: Member, release_set: str, who: str) -> Asked:
    """What is asked for one member of a release set."""
    return Asked(
        service=member.service,
        new=member.new,
        plan=member.plan,
        instances=member.instances,
        source=member.source,
        digest=member.digest,
        breaking=member.breaking,
        old=member.old,
        who=who,
        release_set=release_set,
    )


def route_of(row: Rollout) -> Route:
    """How calls are shared while a rollout is where it is.

    Example:
        >>> from hanse.control.plan import blue_green
        >>> row = Rollout(service="orders", old="1.4", new="1.5", plan=blue_green(1), instances=1, share=500)
        >>> route_of(row).releases
        {'1.4': 9500, '1.5': 500}
    """
    weights = {row.old: WHOLE - row.share, row.new: row.share}
    return Route(releases={release: weight for release, weight in weights.items() if release and weight})


def seen_of(sight: Sight, row: Rollout, *, in_force: bool, seconds: float, at: float) -> Seen:
    """What a beat looks at.

    Args:
        sight: What the ground says.
        row: The rollout.
        in_force: Whether callers go by what the row says.
        seconds: Since it was looked at before.
        at: Wall-clock seconds.
    """
    return Seen(
        seconds=seconds,
        at=at,
        new=sight.new,
        old=sight.old,
        instances=sight.instances,
        share=sight.share if in_force else None,
        mirrored=sight.mirrored,
        check=sight.came if row.state == "checking" else "waiting",
        hook=sight.came if row.state == "preparing" else "waiting",
        trial=sight.came if row.state == "trying" else "waiting",
        leftover=row.state == "rolling_back" and sight.came == "waiting",
        why=sight.why,
    )


def judged_by(seen: Seen, verdict: Verdict) -> Seen:
    """What a beat looks at, with what the judge says."""
    return replace(
        seen,
        requests=verdict.step_requests,
        ruling=verdict.decision,
        why=seen.why or verdict.reason,
        evidence=verdict.to_json().decode(),
    )


def is_news(before: Rollout, after: Rollout) -> bool:
    """Whether something else has changed than seconds, or enough of those."""
    rest = replace(after, watched=before.watched, waited=before.waited, astray=before.astray, lived=before.lived)
    return rest != before or after.waited - before.waited >= KEPT_SECONDS


STANDINGS = collection_of(Standing)
