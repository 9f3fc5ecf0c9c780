"""Dead letters, and what is done about them, as text."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import click
import msgspec

from hanse.delivery.action import LetterAction, Selection
from hanse.delivery.tally import LetterGroup
from hanse.node.letters import LetterLine, LetterShown
from hanse.node.rehearsal import Rehearsed

HEADINGS = ("id", "group", "topic", "key", "fault", "attempts", "last", "")
GROUP_HEADINGS = ("service", "fingerprint", "group", "topic", "fault", "failed", "waiting", "says")
ACTION_HEADINGS = ("service", "action", "what", "who", "when", "which", "state", "outcome")

TEXT_CHARACTERS_MAX = 60
"""Of what a fault says, in a table."""


def row_of(line: LetterLine) -> list[str]:
    """A dead letter as a row of a table."""
    state = f"waits for {line.waits_for}" if line.waits_for else "edited" if line.edited else ""
    fault, attempts = line.code or "-", str(line.attempts or "-")
    return [line.id, line.group, line.topic, line.key or "-", fault, attempts, moment(line.last_at), state]


def group_row(service: str, one: LetterGroup) -> list[str]:
    """A way of failing as a row of a table."""
    says = one.text.partition("\n")[0][:TEXT_CHARACTERS_MAX]
    return [service, one.id, one.group, one.topic, one.code, str(one.count), str(one.waiting), says]


def action_row(service: str, one: LetterAction) -> list[str]:
    """An action as a row of a table."""
    return [service, one.id, one.kind, one.who, moment(one.asked_at), chosen(one.which), one.state, counts(one)]


def chosen(which: Selection) -> str:
    """What was chosen, in words.

    Example:
        >>> chosen(Selection(code="KeyError", ids=("a", "b"))), chosen(Selection())
        ('ids=a,b code=KeyError', 'all')
    """
    told = [f"ids={','.join(which.ids)}"] if which.ids else []
    told += [f"{name}={value}" for name in Selection.__struct_fields__[1:-1] if (value := getattr(which, name))]
    told += [f"{name}={value}" for name, value in which.tags.items()]
    return " ".join(told) or "all"


def counts(one: LetterAction) -> str:
    """What an action has come to, in numbers.

    Example:
        >>> counts(LetterAction(kind="replay", who="ada", asked_at=0.0, which=Selection(), asked=3, succeeded=2))
        'asked 3, sent 2, succeeded 2, failed again 0'
    """
    if one.kind == "replay":
        return f"asked {one.asked}, sent {one.sent}, succeeded {one.succeeded}, failed again {one.failed}"
    if one.kind == "drop":
        released = f", handled {one.succeeded}, failed {one.failed}" if one.sent else ""
        return f"asked {one.asked}, dropped {one.dropped}{released}"
    return "-"


def standing(one: LetterAction) -> str:
    """How an action stands, in a sentence."""
    why = f": {one.why}" if one.why else ""
    by = f" by {one.ended_by}" if one.ended_by else ""
    return f"{one.kind} {one.id} {one.state}{by}{why} ({counts(one)})"


def shown_lines(found: LetterShown, *, colour: bool) -> Iterator[str]:
    """A dead letter with all that is known of it, as lines."""
    line = found.line
    yield _head(f"{line.topic} for {line.group}", colour=colour)
    waits = f"behind {found.blocker}, of its key" if found.blocker else ""
    facts = {
        "id": line.id,
        "message": line.message_id,
        "key": line.key,
        "fault": f"{line.code}: {line.text}" if line.code else "",
        "attempts": f"{line.attempts}, the first {moment(line.first_at)}, the last {moment(line.last_at)}",
        "group": f"{line.fingerprint} (others that failed so: --fingerprint)",
        "waits": waits,
        "behind it": str(found.behind) if found.behind else "",
        "tags": " ".join(f"{name}={value}" for name, value in line.tags.items()),
        "told": f"{found.op} {moment(found.at)} by {found.producer or 'nobody who says so'}" if found.op else "",
        "for": found.subject,
        "trace": found.traceparent,
        "caused by": found.causation_id,
        "story": found.correlation_id,
    }
    width = max(map(len, facts))
    for name, value in facts.items():
        if value:
            yield f"  {name.ljust(width)}  {value}"
    if found.original:
        yield "  edited:"
        yield from (f"    {one}" for one in diff(found.original, found.value, colour=colour))
    else:
        yield f"  value: {found.value or 'it cannot be read'}"


def effects_of(id: str, found: Rehearsed, *, colour: bool) -> Iterator[str]:
    """What a rehearsal has shown, as a diff."""
    if found.code:
        yield _head(f"{id} would fail again: {found.code}: {found.text}", colour=colour)
    else:
        yield _head(f"{id} would succeed; nothing was changed", colour=colour)
    for row in found.rows:
        what = "delete" if not row.after else "update" if row.before else "create"
        yield f"  {what} {row.collection}/{row.id}"
        yield from (f"    {line}" for line in diff(row.before, row.after, colour=colour))
    for event in found.events:
        yield f"  emit {event.topic}"
        yield f"    + {event.value}"
    for address in found.reads:
        yield f"  read {address}"


def diff(before: str, after: str, *, colour: bool) -> Iterator[str]:
    """How two values in JSON differ, line by line.

    Example:
        >>> list(diff('{"a":1,"b":2}', '{"a":1,"b":3}', colour=False))
        ['  {', '    "a": 1,', '-   "b": 2', '+   "b": 3', '  }']
    """
    for line in difflib.ndiff(_pretty(before), _pretty(after)):
        if not line.startswith("?"):
            tint = {"+": "green", "-": "red"}.get(line[:1])
            yield click.style(line, fg=tint) if colour and tint else line


def moment(seconds: float) -> str:
    """A wall-clock second for people.

    Example:
        >>> moment(1_700_000_000.0)
        '2023-11-14 22:13:20Z'
    """
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}Z" if seconds else "-"


def _pretty(value: str) -> Sequence[str]:
    if not value:
        return []
    try:
        return msgspec.json.format(value, indent=2).splitlines()
    except msgspec.DecodeError:
        return value.splitlines()


def _head(text: str, *, colour: bool) -> str:
    return click.style(text, bold=True) if colour else text
