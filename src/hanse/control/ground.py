"""What releases are carried out on: a machine with processes and an edge, a cluster, or a simulated one.

It is told what should be so, again and again, and says what is. So it may forget, be killed and come back: the next
word tells it everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from hanse.contract.declare import Contract, rpc
from hanse.contract.model import Model
from hanse.control.edge_mirror import Pairs
from hanse.control.judged import Tally
from hanse.control.rollout import Came, Crew, Rollout, State


class Companion(Model):
    """A release that comes to its place together with others: service, release, and where its files are."""

    service: str
    release: str
    source: str = ""


class Wanted(Model):
    """What should be so of one service.

    Attributes:
        rollout: Id of the rollout that wants it; what sticks is hashed with it.
        service: Its name.
        old, new: The releases.
        old_source, new_source: Where they are started; empty for where the settings say.
        position: Of the commit that wants it: what was wanted before a later one is passed over.
        breaking: Whether it is wanted though it may not fit those who run beside it.
        old_count, new_count: Instances of each.
        share, mirrored: Of the requests, and of copies, for the new release, in basis points.
        state: How the rollout stands: in `checking`, `preparing` and `trying` something is to be done once.
        step: Number of its step.
        among: All of its release set, in their order, in `checking`; empty where it comes alone.
    """

    rollout: str
    service: str
    old: str
    new: str
    old_count: int
    new_count: int
    share: int
    mirrored: int
    state: State
    step: int
    old_source: str = ""
    new_source: str = ""
    position: int = 0
    breaking: bool = False
    among: tuple[Companion, ...] = ()


class Sight(Model):
    """What is so.

    Attributes:
        old, new: Instances of each release.
        instances: How many of the service are to run when nothing is on its way, by now; 0 where nobody says.
        share, mirrored: What all edges go by; None where one of them has not said so.
        came: What is done once in this state has come to.
        why: What it failed with.
        tally: What came of the requests of both releases.
        pairs: Answers to copies, beside those that they were copied from, since it was asked last.
        callers: Names of the nodes that call others now: each has to say that it goes by the routes.
        hosts: Services whose nodes the ground runs: one of these that is not among the callers calls nobody.
    """

    old: Crew
    new: Crew
    share: int | None
    mirrored: int | None
    instances: int = 0
    came: Came = "waiting"
    why: str = ""
    tally: Tally = Tally()
    pairs: Pairs = Pairs()
    callers: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()


def is_heeded(sight: Sight, heard: Mapping[str, int], position: int) -> bool:
    """Whether all who call others go by the routes that were written up to a position.

    Args:
        sight: Who there is.
        heard: How far each node has said that it has come, by its name.
        position: Of the route that they are to go by.

    Example:
        >>> sight = Sight(old=Crew(), new=Crew(), share=0, mirrored=0, callers=("shop-1",), hosts=("shop",))
        >>> is_heeded(sight, {}, 7), is_heeded(sight, {"shop-1": 7, "shop-2": 3}, 7)
        (False, True)
        >>> is_heeded(sight, {"shop-1": 7, "by-hand": 3}, 7)
        False
    """
    others = [name for name in heard if name.rpartition("-")[0] not in sight.hosts]
    return all(heard.get(name, -1) >= position for name in (*sight.callers, *others))


class Ground(Contract, Protocol, name="hanse_ground"):
    """What releases are carried out on."""

    @rpc(idempotent=True, timeout="5s")
    async def carry(self, wanted: Wanted) -> Sight:
        """Make it so, as far as that takes no time, and say how far it is."""
        ...

    @rpc(idempotent=True, timeout="5s")
    async def settle(self, service: str, release: str, source: str, position: int) -> None:
        """Have one release run, and no other one: nothing is on its way; unless something later was wanted."""
        ...


def wanted_of(row: Rollout) -> Wanted:
    """What a rollout wants.

    Args:
        row: As it is stored, or as it is to be.
    """
    return Wanted(
        rollout=row.id,
        service=row.service,
        old=row.old,
        new=row.new,
        old_count=row.old_count,
        new_count=row.new_count,
        share=row.share,
        mirrored=row.mirrored,
        state=row.state,
        step=row.step,
        old_source=row.old_source,
        new_source=row.new_source,
        position=row.rev,
        breaking=row.breaking,
    )
