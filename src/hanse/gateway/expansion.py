"""`?expand=customer`: rows with those that they link to, fetched by one call per service and level of links.

Only what the gateway exposes can be expanded, so links lead nobody to rows that are private. A row keeps its links as
they are, and has what they lead to beside them, so that it is still of its type: `{"id": "1", "customer": "7",
"expanded": {"customer": {"id": "7", ...}}}`. A link that leads nowhere is null there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar, cast

import msgspec

from hanse.contract.link import Linked, links_of
from hanse.contract.model import Resource, collection_of, topic_of
from hanse.gateway.fields import Wrong
from hanse.gateway.limits import EXPAND_DEPTH_MAX, EXPANDED_BYTES_MAX, EXPANDED_MAX, EXPANDS_MAX
from hanse.kernel.codec import encode_json
from hanse.kernel.faults import Invalid, Misdeclared
from hanse.service.rows import ROWS_MAX, Rows
from hanse.store.base import Row

T = TypeVar("T")

EXPANDED = "expanded"
"""Name of what stands beside the fields of a row."""

_Links = Mapping[str, object]
"""The links of a row: ids, by name."""

_Place = tuple[str, str]
"""Where a link leads: a collection, and an id."""

_Found = dict[str, dict[str, Row]]
"""Rows by collection and id."""


class Target(msgspec.Struct, frozen=True):
    """A resource that links may lead to.

    Attributes:
        kind: The resource.
        rows: Its rows; those of other resources of the same owner can be asked for there as well.
        owner: Name of the service that it belongs to.
    """

    kind: type[Resource]
    rows: Rows
    owner: str


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
        top = _branch(kind, rows, steps)
        await _Fetching(self._targets).follow(top)
        return _Showing().shown(top)


def joined(value: bytes, expanded: bytes) -> bytes:
    """A row with what its links lead to.

    Example:
        >>> joined(b'{"id":"1"}', b'{"customer":null}')
        b'{"id":"1","expanded":{"customer":null}}'
    """
    return b'%b,"%b":%b}' % (value[:-1], EXPANDED.encode(), expanded)


class _Branch(msgspec.Struct, frozen=True):
    """Rows that links are followed from.

    Attributes:
        rows: The rows.
        links: What each of them links to.
        steps: The links to follow.
        found: What they lead to, by collection and id; of all branches of an answer.
        below: Of a step that is to be followed further, the rows that it leads to.
    """

    rows: Sequence[Row]
    links: Sequence[_Links]
    steps: tuple[Step, ...]
    found: _Found
    below: dict[Step, _Branch]

    def reached(self, step: Step) -> dict[str, Row]:
        """The rows that one of its links leads to, by id."""
        found = self.found.get(step.link.collection, {})
        return {id: found[id] for each in self.links for id in _ids(each, step.link) if id in found}


def _branch(kind: type[Resource], rows: Sequence[Row], steps: tuple[Step, ...], found: _Found | None = None) -> _Branch:
    read = _reader(kind)
    return _Branch(rows, [read(row.value) for row in rows], steps, {} if found is None else found, {})


class _Fetching:
    """Fetches what the links of one answer lead to: level by level, so that each service is asked once for each."""

    def __init__(self, targets: Mapping[str, Target]) -> None:
        self._targets = targets
        self._asked: set[_Place] = set()

    async def follow(self, top: _Branch) -> None:
        level = [top]
        while level:
            await self._fetch(level, top.found)
            level = [self._below(branch, step) for branch in level for step in branch.steps if step.inner]

    def _below(self, branch: _Branch, step: Step) -> _Branch:
        rows, kind = list(branch.reached(step).values()), self._targets[step.link.collection].kind
        made = branch.below[step] = _branch(kind, rows, step.inner, branch.found)
        return made

    async def _fetch(self, level: list[_Branch], found: _Found) -> None:
        wanted = {
            (step.link.collection, id): None
            for branch in level
            for step in branch.steps
            for each in branch.links
            for id in _ids(each, step.link)
        }
        new = [place for place in wanted if place not in self._asked]
        self._asked.update(new)
        if len(self._asked) > EXPANDED_MAX:
            raise _too_much(f"{EXPANDED_MAX} rows")
        for told in await _all(
            [self._targets[piece[0][0]].rows.many(_by_collection(piece)) for piece in self._pieces(new)]
        ):
            for collection, rows in told.items():
                found.setdefault(collection, {}).update((row.id, row) for row in rows)

    def _pieces(self, places: Iterable[_Place]) -> list[list[_Place]]:
        """What is asked for by one call each: of one owner, and no more than one call may ask for."""
        owned: dict[str, list[_Place]] = {}
        for place in places:
            owned.setdefault(self._targets[place[0]].owner, []).append(place)
        return [one[start : start + ROWS_MAX] for one in owned.values() for start in range(0, len(one), ROWS_MAX)]


class _Showing:
    """Puts what was fetched into one answer, and keeps its limit of bytes: one row may be linked to by many."""

    def __init__(self) -> None:
        self._bytes_left = EXPANDED_BYTES_MAX

    def shown(self, branch: _Branch) -> list[bytes]:
        """What the links of each row lead to."""
        parts: list[list[bytes]] = [[] for _ in branch.rows]
        for step in branch.steps:
            name, values = encode_json(step.link.name), self._values(branch, step)
            for part, each in zip(parts, branch.links, strict=True):
                part.append(b"%b:%b" % (name, self._value(each, step.link, values)))
        return [b"{%b}" % b",".join(part) for part in parts]

    def _values(self, branch: _Branch, step: Step) -> dict[str, bytes]:
        """The rows that one link leads to, by id, with what was followed from there."""
        below = branch.below.get(step)
        if below is None:
            return {id: row.value for id, row in branch.reached(step).items()}
        return {row.id: joined(row.value, more) for row, more in zip(below.rows, self.shown(below), strict=True)}

    def _value(self, links: _Links, link: Linked, values: Mapping[str, bytes]) -> bytes:
        shown = [values.get(id, b"null") for id in _ids(links, link)]
        self._bytes_left -= sum(map(len, shown))
        if self._bytes_left < 0:
            raise _too_much(f"{EXPANDED_BYTES_MAX} bytes")
        if link.many:
            return b"[%b]" % b",".join(shown)
        return shown[0] if shown else b"null"


async def _all(calls: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """What calls answer that are made at once; the first fault of one ends the others."""
    if len(calls) == 1:
        return [await calls[0]]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(call) for call in calls]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


def _by_collection(places: Iterable[_Place]) -> dict[str, list[str]]:
    ids: dict[str, list[str]] = {}
    for collection, id in places:
        ids.setdefault(collection, []).append(id)
    return ids


def _too_much(limit: str) -> Invalid:
    wrong = Wrong("/expand", "length", f"the links lead to more than {limit}; ask for fewer rows, or fewer links")
    return Invalid(wrong.flaw.detail, [wrong.flaw])


@lru_cache(maxsize=1024)
def _reader(kind: type[Resource]) -> Callable[[bytes], _Links]:
    """Reads the links of a row, and passes over the rest."""
    links = [link.name for link in links_of(kind)]
    attributes = [f"link_{index}" for index in range(len(links))]
    fields = cast("list[tuple[str, type, object]]", [(name, object, None) for name in attributes])
    struct = msgspec.defstruct("Links", fields, rename=dict(zip(attributes, links, strict=True)))
    decode = msgspec.json.Decoder(struct).decode
    return lambda value: dict(zip(links, msgspec.structs.astuple(decode(value)), strict=True))


def _ids(links: _Links, link: Linked) -> list[str]:
    value = links[link.name]
    values = cast("list[object]", value) if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, str) and one]


def targets_of(exposed: Iterable[Target]) -> dict[str, Target]:
    """What links may lead to, of what is exposed, by collection."""
    return {collection_of(one.kind): one for one in exposed}
