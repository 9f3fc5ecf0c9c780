"""Observers: what holds for every app, looked at from outside while it runs."""

from __future__ import annotations

from hanse.sim.check import Observer
from hanse.sim.observe.acknowledged import Acknowledged
from hanse.sim.observe.contracts import Contracts
from hanse.sim.observe.effects import Effects
from hanse.sim.observe.feeds import Feeds
from hanse.sim.observe.leases import Leases
from hanse.sim.observe.linearizable import Linearizable
from hanse.sim.observe.scene import Scene

__all__ = ["Scene", "observers_of"]


def observers_of(scene: Scene, *, dead_letters: bool = False) -> list[Observer]:
    """Whoever looks on in every world.

    Args:
        scene: The world.
        dead_letters: Whether messages may end as dead letters in it.
    """
    return [
        Acknowledged(scene),
        Effects(scene, dead_letters=dead_letters),
        Contracts(scene),
        Feeds(scene),
        Leases(scene),
        Linearizable(scene),
    ]
