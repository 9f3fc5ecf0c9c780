"""Filters, orders and pages as the outside writes them, into the one query tree. Pure.

A query string (`status=open&total[gte]=10&sort=-created_at`) and a JSON filter (`{"status": "open", "total": {"gte":
10}}`) are the same to the stores. Names in brackets are always operators, so that a field may be called `limit`: ask
for it with `limit[eq]=3`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, TypeVar, cast
from urllib.parse import parse_qsl

import msgspec

from hanse.contract.model import Event, Resource
from hanse.gateway.fields import FieldType, Wrong, field_at, typed
from hanse.gateway.limits import FILTERS_MAX, VALUES_MAX
from hanse.gateway.once import came_twice
from hanse.gateway.projection import Project, names_of, projection
from hanse.kernel.faults import Flaw, Invalid, TooLarge
from hanse.kernel.validate import FLAWS_MAX, escape
from hanse.store.query import PAGE_MAX, And, Compare, Holds, Not, OneOf, Or, Order, Query, Text, Where

T = TypeVar("T")

LIMIT_USUAL = 50
"""Rows on a page where the client does not say."""

DEPTH_MAX = 8
"""Levels of `$and`, `$or` and `$not` in a JSON filter."""

_KEY = re.compile(r"([^\[\]]+)(?:\[([^\[\]]*)\])?")
_COMPARISONS: Mapping[str, Literal["lt", "le", "gt", "ge"]] = {"lt": "lt", "lte": "le", "gt": "gt", "gte": "ge"}
_TEXTS: Mapping[str, Literal["starts", "ends", "contains"]] = {
    "starts": "starts",
    "ends": "ends",
    "contains": "contains",
}
_SHOWN = ("sort", "limit", "cursor", "fields", "expand")
_LISTS = frozenset({"sort", "fields", "expand"})
_MEMBERS = frozenset({"where", "total", *_SHOWN})
_PAGE = frozenset({"limit", "cursor", "sort", "total", "fields", "expand", "after", "snapshot"})


class Asked(msgspec.Struct, frozen=True):
    """What a query string or document asks of a collection.

    Attributes:
        query: The page.
        project: Cuts the fields that are wanted out of each row; None for all of them.
        expand: Links to follow, by name.
        total: Whether the number of all that match is wanted.
        limited: Whether the size of the page is the client's wish.
        after: Cursor to follow changes from; empty for none.
        snapshot: Whether following begins with the rows that are there.
    """

    query: Query
    project: Project | None = None
    expand: tuple[str, ...] = ()
    total: bool = False
    limited: bool = False
    after: str = ""
    snapshot: bool = True


_EVERYTHING = Asked(Query(limit=LIMIT_USUAL))


def asked(kind: type[Resource], query_string: str) -> Asked:
    """What a query string asks of the collection of a resource.

    Raises:
        Invalid: A field, operator or value cannot be; lists every one.
        TooLarge: It has more filters than anybody needs.

    Example:
        >>> class Order(Resource):
        ...     status: str
        >>> asked(Order, "status=open&limit=2").query
        Query(where=Compare(op='eq', path=('status',), value='open'), order=(), limit=2, cursor=None)
    """
    if not query_string:
        return _EVERYTHING
    pairs = parse_qsl(query_string, keep_blank_values=True)
    reader = _Reader(kind, text=True)
    page = reader.once(pairs)
    where = reader.pairs([pair for pair in pairs if pair[0] not in _PAGE])
    total = reader.attempt(lambda: _flag(page, "total", default=False))
    snapshot = reader.attempt(lambda: _flag(page, "snapshot", default=True))
    wanted = reader.wanted(where, {name: page[name] for name in _SHOWN if name in page})
    reader.refuse()
    return msgspec.structs.replace(
        wanted, total=bool(total), after=page.get("after", ""), snapshot=snapshot is not False
    )


def asked_in(kind: type[Resource], document: object) -> Asked:
    """What the document of a QUERY asks: `{"where": {...}, "sort": "-total", "limit": 10, "fields": ["status"]}`.

    Raises:
        Invalid: A member, field, operator or value cannot be; lists every one.
        TooLarge: It has more conditions than anybody needs.
    """
    reader = _Reader(kind, text=False)
    if not isinstance(document, dict):
        reader.wrong("", "type", "expected an object with where, sort, limit, cursor, fields, expand or total")
        document = {}
    members = cast("dict[str, object]", document)
    for name in sorted(members.keys() - _MEMBERS):
        reader.wrong(f"/{escape(name[:100])}", "unknown_field", f"expected one of {', '.join(sorted(_MEMBERS))}")
    where = reader.document(members["where"], "/where", 1) if members.get("where") is not None else None
    total = members.get("total", False)
    if not isinstance(total, bool):
        reader.wrong("/total", "type", "expected true or false")
    wanted = reader.wanted(where, {name: value for name, value in members.items() if name in _SHOWN})
    reader.refuse()
    return msgspec.structs.replace(wanted, total=total is True)


def asked_of_row(kind: type[Resource], query_string: str) -> Asked:
    """What a query string asks of one row: its fields, and links to follow.

    Raises:
        Invalid: It asks for anything else, or a field does not exist.
    """
    reader = _Reader(kind, text=True)
    pairs = parse_qsl(query_string, keep_blank_values=True)
    for name, _ in pairs:
        if name not in {"fields", "expand"}:
            reader.wrong(f"/{escape(name[:100])}", "unknown_field", "expected fields or expand")
    wanted = reader.wanted(None, reader.once(pair for pair in pairs if pair[0] in {"fields", "expand"}))
    reader.refuse()
    return wanted


def asked_of_topic(kind: type[Event], query_string: str) -> tuple[Where | None, str]:
    """What a query string asks of the events of a topic: those that match, and the cursor to begin after.

    Raises:
        Invalid: A field, operator or value cannot be; lists every one.
        TooLarge: It has more filters than anybody needs.

    Example:
        >>> class Placed(Event):
        ...     count: int
        >>> asked_of_topic(Placed, "count[gt]=3&after=a.7")
        (Compare(op='gt', path=('count',), value=3), 'a.7')
    """
    reader = _Reader(kind, text=True)
    pairs = parse_qsl(query_string, keep_blank_values=True)
    page = reader.once(pair for pair in pairs if pair[0] == "after")
    where = reader.pairs([pair for pair in pairs if pair[0] != "after"])
    reader.refuse()
    return where, page.get("after", "")


def where_in(kind: type[Resource | Event], document: object) -> Where | None:
    """The tree of a JSON filter: `{"status": "paid", "total": {"gte": 10}, "$or": [{...}, {...}]}`.

    Raises:
        Invalid: A field, operator or value cannot be; lists every one.
        TooLarge: It has more conditions than anybody needs.
    """
    reader = _Reader(kind, text=False)
    where = reader.document({} if document is None else document, "/where", 1)
    reader.refuse()
    return where


def ids_in(query_string: str) -> tuple[str, ...]:
    """The ids that a query string names: `id[in]=1,2` or `id=1&id=2`; nothing else narrows what is to be deleted.

    Raises:
        Invalid: It names none, or anything else.

    Example:
        >>> ids_in("id[in]=1,2&id=3")
        ('1', '2', '3')
    """
    ids: list[str] = []
    flaws: list[Flaw] = []
    for name, value in parse_qsl(query_string, keep_blank_values=True):
        if name == "id[in]":
            ids += value.split(",")
        elif name in {"id", "id[eq]"}:
            ids.append(value)
        else:
            detail = "rows are deleted by their ids alone: find them first, then name them"
            flaws.append(Flaw(f"/{escape(name[:100])}", "unknown_field", detail))
    if not ids and not flaws:
        flaws.append(Flaw("/id", "missing", "expected the ids of the rows to delete, as id[in]=1,2,3"))
    if flaws:
        raise Invalid(flaws[0].detail, flaws[:FLAWS_MAX])
    return tuple(filter(None, ids))


def orders(kind: type[Resource], sort: str) -> tuple[Order, ...]:
    """The order that `-created_at,name` names.

    Raises:
        Wrong: A field does not exist, or its values have no order.
    """
    found: list[Order] = []
    for part in names_of(sort):
        name = part.removeprefix("-")
        path, field = field_at(kind, name, "/sort")
        if field.many or not field.single:
            raise Wrong("/sort", "unsortable", f"{name} is not a single value, so it cannot be sorted by")
        found.append(Order(path, descending=part != name))
    return tuple(found)


def limit_of(value: object) -> int:
    """The size of a page.

    Raises:
        Wrong: It is not a number from 1 to `PAGE_MAX`.
    """
    text = str(value)
    if not text.isascii() or not text.isdigit() or len(text) > len(str(PAGE_MAX)) or not 1 <= int(text) <= PAGE_MAX:
        raise Wrong("/limit", "range", f"expected a limit from 1 to {PAGE_MAX}, got {text[:100]!r}")
    return int(text)


def _names(shown: Mapping[str, object], member: str) -> tuple[str, ...]:
    """Names as one text with commas, or as a list of texts."""
    value = shown.get(member) or ""
    if isinstance(value, str):
        return names_of(value)
    names = cast("list[object]", value) if isinstance(value, list) else [value]
    texts = tuple(name for name in names if isinstance(name, str))
    if len(texts) != len(names):
        raise Wrong(f"/{member}", "type", "expected a list of names, or one text with commas between them")
    return texts


def _flag(page: Mapping[str, str], name: str, *, default: bool) -> bool:
    value = page.get(name)
    if value not in {None, "true", "false", ""}:
        raise Wrong(f"/{name}", "type", f"expected {name}=true or {name}=false, got {str(value)[:100]!r}")
    return default if value is None else value != "false"


class _Reader:
    """Makes conditions of what came, and collects everything that is wrong with it."""

    def __init__(self, kind: type[Resource | Event], *, text: bool) -> None:
        self._kind = kind
        self._text = text
        self._wrongs: list[Flaw] = []
        self._count = 0

    def wrong(self, pointer: str, code: str, detail: str) -> None:
        self._wrongs.append(Flaw(pointer, code, detail))

    def once(self, pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
        """What says how rows are wanted; lists of names may come in several pieces, all else once."""
        page: dict[str, str] = {}
        for name, value in pairs:
            if name in _LISTS and name in page:
                page[name] += f",{value}"
            elif name in page:
                self._wrongs.append(came_twice(name))
            elif name in _PAGE:
                page[name] = value
        return page

    def wanted(self, where: Where | None, shown: Mapping[str, object]) -> Asked:
        """The page that is asked for; where something cannot be, any page."""
        kind = cast("type[Resource]", self._kind)
        order = self.attempt(lambda: orders(kind, ",".join(_names(shown, "sort"))))
        limit = self.attempt(lambda: limit_of(shown.get("limit", LIMIT_USUAL)))
        project = self.attempt(lambda: projection(kind, _names(shown, "fields")))
        expand = self.attempt(lambda: _names(shown, "expand"))
        cursor = shown.get("cursor") or None
        if not isinstance(cursor, str | None):
            self.wrong("/cursor", "type", "expected what the page before gave as next")
            cursor = None
        query = Query(where, order or (), limit or LIMIT_USUAL, cursor)
        return Asked(query, project, expand or (), limited="limit" in shown)

    def attempt(self, make: Callable[[], T]) -> T | None:
        try:
            return make()
        except Wrong as wrong:
            self._wrongs.append(wrong.flaw)
            return None

    def refuse(self) -> None:
        if self._wrongs:
            raise Invalid("; ".join(flaw.detail for flaw in self._wrongs[:3]), self._wrongs)

    def pairs(self, pairs: list[tuple[str, str]]) -> Where | None:
        """Filters of a query string; a field that is given twice may have either value."""
        groups: dict[str, list[str]] = {}
        for key, value in pairs:
            groups.setdefault(key, []).append(value)
        found: list[Where | None] = []
        for key, values in groups.items():
            match = _KEY.fullmatch(key)
            if match is None:
                self._counted(1)
                detail = f"expected a field or field[operator], got {key[:100]!r}"
                self._wrongs.append(Flaw(f"/{escape(key[:100])}", "unknown_field", detail))
                continue
            operator = match[2] or "eq"
            if operator == "eq" and len(values) > 1:
                found.append(self.condition(match[1], "in", values, f"/{key}"))
            else:
                found += [self.condition(match[1], operator, value, f"/{key}") for value in values]
        return together(found)

    def document(self, node: object, at: str, depth: int) -> Where | None:
        """A JSON filter."""
        if not isinstance(node, dict) or depth > DEPTH_MAX:
            detail = f"expected an object of fields, at most {DEPTH_MAX} deep"
            self._wrongs.append(Flaw(at, "type", detail))
            return None
        members = cast("dict[str, object]", node).items()
        return together([self._member(name, value, f"{at}/{escape(name)}", depth) for name, value in members])

    def _member(self, name: str, value: object, at: str, depth: int) -> Where | None:
        if name == "$not":
            return Not(self.document(value, at, depth + 1) or And(()))
        if name in {"$and", "$or"}:
            items = cast("list[object]", value) if isinstance(value, list) else [value]
            self._counted(len(items))
            parts = tuple(self.document(item, f"{at}/{n}", depth + 1) or And(()) for n, item in enumerate(items))
            return And(parts) if name == "$and" else Or(parts)
        tests = cast("dict[str, object]", value) if isinstance(value, dict) else {"eq": value}
        return together([self.condition(name, operator, against, at) for operator, against in tests.items()])

    def condition(self, name: str, operator: str, value: object, at: str) -> Where | None:
        self._counted(1)
        return self.attempt(lambda: self._condition(name, operator, value, at))

    def _counted(self, more: int) -> None:
        self._count += more
        if self._count > FILTERS_MAX:
            raise TooLarge("the filter", f"{FILTERS_MAX} conditions")

    def _condition(self, name: str, operator: str, value: object, at: str) -> Where:
        path, field = field_at(self._kind, name, at)
        known = operators(field)
        if operator not in known:
            detail = f"{name} has no operator {operator[:100]!r}; it has {', '.join(known) or 'none'}"
            raise Wrong(at, "unknown_operator", detail)
        if operator == "in":
            return OneOf(path, tuple(typed(field, one, at, text=self._text) for one in _several(value, at)))
        against = typed(field, value, at, text=self._text)
        if field.many:
            return Not(Holds(path, against)) if operator == "ne" else Holds(path, against)
        if operator in _TEXTS:
            return Text(_TEXTS[operator], path, str(against))
        if operator in _COMPARISONS:
            return Compare(_COMPARISONS[operator], path, against)
        return Compare("ne" if operator == "ne" else "eq", path, against)


def operators(field: FieldType) -> tuple[str, ...]:
    """What may be asked of a field; of a list, whether it holds a value."""
    if not field.single:
        return ()
    if field.many:
        return ("eq", "ne", "contains")
    return (
        "eq",
        "ne",
        "in",
        *(_COMPARISONS if field.ordered else ()),
        *(_TEXTS if field.textual else ()),
    )


def together(parts: list[Where | None]) -> Where | None:
    """All of these; None for no condition."""
    given = tuple(part for part in parts if part is not None)
    return None if not given else given[0] if len(given) == 1 else And(given)


def _several(value: object, at: str) -> list[object]:
    values = cast("list[object]", value) if isinstance(value, list) else list(str(value).split(","))
    if len(values) > VALUES_MAX:
        raise Wrong(at, "length", f"expected at most {VALUES_MAX} values, got {len(values)}")
    return list(values)
