"""What runs by itself for a service: on one of its instances at a time, where several share its store.

Rules, schedules, sagas, replicas, actions on dead letters, the trimming of the log and the relays that take it to
subscribers are one duty, with one lease. Who has it runs all of them; what they commit rests on the lease, so that an
instance that was paused past its time, and woke, changes nothing. (A relay that woke delivers again what was delivered,
which has no effect.) Where no other process can have the store there is no lease, and nothing to wait for.

States: waiting for its turn <-> on duty -> resting, while relays hand on what the last calls told -> ended.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import final

from hanse.delivery.relay import Relay
from hanse.delivery.schedule import ScheduleRunner
from hanse.delivery.subscriber import Subscriber
from hanse.delivery.tally import Tally
from hanse.kernel.faults import Fault
from hanse.kernel.host import Host
from hanse.kernel.settings import NodeSettings
from hanse.kernel.tasks import Tasks
from hanse.node.acting import Actor
from hanse.node.background import Runner, runner, trimmer
from hanse.node.events import Subscription
from hanse.node.figures import ScheduleFigures
from hanse.node.hosted import Hosted
from hanse.node.jobs import job_runners
from hanse.service.cluster import Leader
from hanse.service.leases import Grant
from hanse.service.reaction import On
from hanse.service.replicator import Replicator
from hanse.service.service import reactions_of
from hanse.transport.base import Receiver

_log = logging.getLogger("hanse.node")

REST_SECONDS = 1.0
"""How long a store that failed is left alone before the duty is asked for again."""


@final
class Duty:
    """The duty of one hosted service, on this node.

    Args of the constructor:
        hosted: The service.
        host: Clocks and chance.
        settings: Of the node.
        subscriptions: Those of the service, by address.
        server: Handles the calls of its jobs.
    """

    def __init__(
        self,
        hosted: Hosted,
        host: Host,
        settings: NodeSettings,
        subscriptions: Mapping[str, Subscription],
        server: Receiver,
    ) -> None:
        self.name: str = f"duty of {hosted.part.name}"
        self._hosted = hosted
        self._host = host
        self._settings = settings
        self._subscriptions = subscriptions
        self._server = server
        self._runners: list[Runner] = []
        self._resting = asyncio.Event()
        self._stopping = asyncio.Event()
        self._on_duty = False
        self._ended = asyncio.Event()
        self._running = False

    @property
    def idle(self) -> bool:
        """Whether nothing is to be done at this moment, or another instance has the duty."""
        return all(runner.idle for runner in self._runners)

    @property
    def relays(self) -> list[Relay]:
        """What hands on here what the service tells; none where another instance has the duty."""
        return self._hosted.relays if self._on_duty else []

    @property
    def schedules(self) -> list[ScheduleFigures]:
        """How the schedules of the service fare, while they run here."""
        return [ScheduleFigures(one.name, one.missed, one.failures) for one in self._schedules]

    @property
    def _schedules(self) -> list[ScheduleRunner]:
        own = f"{self._hosted.part.name}."
        return [one for one in self._runners if isinstance(one, ScheduleRunner) and one.name.startswith(own)]

    async def run(self) -> None:
        """Work whenever it is this instance's turn, until `stop`."""
        self._running = True
        try:
            if not self._hosted.store.features.shared:
                return await self._work(None)
            async with Tasks(_failed) as tasks:
                leading = tasks.start(self._lead(), name=self.name)
                _ = await self._resting.wait()
                if self._on_duty:
                    _ = await asyncio.wait([leading])
        finally:
            self._ended.set()

    async def rest(self, grace: float) -> None:
        """Begin nothing new, and finish what is under way within the grace; what relays have to hand on, they do."""
        self._resting.set()
        _ = await asyncio.gather(*(runner.stop(grace) for runner in self._runners))

    async def flush(self, *, insist: bool) -> None:
        """Wait until all that the log holds now is handled; see `Relay.flush`.

        Args:
            insist: Whether to wait also for subscribers that are away, and for another instance that has the duty.
        """
        if insist or self._on_duty or not self._hosted.store.features.shared:
            for relay in self._hosted.relays:
                await relay.flush(insist=insist)

    async def flush_subscribers(self, *, insist: bool) -> None:
        """Wait until all that a broker keeps for it is handled, if it is to insist; see `Subscriber.flush`."""
        for subscriber in self._hosted.subscribers:
            await subscriber.flush(insist=insist)

    async def stop(self) -> None:
        """Hand on nothing more, and leave the duty to others; it rests already."""
        self._stopping.set()
        _ = await asyncio.gather(*(one.stop(0.0) for one in self._hosted.handing_on))
        if self._running:
            await self._ended.wait()

    async def _lead(self) -> None:
        leader = Leader("duty", self._hosted.leases)
        while not self._resting.is_set():
            try:
                await leader.lead(self._work)
            except Fault as fault:
                _log.warning("the %s could not be taken: %s; it is tried again", self.name, fault)
                await asyncio.sleep(REST_SECONDS)

    async def _work(self, duty: Grant | None) -> None:
        self._on_duty = True
        # The duty may come when it already rests: then nobody would stop what begins now.
        self._runners = [] if self._resting.is_set() else self._made(duty)
        try:
            async with Tasks(_failed) as tasks:
                running: list[Runner | Relay | Subscriber] = [*self._runners, *self._hosted.handing_on]
                for one in running:
                    _ = tasks.start(one.run(), name=one.name)
                _ = await self._stopping.wait()
                _ = await tasks.wait()
        finally:
            self._runners = []
            # Who stops has the lease to give back yet.
            self._on_duty = self._resting.is_set()

    def _made(self, duty: Grant | None) -> list[Runner]:
        hosted, name = self._hosted, self._hosted.part.name
        reacting = [
            runner(hosted, method, reaction, self._host, duty)
            for method, reaction in reactions_of(hosted.part.cls).items()
            if not isinstance(reaction, On)
        ]
        copying = [Replicator(f"{name}.{replica.name}", replica, host=self._host) for replica in hosted.replicas]
        sagas = [] if hosted.sagas is None else [hosted.sagas.runner(duty, self._settings)]
        jobs = job_runners(hosted, self._server, self._host, duty)
        acting = Actor(hosted, self._subscriptions, self._host, duty)
        tally = Tally(hosted.store, self._host, f"tally of {name}")
        trim = trimmer(hosted, self._host, self._settings.retention, tally)
        return [*reacting, *copying, *sagas, *jobs, acting, tally, trim]


def _failed(error: BaseException) -> None:
    _log.error("a background task failed", exc_info=error)
