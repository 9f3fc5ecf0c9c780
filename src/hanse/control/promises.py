"""Whether a release fits those who run beside it, before anything of it is started: by what each promises. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import cast

import msgspec

from hanse.contract.breaks import breaks
from hanse.contract.schema import Json

SHAPES = ""
"""The name under which events and rows are promised: they belong to no contract."""

TOLD_MAX = 20
"""Things that do not fit that are told; the others are counted."""

SECTIONS = ("events", "resources")


class Promised(msgspec.Struct, frozen=True):
    """What one service promises, and counts on, as its code says.

    Attributes:
        offers: Contracts as data, and one named `SHAPES` with its events and its rows.
        expects: The same of others, as this service knows them.
    """

    offers: tuple[Json, ...] = ()
    expects: tuple[Json, ...] = ()


Promises = Mapping[str, Promised]
"""Of all services of one app, by name."""


class Beside(msgspec.Struct, frozen=True):
    """A release that runs.

    Attributes:
        service: Its name.
        release: Which of its releases.
        promised: What that promises.
        called: Whether it is called; one that is only kept warm still hears events, and emits some.
    """

    service: str
    release: str
    promised: Promised
    called: bool = True

    def __str__(self) -> str:
        return f"{self.service} ({self.release})"


def misfits(new: Promised, old: Beside, others: Iterable[Beside]) -> list[str]:
    """What would no longer work with a new release, and for whom.

    Args:
        new: What it promises.
        old: The release that it is to replace, and that shares its store meanwhile.
        others: All other services that run.

    Example:
        >>> till = {"name": "till", "operations": {"price": {}}}
        >>> cafe = Beside("cafe", "base", Promised(expects=(till,)))
        >>> misfits(Promised(), Beside("till", "base", Promised((till,))), [cafe])
        ['cafe (base) calls what is gone: till']
    """
    beside = list(others)
    return [
        *(f"{old} has the same store: {what}" for what in _rows(old.promised, new)),
        *(told for one in beside for told in _for_callers(new, old.promised, one)),
        *(told for wanted in new.expects for told in _needed(wanted, old.promised, beside)),
    ]


def in_words(found: Sequence[str]) -> str:
    """All that does not fit as one text; empty for nothing."""
    more = f"; and {len(found) - TOLD_MAX} more" if len(found) > TOLD_MAX else ""
    return "; ".join(found[:TOLD_MAX]) + more


def _rows(old: Promised, new: Promised) -> list[str]:
    ours, theirs = (_named(SHAPES, one.offers) for one in (old, new))
    if ours is None:
        return []
    nothing: Json = {}
    return breaks({**ours, "events": nothing}, theirs or {"name": SHAPES}, newer=True)


def _for_callers(new: Promised, old: Promised, caller: Beside) -> Iterator[str]:
    for wanted in caller.promised.expects:
        was, now = (_named(str(wanted["name"]), one.offers) for one in (old, new))
        if was is None:
            continue  # it is of somebody else
        if now is None:
            yield f"{caller} calls what is gone: {wanted['name']}"
            continue
        yield from (f"{caller} counts on it: {what}" for what in breaks(_shared(wanted, was), now, newer=True))


def _needed(wanted: Json, own: Promised, others: Sequence[Beside]) -> Iterator[str]:
    name = str(wanted["name"])
    if name != SHAPES and _named(name, own.offers) is not None:
        return
    asked = [one for one in others if one.called or name == SHAPES]
    providers = [(one, found) for one in asked if (found := _named(name, one.promised.offers)) is not None]
    if not providers and name != SHAPES:
        yield f"it calls {name}, which nobody who runs offers: release that first"
    for one, offered in providers:
        yield from (f"it counts on {one}: {what}" for what in breaks(_shared(wanted, offered), offered, newer=False))


def _shared(wanted: Json, offered: Json) -> Json:
    """Of events and rows only those that this one has: each has one owner. Of a contract all."""
    if wanted["name"] != SHAPES:
        return wanted
    return {**wanted, **{section: _among(wanted, offered, section) for section in SECTIONS}}


def _among(wanted: Json, offered: Json, section: str) -> Json:
    there = cast("Json", offered.get(section, {}))
    return {name: one for name, one in cast("Json", wanted.get(section, {})).items() if name in there}


def _named(name: str, contracts: Iterable[Json]) -> Json | None:
    return next((one for one in contracts if one["name"] == name), None)
