"""Who hears of a subject: the decision at the heart of NATS, without connections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar, final

KNOWN_MAX: Final = 10_000
"""Subjects of which it is remembered who hears of them."""


class Wanted(Protocol):
    """A subscription."""

    @property
    def subject(self) -> bytes:
        """What it wants to hear of; `*` stands for one token, `>` for all that follow."""
        ...

    @property
    def group(self) -> bytes:
        """Of those with the same one, each message is given to one; empty for all."""
        ...


W = TypeVar("W", bound=Wanted)


def matches(pattern: bytes, subject: bytes) -> bool:
    """Whether somebody who wants a pattern hears of a subject.

    Example:
        >>> matches(b"orders.*", b"orders.new"), matches(b"orders.>", b"orders.new.eu"), matches(b"*", b"orders.new")
        (True, True, False)
        >>> matches(b"orders.>", b"orders")
        False
    """
    wanted, told = pattern.split(b"."), subject.split(b".")
    for place, token in enumerate(wanted):
        if token == b">":
            return len(told) > place
        if place >= len(told) or token not in {b"*", told[place]}:
            return False
    return len(wanted) == len(told)


def is_subject(name: bytes, *, wild: bool = False) -> bool:
    """Whether a name is a subject; with wildcards, where those are allowed.

    Example:
        >>> is_subject(b"orders.new"), is_subject(b"orders..new"), is_subject(b"orders.*"), is_subject(b">", wild=True)
        (True, False, False, True)
    """
    tokens = name.split(b".")
    if not all(tokens) or b">" in tokens[:-1]:
        return False
    return wild or not {b"*", b">"} & {*tokens}


@final
class Interest(Generic[W]):
    """All subscriptions of a server, in the order in which they came."""

    def __init__(self) -> None:
        """Nobody wants anything."""
        self._all: dict[W, None] = {}
        self._known: dict[bytes, list[W]] = {}

    def add(self, wanted: W) -> None:
        """Somebody wants to hear of something."""
        self._all[wanted] = None
        self._known.clear()

    def remove(self, wanted: W) -> None:
        """They do not any more."""
        if wanted in self._all:
            del self._all[wanted]
            self._known.clear()

    def hearers(self, subject: bytes, draw: Callable[[], float]) -> list[W]:
        """Who is given a message on a subject: all that are in no group, and one of each group.

        Args:
            subject: What it is published on.
            draw: Chooses in groups.
        """
        found = self._known.get(subject)
        if found is None:
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            found = self._known[subject] = [wanted for wanted in self._all if matches(wanted.subject, subject)]
        groups: dict[bytes, list[W]] = {}
        for wanted in found:
            if wanted.group:
                groups.setdefault(wanted.group, []).append(wanted)
        chosen = [members[int(draw() * len(members))] for members in groups.values()]
        return [*(wanted for wanted in found if not wanted.group), *chosen]
