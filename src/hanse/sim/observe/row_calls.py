"""Calls of `rows/<collection>`, read from their bytes alone: what was asked of a row, and what was answered."""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

import msgspec

from hanse.kernel.message import FAULT, Message
from hanse.sim.linear import UNKNOWN, Unknown
from hanse.sim.linear_row import Create, Delete, Deleted, Get, Patch, Put, Read, Refused, RowCall, RowResult, Written

VERBS = ("get", "create", "put", "patch", "delete")
"""Operations that ask about one row."""

NOTHING_DONE = frozenset(
    {
        "conflict",
        "forbidden",
        "invalid",
        "malformed",
        "not_found",
        "overloaded",
        "patch_conflict",
        "precondition_failed",
        "too_large",
        "unauthenticated",
    }
)
"""Codes of faults that say that nothing was done."""

Plain = dict[str, object]

_decode = msgspec.msgpack.Decoder().decode
_json = msgspec.json.Decoder().decode


class Asked(msgspec.Struct):
    """A call about a row.

    Attributes:
        address: Of the operation.
        id: Of the message.
        row: Id of the row; empty where its owner chooses one.
        call: What is asked, without the values.
        key: Its idempotency key.
        changes: The patch, as JSON.
        tries: How often it was sent.
        wrote: Revisions that came of it.
        refused: The code by which it was refused, nothing being done; empty where it was not.
    """

    address: str
    id: str
    row: str
    call: RowCall
    key: str = ""
    changes: bytes = b""
    tries: int = 1
    wrote: list[int] = []
    refused: str = ""

    @property
    def lone(self) -> bool:
        """Whether what comes of it comes of this one message."""
        return self.tries == 1 and not self.key

    @property
    def story(self) -> tuple[str, str]:
        """What is the same for all calls under its idempotency key."""
        return self.address, self.key

    @property
    def named(self) -> str:
        """For people."""
        return f"{self.address} {self.row!r} ({self.id})"


def asked_in(message: Message) -> Asked | None:
    """What a call asks; None where its body is none of `rows/...`.

    Example:
        >>> from hanse.kernel.message import CALL
        >>> body = msgspec.msgpack.encode({"id": "tea", "value": b"{}", "if_match": 7})
        >>> asked = asked_in(Message(CALL, "m-1", "rows/items.put", body=body))
        >>> asked.named, asked.call
        ("rows/items.put 'tea' (m-1)", Put(value={}, if_match=7))
    """
    body = _plain(_decode(message.body))
    verb = message.address.rpartition(".")[2]
    row, if_match = body.get("id"), body.get("if_match")
    if verb == "create" and not row:
        row = fields_of(body.get("value")).get("id")
    calls: dict[str, RowCall] = {
        "get": Get(),
        "create": Create({}),
        "put": Put({}, cast("int | None", if_match)),
        "patch": Patch({}, cast("int | None", if_match)),
        "delete": Delete(cast("int | None", if_match)),
    }
    if verb == "create":
        row = row or ""
    if not isinstance(row, str) or not isinstance(if_match, int | None) or verb not in calls:
        return None
    changes = body.get("changes")
    return Asked(
        message.address,
        message.id,
        row,
        calls[verb],
        message.headers.idempotency_key,
        changes if isinstance(changes, bytes) else b"",
    )


class Answer(msgspec.Struct, frozen=True):
    """What a call was answered with.

    Attributes:
        result: The answer, without the values; `UNKNOWN` where it does not tell what was done.
        row: Id of the row that it names; empty where it names none.
        value: The row that it gives, as JSON; empty where it gives none.
    """

    result: RowResult | Unknown
    row: str = ""
    value: bytes = b""

    @property
    def rev(self) -> int:
        """The revision that it gives; 0 where it gives none."""
        return self.result.rev if isinstance(self.result, Read | Written) else 0


def answer_in(asked: Asked, reply: Message) -> Answer:
    """What a reply says."""
    body = _plain(_decode(reply.body)) if reply.body else {}
    if reply.kind is FAULT:
        return _refused(body)
    if isinstance(asked.call, Delete):
        return Answer(Deleted())
    row, rev, value = body.get("id"), body.get("rev"), body.get("value")
    if not isinstance(row, str) or not isinstance(rev, int) or not isinstance(value, bytes):
        return Answer(UNKNOWN)
    return Answer(Read({}, rev) if isinstance(asked.call, Get) else Written(rev), row, value)


def _refused(told: Plain) -> Answer:
    code, values = str(told.get("code")), _plain(told.get("values"))
    if code not in NOTHING_DONE:
        return Answer(UNKNOWN)
    actual = str(values.get("actual", ""))
    rev = int(actual) if actual.isdigit() else 0 if actual == "none" else None
    return Answer(Refused(code, rev))


def fields_of(value: object) -> Plain:
    """The fields of a row, or of a patch, but for id and revision; none of what is no JSON object.

    Example:
        >>> fields_of(b'{"id": "tea", "rev": 7, "left": 3}')
        {'id': 'tea', 'rev': 7, 'left': 3}
    """
    if not isinstance(value, bytes):
        return {}
    try:
        return _plain(_json(value))
    except msgspec.DecodeError:
        return {}


def named_by(patch: bytes, fields: Collection[str]) -> set[str]:
    """The fields, out of all that there are, that a patch may change: those that it names, as an object or by pointers.

    Example:
        >>> sorted(named_by(b'[{"op": "move", "from": "/left/0", "path": "/right"}]', ["left", "price", "right"]))
        ['left', 'right']
    """
    if not patch.lstrip().startswith(b"["):
        return set(fields_of(patch))
    operations = map(_plain, cast("list[object]", _json(patch)))
    pointers = {str(one[member]) for one in operations for member in ("path", "from") if member in one}
    return set(fields) if "" in pointers else {_first_name(pointer) for pointer in pointers}


def _first_name(pointer: str) -> str:
    return pointer.split("/")[1].replace("~1", "/").replace("~0", "~") if "/" in pointer else pointer


def _plain(body: object) -> Plain:
    return cast("Plain", body) if isinstance(body, dict) else {}
