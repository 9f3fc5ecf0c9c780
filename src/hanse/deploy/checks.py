"""Checks whether releases fit those who run beside them: has each code tell what it promises, and compares that."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Self, final

import msgspec
from msgspec.structs import replace

from hanse.control.ground import Companion, Wanted
from hanse.control.promises import Beside, Promised, Promises, in_words, misfits
from hanse.control.rollout import Came
from hanse.kernel.faults import CouldNotStart, Fault
from hanse.kernel.tasks import Tasks

CHECKS_MAX = 100
"""Rollouts of which it is remembered what their check came to."""

Side = tuple[str, str, str]
"""A release of a service: names of both, and where its code is; empty for where the settings say."""

Tell = Callable[[str], Awaitable[Promises]]
"""Tells what the code in a folder promises. Raises `Fault`."""


class Checked(msgspec.Struct, frozen=True):
    """What is to be checked.

    Attributes:
        name: Of the check; the same is done once.
        new: The release that comes.
        old: The one that it is to replace.
        others: Those of other services that are called then.
        warm: Those that run beside these, and are called no more.
    """

    name: str
    new: Side
    old: Side
    others: tuple[Side, ...]
    warm: tuple[Side, ...] = ()


def checks_of(wanted: Wanted, running: Mapping[str, Sequence[Side]]) -> Iterator[Checked]:
    """What is to be checked before a release begins; of a release set all, before the first of it begins.

    Who comes after others of its set calls their new releases only: they have everything then, and go back after it.

    Args:
        wanted: The release.
        running: The releases of each service of the app that run; the one that has what a new one has not comes first.
    """
    among = wanted.among or (Companion(service=wanted.service, release=wanted.new, source=wanted.new_source),)
    first = next(number for number, one in enumerate(among) if one.service == wanted.service)
    for number, one in enumerate(among if first == 0 else among[: first + 1]):
        if number >= first and one.service in running:
            yield _checked(wanted, one, among[:number], running)


def _checked(
    wanted: Wanted, one: Companion, gone: Sequence[Companion], running: Mapping[str, Sequence[Side]]
) -> Checked:
    before = {done.service: _side(done) for done in gone if done.service in running}
    others = {name: sides for name, sides in running.items() if name not in before and name != one.service}
    called = (*before.values(), *(side for sides in others.values() for side in sides))
    warm = tuple(side for name, new in before.items() for side in running[name] if side != new)
    return Checked(f"check-{wanted.rollout}-{one.service}", _side(one), running[one.service][0], called, warm)


def _side(one: Companion) -> Side:
    return one.service, one.release, one.source


@final
class Checks:
    """See the module. What is checked is only read, so one that was cut off is simply done again.

    Args of the constructor:
        tell: Tells what the code in a folder promises.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._tasks = Tasks(lambda _: None)
        self._running: dict[str, asyncio.Task[str]] = {}

    async def __aenter__(self) -> Self:
        _ = await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._tasks.__aexit__(None, None, None)

    def came(self, what: Checked) -> tuple[Came, str]:
        """What a check has come to, and what does not fit; the first who asks has it begin."""
        task = self._running.get(what.name)
        if task is None:
            while len(self._running) >= CHECKS_MAX:
                _ = self._running.pop(next(iter(self._running))).cancel()
            task = self._running[what.name] = self._tasks.start(self._check(what), name=what.name)
        if not task.done():
            return "waiting", ""
        why = "the check was cut off" if task.cancelled() else _why(task)
        return ("failed", why) if why else ("passed", "")

    async def _check(self, what: Checked) -> str:
        """What does not fit; empty where all does."""
        sides = (what.new, what.old, *what.others)
        told = await self._told({source for _, _, source in (*sides, *what.warm)})
        new, old, *others = (_beside(side, told) for side in sides)
        warm = [replace(_beside(side, told), called=False) for side in what.warm]
        return in_words(misfits(new.promised, old, [*others, *warm]))

    async def _told(self, sources: Iterable[str]) -> Mapping[str, Promises]:
        found: dict[str, Promises] = {}
        # One after the other: each is a process that imports an app, on a machine that has other things to do.
        for source in sorted(sources):
            try:
                found[source] = await self._tell(source)
            except Fault as fault:
                whose = source or "the project's folder"
                raise CouldNotStart(f"what the code in {whose} promises is not known: {fault}") from None
        return found


def _beside(side: Side, told: Mapping[str, Promises]) -> Beside:
    service, release, source = side
    return Beside(service, release, told[source].get(service, Promised()))


def _why(task: asyncio.Task[str]) -> str:
    error = task.exception()
    return task.result() if error is None else str(error) or repr(error)
