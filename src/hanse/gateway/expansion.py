"""`?expand=customer`: rows with those that they link to, fetched by one call per collection.

Only what the gateway exposes can be expanded, so links lead nobody to rows that are private. A row keeps its links as
they are, and has what they lead to beside them, so that it is still of its type: `{"id": "1", "customer": "7",
"expanded": {"customer": {"id": "7", ...}}}`. A link that leads nowhere is null there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import cast

import msgspec

from hanse.contract.link import Linked, links_of
from hanse.contract.model import Resource, collection_of, topic_of
from hanse.gateway.fields import Wrong
from hanse.gateway.limits import EXPAND_DEPTH_MAX, EXPANDED_BYTES_MAX, EXPANDED_MAX, EXPANDS_MAX
from hanse.kernel.codec import encode_json
from hanse.kernel.faults import Invalid, Misdeclared
from hanse.service.rows import ROWS_MAX, Rows
from hanse.store.base import Row

EXPANDED = "expanded"
"""Name of what stands beside the fields of a row."""


class Target(msgspec.Struct, frozen=True):
    """A resource that links may lead to."""

    kind: type[Resource]
    rows: Rows


class Step(msgspec.Struct, frozen=True):
    """A link to follow, and those to follow from there."""

    link: Linked
    inner: tuple[Step, ...]


def check_links(kind: type[Resource]) -> None:
    """Refuse a resource whose links cannot be shown.

    Raises:
        Misdeclared: It has a link that is no text, or a field that is called as what links lead to is.
    """
    if links_of(kind) and EXPANDED in kind.__struct_encode_fields__:
        raise Misdeclared(f"{kind.__name__}.{EXPANDED} stands where its links would be shown; call it something else")


def expandable(kind: type[Resource], collections: Iterable[str]) -> tuple[Linked, ...]:
    """The links of a resource that lead to one of the collections."""
    reached = set(collections)
    return tuple(link for link in links_of(kind) if link.collection in reached)


class Expansion:
    """Follows links among what one gateway exposes.

    Args of the constructor:
        targets: What is exposed, by collection.
    """

    def __init__(self, targets: Mapping[str, Target]) -> None:
        self._targets = targets

    def steps(self, kind: type[Resource], names: Sequence[str]) -> tuple[Step, ...]:
        """What names such as `customer` and `customer.region` ask to follow.

        Raises:
            Wrong: One is no link, or they are too many or too long.
        """
        if len(names) > EXPANDS_MAX:
            raise Wrong("/expand", "length", f"expected at most {EXPANDS_MAX} names, got {len(names)}")
        return self._steps(kind, [name.split(".") for name in names])

    def _steps(self, kind: type[Resource], paths: Sequence[list[str]]) -> tuple[Step, ...]:
        links = {link.name: link for link in expandable(kind, self._targets)}
        below: dict[str, list[list[str]]] = {}
        for first, *rest in paths:
            if first not in links:
                known = ", ".join(links) or "nothing"
                raise Wrong("/expand", "unknown_field", f"{topic_of(kind)} has no link {first[:100]!r}; it has {known}")
            if len(rest) >= EXPAND_DEPTH_MAX:
                raise Wrong("/expand", "length", f"expected names of at most {EXPAND_DEPTH_MAX} links")
            below.setdefault(first, []).extend([rest] if rest else [])
        return tuple(
            Step(links[name], self._steps(self._targets[links[name].collection].kind, rest))
            for name, rest in below.items()
        )

    async def expanded(self, kind: type[Resource], rows: Sequence[Row], steps: tuple[Step, ...]) -> list[bytes]:
        """What the links of each row lead to, as the JSON object that stands beside its fields.

        Raises:
            Invalid: They lead to more rows, or more bytes, than one answer holds.
        """
        return await _Following(self._targets).level(kind, rows, steps)


def joined(value: bytes, expanded: bytes) -> bytes:
    """A row with what its links lead to.

    Example:
        >>> joined(b'{"id":"1"}', b'{"customer":null}')
        b'{"id":"1","expanded":{"customer":null}}'
    """
    return b'%b,"%b":%b}' % (value[:-1], EXPANDED.encode(), expanded)


class _Following:
    """One answer's links, and what is left of its limits."""

    def __init__(self, targets: Mapping[str, Target]) -> None:
        self._targets = targets
        self._rows_left = EXPANDED_MAX
        self._bytes_left = EXPANDED_BYTES_MAX

    async def level(self, kind: type[Resource], rows: Sequence[Row], steps: tuple[Step, ...]) -> list[bytes]:
        read = _reader(kind)
        ids = [read(row.value) for row in rows]
        wanted: dict[str, dict[str, None]] = {}
        for step in steps:
            of_all = wanted.setdefault(step.link.collection, {})
            of_all.update((id, None) for each in ids for id in _ids(each, step.link))
        found = {collection: await self._fetch(collection, list(one)) for collection, one in wanted.items()}
        parts: list[list[bytes]] = [[] for _ in rows]
        for step in steps:
            shown = await self._shown(step, found[step.link.collection], ids)
            for part, each in zip(parts, ids, strict=True):
                part.append(b"%b:%b" % (encode_json(step.link.name), self._value(each, step.link, shown)))
        return [b"{%b}" % b",".join(part) for part in parts]

    async def _fetch(self, collection: str, ids: list[str]) -> dict[str, Row]:
        self._rows_left -= len(ids)
        if self._rows_left < 0:
            raise _too_much(f"{EXPANDED_MAX} rows")
        rows = self._targets[collection].rows
        pieces = [ids[start : start + ROWS_MAX] for start in range(0, len(ids), ROWS_MAX)]
        return {row.id: row for piece in pieces for row in await rows.many(piece)}

    async def _shown(self, step: Step, found: Mapping[str, Row], ids: Iterable[_Read]) -> dict[str, bytes]:
        """The rows that one link leads to, by id, with what is to be followed from there."""
        reached = {id: found[id] for each in ids for id in _ids(each, step.link) if id in found}
        if not step.inner:
            return {id: row.value for id, row in reached.items()}
        rows = list(reached.values())
        inner = await self.level(self._targets[step.link.collection].kind, rows, step.inner)
        return {row.id: joined(row.value, more) for row, more in zip(rows, inner, strict=True)}

    def _value(self, read: _Read, link: Linked, shown: Mapping[str, bytes]) -> bytes:
        values = [shown.get(id, b"null") for id in _ids(read, link)]
        self._bytes_left -= sum(map(len, values))
        if self._bytes_left < 0:
            raise _too_much(f"{EXPANDED_BYTES_MAX} bytes")
        if link.many:
            return b"[%b]" % b",".join(values)
        return values[0] if values else b"null"


def _too_much(limit: str) -> Invalid:
    wrong = Wrong("/expand", "length", f"the links lead to more than {limit}; ask for fewer rows, or fewer links")
    return Invalid(wrong.flaw.detail, [wrong.flaw])


_Read = Mapping[str, object]


@lru_cache(maxsize=1024)
def _reader(kind: type[Resource]) -> Callable[[bytes], _Read]:
    """Reads the links of a row, and passes over the rest."""
    links = [link.name for link in links_of(kind)]
    attributes = [f"link_{index}" for index in range(len(links))]
    fields = cast("list[tuple[str, type, object]]", [(name, object, None) for name in attributes])
    struct = msgspec.defstruct("Links", fields, rename=dict(zip(attributes, links, strict=True)))
    decode = msgspec.json.Decoder(struct).decode
    return lambda value: dict(zip(links, msgspec.structs.astuple(decode(value)), strict=True))


def _ids(read: _Read, link: Linked) -> list[str]:
    value = read[link.name]
    values = cast("list[object]", value) if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, str) and one]


def targets_of(exposed: Iterable[tuple[type[Resource], Rows]]) -> dict[str, Target]:
    """What links may lead to, of what is exposed."""
    return {collection_of(kind): Target(kind, rows) for kind, rows in exposed}
