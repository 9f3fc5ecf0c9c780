"""Whether a release keeps what its answers promise, by copies of requests whose answers nobody sees. Pure.

Of an answer of the old release and one of the new one to the same request, the new one may say more, and other things;
it may not say less. Broken is a field that is absent where the old release has it, or holds another kind of value, and
so are another status and another media type. What differs by nature, such as ids and times, keeps its kind.

Some fields come and go by themselves, though. So some copies go to the old release once more, and how often a field of
its answers breaks beside its own is what the new one is compared with, by the evidence of `hanse.control.comparison`:
each field has its own, and the mean of all is 1 at most in expectation, whatever they have to do with each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from math import log
from typing import cast

import msgspec

from hanse.control.comparison import Spot
from hanse.control.edge_mirror import Heard, Pair
from hanse.control.evidence import Slice
from hanse.control.signal import Signal

FIELDS_MAX = 128
"""Fields that are looked at; those that come later are passed over."""

ITEMS_MAX = 100
"""Items of a list that are looked at."""

DEPTH_MAX = 20
"""How deep a body is looked into."""

ROUTES_MAX = 128
"""Routes of which pairs wait."""

BLOCK_SECONDS = 5.0
"""How long what breaks is taken for one thing."""

WAIT_SECONDS = 60.0
"""How long copies to one of the two wait for one to the other."""

BURST = 8.0
"""The logarithm of what such a thing may multiply the evidence by: one alone never is enough."""

EVIDENCE = 1_000.0
"""From which on it is believed."""

_FAILED = 500
_REFUSED = 400
_KINDS: Mapping[type, str] = {bool: "boolean", int: "number", float: "number", str: "string", type(None): "null"}


class Field(msgspec.Struct, frozen=True):
    """One field of the answers of a route.

    Attributes:
        new, old: Pairs that it was looked at in: of the new release, and of the old one with itself.
        new_events, old_events: Those of them in which it was broken.
        spot: What that says.
    """

    new: int = 0
    old: int = 0
    new_events: int = 0
    old_events: int = 0
    spot: Spot = Spot()

    def after(self, one: Slice) -> Field:
        """With one more block."""
        events = one.new_events + one.old_events
        return Field(
            self.new + one.new,
            self.old + one.old,
            self.new_events + one.new_events,
            self.old_events + one.old_events,
            self.spot.after(one) if events else self.spot,
        )


class Pending(msgspec.Struct, frozen=True):
    """Pairs of a route that wait for their block to end.

    Attributes:
        since: When it began, in seconds since the rollout did.
        new, old: How many there are: of the new release, and of the old one with itself.
        broken: By field, in how many of either it was broken.
    """

    since: float
    new: int = 0
    old: int = 0
    broken: dict[str, tuple[int, int]] = {}

    def after(self, fields: Iterable[str], *, is_new: bool) -> Pending:
        """With one more pair."""
        broken = dict(self.broken)
        for name in fields:
            new, old = broken.get(name, (0, 0))
            broken[name] = (new + is_new, old + (not is_new))
        return Pending(self.since, self.new + is_new, self.old + (not is_new), broken)


class Matched(msgspec.Struct, frozen=True):
    """What is known by copies; a value of bounded size.

    Attributes:
        pending: By route.
        fields: By route, and name of the field.
    """

    pending: dict[str, Pending] = {}
    fields: dict[str, dict[str, Field]] = {}

    def after(self, pairs: Iterable[Pair], at: float) -> Matched:
        """What is known after more copies.

        Args:
            pairs: Both answers to each.
            at: Seconds since the rollout began.
        """
        pending = dict(self.pending)
        for pair in pairs:
            broken = fields_broken(pair)
            if broken is None or (pair.route not in pending and len(pending) >= ROUTES_MAX):
                continue
            known = pending.get(pair.route, Pending(at))
            pending[pair.route] = known.after(broken, is_new=pair.mirror != pair.release)
        fields = dict(self.fields)
        for route, one in list(pending.items()):
            over = at - one.since >= BLOCK_SECONDS
            if over and one.new and one.old:
                fields[route] = _counted(fields.get(route, {}), one, FIELDS_MAX - _size(fields))
            if over and ((one.new and one.old) or at - one.since >= WAIT_SECONDS):
                del pending[route]
        return Matched(pending, fields)

    @property
    def worse(self) -> float:
        """The evidence that the new release breaks something; 1 for none."""
        known = [one.spot.worse() for some in self.fields.values() for one in some.values()]
        return (sum(known) + FIELDS_MAX - len(known)) / FIELDS_MAX

    def signals(self) -> Iterator[Signal]:
        """What speaks against the new release."""
        if self.worse < EVIDENCE:
            return
        found = [(one.spot.worse(), route, name) for route, some in self.fields.items() for name, one in some.items()]
        _, route, name = max(found)
        one = self.fields[route][name]
        yield Signal(
            "answers",
            f"{name} of {route} is missing or of another kind in {one.new_events} of {one.new} copies, and in "
            f"{one.old_events} of {one.old} that the old release answered twice",
        )


def fields_broken(pair: Pair) -> set[str] | None:
    """In which fields the second answer says less than the first; None where the first one says nothing.

    Example:
        >>> from hanse.control.edge_mirror import Heard
        >>> bodies = b'{"id": 1, "price": 2, "tags": [{"a": 1}]}', b'{"id": 7, "price": "2", "tags": [{}], "new": 1}'
        >>> told, copied = (Heard(status=200, type="application/json", body=body) for body in bodies)
        >>> pair = Pair(service="", route="", method="", target="", trace_id="", release="", mirror="",
        ...             told=told, copied=copied)
        >>> sorted(fields_broken(pair))
        ['body.price', 'body.tags[].a']
    """
    told, copied = pair.told, pair.copied
    if told.problem or not 0 < told.status < _FAILED:
        return None
    if copied.problem or told.status != copied.status:
        return {"status"}
    if told.status >= _REFUSED:
        return set()
    return {"type"} if _media(told.type) != _media(copied.type) else set(_bodies_broken(told, copied))


def _bodies_broken(told: Heard, copied: Heard) -> Iterator[str]:
    if told.cut or copied.cut:
        return
    with suppress(msgspec.DecodeError, RecursionError):
        one, other = (msgspec.json.decode(heard.body, type=object) for heard in (told, copied))
        yield from _broken("body", one, other, DEPTH_MAX)


def _broken(name: str, told: object, copied: object, depth: int) -> Iterator[str]:
    if _kind(told) != _kind(copied):
        yield name
    elif isinstance(told, dict) and depth:
        table, other = cast("dict[str, object]", told), cast("dict[str, object]", copied)
        for key, value in table.items():
            if key in other:
                yield from _broken(f"{name}.{key}", value, other[key], depth - 1)
            else:
                yield f"{name}.{key}"
    elif isinstance(told, list) and depth:
        items, others = cast("list[object]", told), cast("list[object]", copied)
        for item, counterpart in islice(zip(items, others, strict=False), ITEMS_MAX):
            yield from _broken(f"{name}[]", item, counterpart, depth - 1)


def _kind(value: object) -> str:
    return _KINDS.get(type(value), type(value).__name__)


def _media(text: str) -> str:
    return text.partition(";")[0].strip().lower()


def _counted(known: dict[str, Field], one: Pending, room: int) -> dict[str, Field]:
    fresh = [name for name in sorted(one.broken) if name not in known]
    names = [*known, *fresh[: max(0, room)]]
    return {name: known.get(name, Field()).after(_slice(one, *one.broken.get(name, (0, 0)))) for name in names}


def _slice(one: Pending, new: int, old: int) -> Slice:
    gain = -log(one.new / (one.new + one.old)) * (new + old)
    return Slice(one.new, one.old, new, old, min(1.0, BURST / gain) if gain else 1.0)


def _size(fields: Mapping[str, dict[str, Field]]) -> int:
    return sum(map(len, fields.values()))


def without_placebo(pairs: Iterable[Pair]) -> tuple[Pair, ...]:
    """Those that the new release answered too."""
    return tuple(one for one in pairs if one.mirror != one.release)
