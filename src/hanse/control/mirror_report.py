"""What two releases answered to the same requests, compared field by field, and added up in bounded space. Pure.

A field is named as people read it: `status`, `type`, `body.items[].price`. What differs by nature, such as ids and
times, differs in nearly all answers: the counts show it, and who reads them leaves it out by `ignored`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import cast

import msgspec
from msgspec.structs import replace

from hanse.control.edge_mirror import Heard, Pair, Pairs

DIFFERENCES_MAX = 200
"""Fields that are told apart; others are counted as one."""

OTHERS = "(others)"

TEXT_MAX = 80
"""Letters of a value that are shown."""

DEPTH_MAX = 20
"""How deep a body is looked into; what is deeper is compared as a whole."""

ABSENT = "(absent)"


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Answers that differ in one field.

    Attributes:
        route: Path of the route.
        field: Where they differ.
        times: In how many pairs.
        target: Path and query of the first of them.
        trace_id: Of its story.
        told, copied: What the two answered there.
    """

    route: str
    field: str
    times: int
    target: str
    trace_id: str
    told: str
    copied: str


class MirrorReport(msgspec.Struct, frozen=True, kw_only=True):
    """What came of copies.

    Attributes:
        pairs: Requests that both releases answered.
        same: Of these, those whose answers are the same.
        dropped: Pairs that nobody asked for in time.
        differences: The most frequent first.
    """

    pairs: int = 0
    same: int = 0
    dropped: int = 0
    differences: tuple[Difference, ...] = ()

    def lines(self) -> Iterator[str]:
        """It for people.

        Example:
            >>> print(*MirrorReport(pairs=2, same=2).lines(), sep="; ")
            2 of 2 answers are the same
        """
        yield f"{self.same} of {self.pairs} answers are the same" + (f"; {self.dropped} unseen" if self.dropped else "")
        for one in self.differences:
            example = f"{one.told} -> {one.copied}, as in {one.target}" if one.target else ""
            yield f"{one.route} {one.field}: {one.times} differ; {example}"


def reported(report: MirrorReport, pairs: Pairs, ignored: tuple[str, ...] = ()) -> MirrorReport:
    """A report with more pairs.

    Args:
        report: What is known.
        pairs: What came since.
        ignored: Fields that may differ, such as `body.*.at`; `*` stands for anything.
    """
    found = {(one.route, one.field): one for one in report.differences}
    same = 0
    for pair in pairs.pairs:
        fields = {
            name: values
            for name, values in fields_that_differ(pair).items()
            if not any(_fits(name, pattern) for pattern in ignored)
        }
        same += not fields
        for name, (told, copied) in fields.items():
            _add(found, pair, name, told, copied)
    ordered = sorted(found.values(), key=lambda one: (-one.times, one.route, one.field))
    return MirrorReport(
        pairs=report.pairs + len(pairs.pairs),
        same=report.same + same,
        dropped=report.dropped + pairs.dropped,
        differences=tuple(ordered),
    )


def fields_that_differ(pair: Pair) -> dict[str, tuple[str, str]]:
    """Fields in which two answers differ, each with what the two have there; of lists, the first that differs.

    Example:
        >>> told, copied = (Heard(status=200, body=body) for body in (b'{"n": [1, 2]}', b'{"n": [1, 3], "new": true}'))
        >>> pair = Pair(service="", route="", method="", target="", trace_id="", release="", mirror="",
        ...             told=told, copied=copied)
        >>> fields_that_differ(pair)
        {'body.n[]': ('2', '3'), 'body.new': ('(absent)', 'true')}
    """
    told, copied = pair.told, pair.copied
    found: dict[str, tuple[str, str]] = {}
    if told.status != copied.status:
        found["status"] = (_status(told), _status(copied))
    if told.type != copied.type:
        found["type"] = (told.type, copied.type)
    if told.body != copied.body:
        for name, values in _bodies(told, copied):
            _ = found.setdefault(name, values)
    return found


def _bodies(told: Heard, copied: Heard) -> Iterator[tuple[str, tuple[str, str]]]:
    try:
        values = [msgspec.json.decode(one.body) for one in (told, copied) if not one.cut]
    except (msgspec.DecodeError, RecursionError):
        values = []
    match values:
        case [one, other]:
            yield from _walked("body", one, other, DEPTH_MAX)
        case _:
            yield "body", (_text(told.body), _text(copied.body))


def _walked(name: str, told: object, copied: object, depth: int) -> Iterator[tuple[str, tuple[str, str]]]:
    if told == copied and type(told) is type(copied):
        return
    table, other = _table(told), _table(copied)
    items, others = _items(told), _items(copied)
    if depth and table is not None and other is not None:
        for key in dict.fromkeys((*table, *other)):
            yield from _walked(f"{name}.{key}", table.get(key, _ABSENT), other.get(key, _ABSENT), depth - 1)
    elif depth and items is not None and others is not None:
        if len(items) != len(others):
            yield f"{name}[] (length)", (str(len(items)), str(len(others)))
        for item, counterpart in zip(items, others, strict=False):
            yield from _walked(f"{name}[]", item, counterpart, depth - 1)
    else:
        yield name, (_value(told), _value(copied))


def _table(value: object) -> dict[str, object] | None:
    return cast("dict[str, object]", value) if isinstance(value, dict) else None


def _items(value: object) -> list[object] | None:
    return cast("list[object]", value) if isinstance(value, list) else None


_ABSENT = object()


def _fits(name: str, pattern: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name) is not None


def _value(value: object) -> str:
    return ABSENT if value is _ABSENT else _text(msgspec.json.encode(value))


def _text(data: bytes) -> str:
    text = data[: TEXT_MAX * 4].decode(errors="backslashreplace")
    return text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 1] + "…"


def _status(heard: Heard) -> str:
    return str(heard.status) if heard.status else heard.problem or "none"


def _add(found: dict[tuple[str, str], Difference], pair: Pair, field: str, told: str, copied: str) -> None:
    key = (pair.route, field)
    if key not in found and len(found) >= DIFFERENCES_MAX:
        key = (OTHERS, OTHERS)
    known = found.get(key)
    if known is not None:
        found[key] = replace(known, times=known.times + 1)
        return
    found[key] = Difference(
        route=key[0],
        field=key[1],
        times=1,
        target=pair.target[:TEXT_MAX],
        trace_id=pair.trace_id,
        told=told,
        copied=copied,
    )
