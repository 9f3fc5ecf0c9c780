"""Observers: what holds for every app, looked at from outside while it runs."""

from __future__ import annotations

from hanse.sim.check import Observer
from hanse.sim.observe.acknowledged import Acknowledged
from hanse.sim.observe.bounds import Bounds
from hanse.sim.observe.contracts import Contracts
from hanse.sim.observe.effects import Effects
from hanse.sim.observe.feeds import Feeds
from hanse.sim.observe.leases import Leases
from hanse.sim.observe.letters import Letters
from hanse.sim.observe.linearizable import Linearizable
from hanse.sim.observe.order import Order
from hanse.sim.observe.sagas import Sagas
from hanse.sim.observe.scene import Scene
from hanse.sim.setup import Setup

__all__ = ["Scene", "observers_of"]


def observers_of(scene: Scene, setup: Setup) -> list[Observer]:
    """Whoever looks on in every world.

    Args:
        scene: The world.
        setup: What it consists of, and what may happen in it.
    """
    return [
        Acknowledged(scene),
        Bounds(scene),
        Contracts(scene),
        Effects(scene, dead_letters=setup.dead_letters),
        Feeds(scene),
        Leases(scene),
        Letters(scene),
        Linearizable(scene),
        Order(scene),
        Sagas(scene, stuck=setup.dead_letters),
    ]
