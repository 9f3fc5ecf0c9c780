"""What somebody wished for while a system runs, over what its settings say: how many, again, or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from msgspec.structs import replace

from hanse.control.desired import INSTANCES_MAX, Desired, Key
from hanse.control.released import Overlay, overlaid
from hanse.kernel.faults import Misconfigured
from hanse.kernel.settings_schema import nearest


class Wishes(msgspec.Struct, frozen=True):
    """What was wished for.

    Attributes:
        instances: How many, by name of the service.
        turns: How often somebody wished it to be started anew.
        only: Services that are to run, with those whom they need; all where there is none.
        down: Whether all is to end.
        overlays: What releases want, by name of the service.
    """

    instances: dict[str, int] = {}
    turns: dict[str, int] = {}
    only: tuple[str, ...] = ()
    down: bool = False
    overlays: dict[str, Overlay] = {}


def wished(desired: Mapping[str, Desired], wishes: Wishes) -> dict[Key, Desired]:
    """What should run, by service and release.

    Example:
        >>> from hanse.control.desired import Command
        >>> web = Desired("web", Command(("serve",)))
        >>> wished({"web": web}, Wishes(instances={"web": 3}))["web", "base"].instances
        3
    """
    among = needed(desired, wishes.only or desired)
    there = {
        name: replace(one, instances=_instances(one, wishes), turn=wishes.turns.get(name, 0))
        for name, one in desired.items()
    }
    found = overlaid(there, wishes.overlays)
    return {
        key: replace(one, instances=0) if wishes.down or one.service not in among else one for key, one in found.items()
    }


def needed(desired: Mapping[str, Desired], names: Iterable[str]) -> set[str]:
    """These services, and all whom they need.

    Raises:
        Misconfigured: There is none of such a name.
    """
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(_known(desired, name).service)
            waiting += desired[name].needs
    return found


def scaled(wishes: Wishes, desired: Mapping[str, Desired], instances: Mapping[str, int]) -> Wishes:
    """With so many of these services.

    Raises:
        Misconfigured: There is none of such a name, or so many cannot run.
    """
    for name, number in instances.items():
        one = _known(desired, name)
        most = 1 if one.port else INSTANCES_MAX
        if not 0 <= number <= most:
            why = f", as it insists on port {one.port}" if one.port else ""
            raise Misconfigured(f"expected from 0 to {most} instances of {name}{why}, got {number}")
    # Whoever wants some of a service wants it to run.
    only = tuple(dict.fromkeys((*wishes.only, *(name for name, number in instances.items() if number))))
    return replace(wishes, instances={**wishes.instances, **instances}, only=only if wishes.only else ())


def restarted(wishes: Wishes, desired: Mapping[str, Desired], names: Iterable[str]) -> Wishes:
    """With these services started anew, or all; those that were stopped, too.

    Raises:
        Misconfigured: There is none of such a name.
    """
    again = [_known(desired, name).service for name in names] or list(desired)
    turns = {**wishes.turns, **{name: wishes.turns.get(name, 0) + 1 for name in again}}
    instances = {name: number for name, number in wishes.instances.items() if number or name not in again}
    return replace(wishes, turns=turns, instances=instances)


def _instances(one: Desired, wishes: Wishes) -> int:
    return wishes.instances.get(one.service, one.instances)


def _known(desired: Mapping[str, Desired], name: str) -> Desired:
    if name not in desired:
        near = nearest(name, desired)
        raise Misconfigured(
            f"there is no service {name!r}; " + (f"did you mean {near}?" if near else f"there are {', '.join(desired)}")
        )
    return desired[name]
