"""Change feeds have no gaps, tell nothing twice, and can be resumed.

Somebody reads the feed of a collection, on a machine of its own that no trouble befalls; see
`hanse.sim.observe.follower`. In the end it has been told of everything, and its picture is what the rows are. To read
along costs as much as any other reader would, so in one world it is some of the collections, drawn from the seed.
"""

from __future__ import annotations

from hanse.kernel.context import Context, ambient
from hanse.kernel.settings import NodeSettings
from hanse.kernel.tasks import Tasks
from hanse.mesh.client import Caller
from hanse.sim.chance import chance_of
from hanse.sim.check import Observer
from hanse.sim.lane import Lane
from hanse.sim.machine import WALL, host_of
from hanse.sim.observe.follower import Follower
from hanse.sim.observe.scene import Scene, last_of, shown

MACHINE = "(observer)"
"""Where the readers are; no service can have this name."""

FEEDS_MAX = 3
"""Feeds that are read in one world."""

TIMEOUT_SECONDS = 10.0
"""How long a reader waits for an answer; feeds have no end, and no limit."""


class Feeds(Observer):
    """Finds what feeds leave out, repeat or invent."""

    name: str = "feeds"

    def __init__(self, scene: Scene) -> None:
        """Get ready; `begin` starts the readers."""
        self._scene = scene
        self._lane = Lane(scene.loop, MACHINE)
        self._followers: list[Follower] = []
        self._heads: dict[str, int] = {}

    def begin(self) -> None:
        """Read each feed whose log is a file."""
        scene = self._scene
        lane = self._lane
        scene.onlookers.append(lane)
        host = host_of(lane, chance=(scene.seed, MACHINE, 0), wall=lambda: WALL + scene.loop.now)
        _ = lane.context.run(ambient.set, Context(host))
        # Feeds are calls that are waited for: nothing ever runs by itself here.
        caller = Caller(scene.medium.join(lane, NodeSettings()), host, Tasks(self._broke), timeout=TIMEOUT_SECONDS)
        followers = [Follower(scene, kind, caller, self._violate) for kind in scene.app.owners]
        able = [follower for follower in followers if follower.place is not None]
        chance = chance_of(scene.seed, "feeds")
        self._followers = chance.sample(able, min(FEEDS_MAX, len(able)))
        for follower in self._followers:
            _ = lane.start(follower.run(), f"follow {follower.name}")

    def healed(self) -> None:
        """What is in the logs by now will have been told."""
        for follower in self._followers:
            if follower.place is not None:
                self._heads[follower.name] = last_of(follower.place.file)

    def idle(self) -> bool:
        """Whether all was told."""
        return not any(follower.astray or follower.behind() for follower in self._followers)

    def finish(self) -> None:
        """Everything was told, and comes to what the rows are."""
        for follower in self._followers:
            late = follower.behind(self._heads.get(follower.name))
            if late:
                self._violate(
                    f"the feed of {follower.name} has not told of the entries {shown([str(seq) for seq in late])}, "
                    f"which have been in the log since before the world healed"
                )
            elif follower.astray:
                self._violate(f"who follows {follower.name} has not learnt that a power cut shortened its log")
            elif not follower.behind() and (differences := follower.differences()):
                self._violate(f"who follows {follower.name} has in the end {shown(differences)}")

    def _broke(self, error: BaseException) -> None:
        self._violate(f"a reader broke: {error!r}")

    def _violate(self, detail: str) -> None:
        # What a reader does in its last moments, when the world is over, is of no concern.
        if self._lane.alive:
            self._scene.violate(self.name, detail)
