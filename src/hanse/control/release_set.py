"""Several services released as one: those that are called before those that call them, and back in the other order.

Each has a rollout of its own, one at a time, so that what one of them does is not blamed on another. A rollout that
has come to its end stays warm, with its old release beside it, until the last one has: so all have a quick way back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Literal

import msgspec
from msgspec.structs import replace

from hanse.contract.model import Model, Resource, collection_of
from hanse.control.plan import Plan
from hanse.control.rollout import ENDED, Rollout
from hanse.kernel.faults import Misconfigured

State = Literal["going", "rolling_back", "done", "rolled_back"]

LIVE_SETS: tuple[State, ...] = ("going", "rolling_back")
"""States of a set that is not over."""


class Member(Model):
    """One service of a release set.

    Attributes:
        service: Its name.
        old, new: The releases.
        plan: How it is done.
        instances: How many run when nothing is on its way.
        source: Where it is started; empty for where the settings say.
        digest: What the new release consists of.
        needs: Those that it calls; what is not of the set is there already.
        breaking: Whether it goes on though it may not fit those who run beside it.
    """

    service: str
    old: str
    new: str
    plan: Plan
    instances: int
    source: str = ""
    digest: str = ""
    needs: tuple[str, ...] = ()
    breaking: bool = False


class ReleaseSet(Resource, collection="hanse_release_sets", indexed=("state",)):
    """Several services that are released as one.

    Attributes:
        members: In the order in which they go: nobody before what it calls.
        state: How it stands.
        who: Who asked for it.
        why: What it waits for, or what ended it.
    """

    members: tuple[Member, ...]
    state: State = "going"
    who: str = ""
    why: str = ""


class Doing(msgspec.Struct, frozen=True):
    """What is next.

    Attributes:
        row: The set as it should be.
        begin: The member whose rollout begins; None for none.
        end: Services whose rollouts are over with it: promote them in the commit that writes the row.
        abort: The service whose rollout has to go back; empty for none.
    """

    row: ReleaseSet
    begin: Member | None = None
    end: tuple[str, ...] = ()
    abort: str = ""


def in_order(members: Iterable[Member]) -> tuple[Member, ...]:
    """Members so that nobody comes before what it calls; else in the order that they were given in.

    Raises:
        Misconfigured: They need each other in a circle, or one is there twice.
    """
    given = list(members)
    known = {member.service: member for member in given}
    if len(known) < len(given):
        raise Misconfigured("a release set: expected each service once, got " + ", ".join(m.service for m in given))
    sorter = TopologicalSorter({one.service: [need for need in one.needs if need in known] for one in given})
    try:
        return tuple(known[service] for service in sorter.static_order())
    except CycleError as error:
        circle: list[str] = error.args[1]
        raise Misconfigured("a release set: these need each other in a circle: " + " -> ".join(circle)) from None


def next_of(row: ReleaseSet, rollouts: Mapping[str, Rollout]) -> Doing:
    """What is to be done now.

    Args:
        row: As it is stored.
        rollouts: Those of its members that have begun, by service.

    Example:
        >>> from hanse.control.plan import blue_green
        >>> members = [
        ...     Member(service="shop", old="1", new="2", plan=blue_green(1), instances=1, needs=("stock",)),
        ...     Member(service="stock", old="1", new="2", plan=blue_green(1), instances=1),
        ... ]
        >>> doing = next_of(ReleaseSet(members=in_order(members)), {})
        >>> doing.begin.service if doing.begin else ""
        'stock'
    """
    if row.state in ("done", "rolled_back"):
        return Doing(row)
    begun = [rollouts[member.service] for member in row.members if member.service in rollouts]
    failed = next((one for one in begun if one.state in ("rolling_back", "rolled_back", "refused")), None)
    if row.state == "rolling_back" or failed is not None:
        why = row.why if row.state == "rolling_back" else f"{failed.service}: {failed.why}" if failed else ""
        return _back(replace(row, state="rolling_back", why=why), begun)
    if any(not is_there(one) for one in begun):
        return Doing(row)
    if len(begun) < len(row.members):
        return Doing(row, begin=row.members[len(begun)])
    end = tuple(one.service for one in begun if one.state != "done")
    return Doing(replace(row, state="done", why="all of them are there"), end=end)


def is_there(rollout: Rollout) -> bool:
    """Whether a rollout has come as far as it can without the others of its set."""
    if rollout.state == "done":
        return True
    last = rollout.state == "stepping" and rollout.is_last and rollout.shown
    return last and rollout.watched >= rollout.now.seconds


def callers_of(row: ReleaseSet, service: str, rollouts: Mapping[str, Rollout]) -> list[Rollout]:
    """The rollouts that came after that of a service, and are not on their way back yet; the last one first.

    Args:
        row: The set.
        service: One of its members.
        rollouts: Those of its members that have begun, by service.
    """
    names = [member.service for member in row.members]
    after = [rollouts[name] for name in names[names.index(service) + 1 :] if name in rollouts]
    return [one for one in reversed(after) if one.state not in ("rolling_back", *ENDED)]


def _back(row: ReleaseSet, begun: list[Rollout]) -> Doing:
    """The one that was begun last goes back first, and the one before it when that is over.

    One that somebody had come to its end by hand has nothing left to go back to, and stays.
    """
    for one in reversed(begun):
        if one.state in ("done", "rolled_back", "refused"):
            continue
        return Doing(row) if one.state == "rolling_back" else Doing(row, abort=one.service)
    stay = ", ".join(f"{one.service} {one.new}" for one in begun if one.state == "done")
    why = f"{row.why}; {stay} had come to its end before, and stays" if stay else row.why
    return Doing(replace(row, state="rolled_back", why=why))


RELEASE_SETS = collection_of(ReleaseSet)
