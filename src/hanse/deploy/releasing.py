"""The releases of a system on one machine: a node beside the supervisor, whose rows outlive both."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Self, final

import msgspec
from msgspec.structs import replace

from hanse.control.desired import Desired
from hanse.control.ground import wanted_of
from hanse.control.judged import Judgement
from hanse.control.release_set import LIVE_SETS, Member, ReleaseSet
from hanse.control.released import BASE, Overlay, overlay_for
from hanse.control.releases import Asked, Releases, Standing
from hanse.control.rollout import ENDED, Rollout, Veto
from hanse.control.verdict import Verdict
from hanse.deploy.images import image_source
from hanse.deploy.local_ground import Yard, ground_on
from hanse.deploy.release_words import ReleaseAsk, ReleasesTold, RolloutAsk, RolloutTold, plan_of
from hanse.deploy.sources import Source, source_of
from hanse.kernel.faults import Conflict, Misconfigured, NotFound
from hanse.kernel.host import Host
from hanse.kernel.message import Headers, Identity
from hanse.kernel.settings import NodeSettings, Settings
from hanse.kernel.settings_schema import nearest
from hanse.node.app import App
from hanse.node.node import Node
from hanse.service.query import one_of

FILE = "releases.db"
FOLDER = "releases"
"""Where rows are kept, and where revisions are laid out, below the folder of the system."""


@final
class Releasing:
    """See the module.

    Example:
        `async with Releasing(yard, Path(".hanse"), settings) as releasing: await releasing.release(ask)`
    """

    def __init__(
        self, yard: Yard, folder: Path, host: Host, *, app: str = "", node: NodeSettings | None = None
    ) -> None:
        """Get ready.

        Args:
            yard: The supervisor.
            folder: Of the system, such as `.hanse`.
            host: Clocks and chance.
            app: Name of the app whose nodes follow routes; empty where there is none.
            node: What they talk by, as their settings say: transport, keys, certificates.
        """
        self._yard = yard
        self._folder = folder
        here = replace(
            node or NodeSettings(),
            services=(),
            store=f"sqlite:///{folder / FILE}",
            events="log",
            instance="releases",
            release="",
            follow_routes=False,
            need_routes=False,
        )
        self._node = Node(App(app or "system", Releases, ground_on(yard)), Settings(node=here), host=host)

    async def __aenter__(self) -> Self:
        await self._node.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._node.stop()

    async def recall(self) -> None:
        """Have services begin with the releases that they had, before anything is started; those on their way, too."""
        rollouts = self._node.collection(Rollout)
        for name, one in (await self.standing()).items():
            overlay = Overlay(one.release or BASE, one.source, position=one.rev)
            if one.rollout:
                overlay = overlay_for(wanted_of(await rollouts.get(one.rollout)))
            known = self._yard.overlays.get(name)
            if name in self._yard.services and (known is None or known.position < overlay.position):
                self._yard.overlay(name, overlay)

    async def standing(self) -> dict[str, Standing]:
        """Which release each service has that was ever released."""
        rows = self._node.collection(Standing)
        return {row.id: row async for row in rows.scan()}

    async def release(self, ask: ReleaseAsk) -> Rollout:
        """Begin a rollout.

        Raises:
            NotFound: There is no such service.
            Misconfigured: There is no such release, or what is asked for makes no plan, or copies of requests are
                asked for where none can be compared.
            Conflict: The service is on its way already, or has that release.
            Vetoed: It was rolled back, and nobody has lifted that.
        """
        asked = await self._asked(ask, ask.service, ask.to)
        with self._node.context(_operator(ask.who)):
            return await self._node.client(Releases).begin(asked)

    async def release_set(self, ask: ReleaseAsk) -> ReleaseSet:
        """Begin to release several services as one, those that are called before those that call them.

        Raises:
            Misconfigured: One is there twice, or they need each other in a circle; or what `release` raises it for.
            NotFound, Conflict, Vetoed: As `release`, of any of them; then none is begun.
        """
        members = [await self._member(ask, *one) for one in ((ask.service, ask.to), *ask.also)]
        with self._node.context(_operator(ask.who)):
            return await self._node.client(Releases).begin_set(members, who=ask.who)

    async def _member(self, ask: ReleaseAsk, service: str, to: str) -> Member:
        asked = await self._asked(ask, service, to)
        return Member(
            service=service,
            old=asked.old,
            new=asked.new,
            plan=asked.plan,
            instances=asked.instances,
            source=asked.source,
            digest=asked.digest,
            needs=self._service(service).needs,
            breaking=asked.breaking,
        )

    async def _asked(self, ask: ReleaseAsk, service: str, to: str) -> Asked:
        """What is asked for one of the services that somebody wants to release."""
        wanted = self._service(service)
        if (ask.strategy == "mirror" or ask.mirror_first) and (why := self._yard.uncopied(service)):
            raise Misconfigured(f"services.{service}: expected a strategy that can be carried out, got mirror: {why}")
        source = await self._source(wanted, to)
        if wanted.port:
            raise Misconfigured(
                f"services.{service}: two releases cannot run beside each other, as it insists on port "
                f"{wanted.port}; leave `port` away and use {{port}} or $PORT in its command, or say `own_network = "
                f"true` (Linux)"
            )
        return Asked(
            service=service,
            new=source.release,
            plan=plan_of(ask, wanted.instances),
            instances=wanted.instances,
            source=_directory(source),
            digest=source.digest,
            old=BASE,
            who=ask.who,
            breaking=ask.breaking,
        )

    async def _source(self, wanted: Desired, to: str) -> Source:
        if wanted.container is not None:
            return await image_source(to, wanted)
        return await asyncio.to_thread(source_of, to, wanted.command, self._folder / FOLDER / wanted.service)

    async def rollout(self, ask: RolloutAsk) -> ReleasesTold:
        """How rollouts stand, once it is done what was asked for.

        Raises:
            NotFound: There is no such service, or nothing of it is on its way.
            Conflict: The rollout cannot do that; says what it can.
        """
        if ask.service:
            _ = self._service(ask.service)
        with self._node.context(_operator(ask.who)):
            if ask.lift:
                if not await self._node.client(Releases).lift(ask.service, ask.lift):
                    raise NotFound("veto", f"{ask.service} {ask.lift}")
            elif ask.share is not None:
                row = await self._live(ask.service)
                _ = await self._node.client(Releases).share(row.id, ask.share, who=ask.who)
            elif ask.command is not None:
                row = await self._live(ask.service)
                _ = await self._node.client(Releases).command(row.id, ask.command, who=ask.who)
            return await self._told(ask)

    async def may_stop(self, services: Iterable[str]) -> None:
        """Nothing, where none of these is on its way.

        Raises:
            Conflict: One is: a release that has no instances any more would be taken for one that does not run.
        """
        if not (among := set(services)):
            return
        rollouts = self._node.collection(Rollout)
        going = {row.service: row.new async for row in rollouts.scan() if row.state not in ENDED}
        async for one in self._node.collection(ReleaseSet).scan(lambda row: one_of(row.state, LIVE_SETS)):
            going = {member.service: member.new for member in one.members} | going
        if found := sorted(among & going.keys()):
            name = found[0]
            raise Conflict(
                f"{name} is on its way to release {going[name]}, and cannot be stopped meanwhile: wait for its end, or "
                f"take it back with `hanse rollout abort {name}`; `hanse down` ends the system as it is, and the next "
                f"`hanse up` goes on from there"
            )

    def _service(self, name: str) -> Desired:
        found = self._yard.services.get(name)
        if found is None:
            near = nearest(name, self._yard.services)
            raise NotFound("service", f"{name}; did you mean {near}?" if near else name)
        return found

    async def _live(self, service: str) -> Rollout:
        rows = [one async for one in self._node.collection(Rollout).scan(lambda row: row.service == service)]
        live = [row for row in rows if row.state not in ENDED]
        if not live:
            raise NotFound("rollout", f"of {service} that is on its way")
        return live[0]

    async def _told(self, ask: RolloutAsk) -> ReleasesTold:
        service, latest = ask.service, dict[str, Rollout]()
        async for row in self._node.collection(Rollout).scan():
            known = latest.get(row.service)
            if service not in ("", row.service) or ask.release_set not in ("", row.release_set):
                continue
            if known is None or known.began_at <= row.began_at:
                latest[row.service] = row
        vetoes = [one async for one in self._node.collection(Veto).scan()]
        return ReleasesTold(
            rollouts=tuple([await self._known_of(row) for row in latest.values()]),
            sets=tuple([one async for one in self._node.collection(ReleaseSet).scan() if _is_meant(one, ask)]),
            releases={name: one.release for name, one in (await self.standing()).items()},
            vetoes=tuple(one for one in vetoes if not service or one.service == service),
        )

    async def _known_of(self, row: Rollout) -> RolloutTold:
        try:
            known = await self._node.collection(Judgement).get(row.id)
        except NotFound:
            return RolloutTold(rollout=row)
        verdict = msgspec.json.decode(known.verdict, type=Verdict) if known.verdict else None
        return RolloutTold(rollout=row, verdict=verdict, mirrored=known.mirrored)


def _is_meant(one: ReleaseSet, ask: RolloutAsk) -> bool:
    if ask.release_set:
        return one.id == ask.release_set
    return one.state in LIVE_SETS and ask.service in ("", *(member.service for member in one.members))


def _directory(source: Source) -> str:
    return source.image if source.directory is None else str(source.directory)


def _operator(who: str) -> Headers:
    """Whoever may speak to the supervisor may release."""
    return Headers(identity=Identity(who or "operator", scopes=frozenset({"releases:write"})))
