"""Observers: what holds for every app, looked at from outside while it runs."""

from __future__ import annotations

from hanse.sim.check import Observer
from hanse.sim.observe.acknowledged import Acknowledged
from hanse.sim.observe.scene import Scene

__all__ = ["Scene", "observers_of"]


def observers_of(scene: Scene) -> list[Observer]:
    """Whoever looks on in every world."""
    return [Acknowledged(scene)]
