"""What feeds tell, as people and programs read it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import cast

import click
import msgspec

from hanse.cli.sse import Event
from hanse.kernel.codec import encode_json
from hanse.kernel.faults import Malformed

COLOURS: Mapping[str, str] = {"created": "green", "updated": "yellow", "deleted": "red", "emitted": "cyan"}
VALUE_CHARACTERS_MAX = 60
"""Of one field in a line; what is longer is cut."""

OWN = frozenset({"id", "rev"})
"""Fields that a line tells in other ways."""

Json = dict[str, object]


class Told(msgspec.Struct, frozen=True):
    """One thing that a feed told.

    Attributes:
        source: The collection or the topic.
        event: `snapshot`, `created`, `updated`, `deleted`, `emitted`, `ready` or `reset`.
        cursor: Where to go on from after it; empty where that cannot be.
        key, rev: The row, or the event's id.
        value, before: The row as it is and as it was; an event as CloudEvents has it.
        topic: Whether it is of a topic.
        at: When it happened (RFC 3339); empty where that is not told.
    """

    source: str
    event: str
    cursor: str = ""
    key: str = ""
    rev: int = 0
    value: Json | None = None
    before: Json | None = None
    topic: bool = False
    at: str = ""

    @property
    def data(self) -> Json:
        """What an event says, or a row has."""
        value = self.value or {}
        data = value.get("data") if self.topic else value
        return cast("Json", data) if isinstance(data, dict) else {}

    def plain(self) -> Json:
        """It as one JSON object, without what it does not have."""
        first: Json = {"topic" if self.topic else "collection": self.source, "event": self.event}
        rest = {
            "cursor": self.cursor,
            "key": self.key,
            "rev": self.rev,
            "value": self.value,
            "before": self.before,
            "at": self.at,
        }
        return {**first, **{name: value for name, value in rest.items() if value}}


class _Data(msgspec.Struct, frozen=True):
    key: str = ""
    rev: int = 0
    value: Json | None = None
    before: Json | None = None
    at: str = ""


def told_by(source: str, event: Event, *, topic: bool = False) -> Told:
    """What an event of a stream tells.

    Raises:
        Malformed: It is none of a Hanse gateway.
    """
    try:
        if event.name == "emitted":
            value = msgspec.json.decode(event.data, type=Json)
            at = str(value.get("time", ""))
            return Told(source, "emitted", event.cursor, str(value.get("id", "")), value=value, topic=topic, at=at)
        data = msgspec.json.decode(event.data, type=_Data)
    except msgspec.DecodeError as error:
        raise Malformed(f"expected an event of a Hanse gateway, got {event.data[:100]!r}: {error}") from None
    return Told(source, event.name, event.cursor, data.key, data.rev, data.value, data.before, topic, data.at)


def line_of(told: Told, now: float, *, colour: bool = False) -> str:
    """What was told in one line: when, whose, which row, what happened, and what is other than before.

    Args:
        told: What was told.
        now: Wall-clock second, for what has no time of its own.
        colour: Whether to colour what happened.

    Example:
        >>> before, after = {"sku": "tea", "count": 1}, {"sku": "tea", "count": 2}
        >>> line_of(Told("orders", "updated", "a.2", "42", 2, after, before), 0.0)
        '00:00:00.000  orders  42  updated  count: 1 -> 2'
    """
    at = _time_of(told.at) or datetime.fromtimestamp(now, UTC)
    at = at.astimezone() if now else at
    name = click.style(told.event, fg=COLOURS.get(told.event)) if colour else told.event
    parts = [at.strftime("%H:%M:%S.") + f"{at.microsecond // 1000:03}", told.source, told.key, name]
    return "  ".join(part for part in (*parts, ", ".join(_fields(told))) if part)


def _time_of(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None


def _fields(told: Told) -> Iterator[str]:
    if told.event == "reset":
        yield "the log does not reach back; some of what happened is not told"
    elif told.event == "updated" and told.before is not None:
        yield from differences(told.before, told.value or {})
    elif told.event != "deleted":
        yield from (f"{name}={shown(value)}" for name, value in told.data.items() if name not in OWN)


def differences(before: Json, after: Json) -> list[str]:
    """The fields that differ.

    Example:
        >>> differences({"rev": 1, "sku": "tea", "note": "x"}, {"rev": 2, "sku": "cup", "more": 1})
        ['sku: tea -> cup', 'note: x -> gone', 'more: none -> 1']
    """
    found: list[str] = []
    for name in dict.fromkeys((*before, *after)):
        if name in OWN or (name in before and name in after and before[name] == after[name]):
            continue
        was = shown(before[name]) if name in before else "none"
        found.append(f"{name}: {was} -> {shown(after[name]) if name in after else 'gone'}")
    return found


def shown(value: object) -> str:
    """A value as it stands in a line: text bare, else JSON; cut where it is long.

    Example:
        >>> shown("tea"), shown(["tea"]), shown(None)
        ('tea', '["tea"]', 'null')
    """
    text = "".join(char if char.isprintable() else " " for char in _text(value))
    return text if len(text) <= VALUE_CHARACTERS_MAX else f"{text[: VALUE_CHARACTERS_MAX - 3]}..."


def _text(value: object) -> str:
    return value if isinstance(value, str) else encode_json(value).decode()
