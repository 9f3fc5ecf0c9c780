"""Whether what one writes can be read by another who knows another version of its shape. Pure, over JSON Schema.

Both sides are given as `hanse.contract.schema.schemas_of` makes them. Whoever writes, writes every field that it has;
whoever reads passes over what it does not know, and fills in what it does not find and has a default for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import cast

import msgspec

from hanse.contract.schema import Json, canonical

DEPTH_MAX = 60
"""How deep shapes are compared; what is nested deeper is taken to fit."""

_LOWER = {
    "minimum": "at least",
    "exclusiveMinimum": "more than",
    "minLength": "of a length of at least",
    "minItems": "of so many items at least:",
}
_UPPER = {
    "maximum": "at most",
    "exclusiveMaximum": "less than",
    "maxLength": "of a length of at most",
    "maxItems": "of so many items at most:",
}
_EXPECTED = "expected "
_SAME = ("pattern", "multipleOf", "contentEncoding", "format")
_ALTERNATIVES = ("anyOf", "oneOf")


class Side(msgspec.Struct, frozen=True):
    """A shape, and the definitions that it refers to."""

    schema: object
    definitions: Json

    def at(self, schema: object) -> Side:
        """Another shape of the same document."""
        return Side(schema, self.definitions)


class Reading(msgspec.Struct, frozen=True):
    """How strictly it is read.

    Attributes:
        unknown_matters: Whether a field that the reader does not know is one too many, as an argument is.
        gone_matters: Whether a field that the writer no longer has is missed, though the reader has a default for it.
    """

    unknown_matters: bool = False
    gone_matters: bool = False


LENIENT = Reading()


def unreadable(writer: Side, reader: Side, how: Reading = LENIENT) -> list[str]:
    """All that the reader cannot make sense of, in words; empty where it can read whatever the writer writes.

    Args:
        writer: Of what comes.
        reader: Of what is expected.
        how: How strictly.

    Example:
        >>> text, number = Side({"type": "string"}, {}), Side({"type": "integer"}, {})
        >>> unreadable(text, number), unreadable(number, number)
        (['expected integer, comes as string'], [])
    """
    return [f"{path}{what}" for path, what in _Comparing(how).fit(writer, reader, 0)]


_Found = list[tuple[str, str]]
"""Where something does not fit, from the shape on that was compared, and what."""


class _Comparing:
    """One comparison. What is known of two definitions is kept: shapes may hold themselves, and each other."""

    def __init__(self, how: Reading) -> None:
        self._how = how
        self._known: dict[tuple[str, str], _Found] = {}

    def fit(self, writer: Side, reader: Side, depth: int) -> _Found:
        """All that speaks against it."""
        wanted = _alternatives(reader)
        if depth > DEPTH_MAX or any(_is_anything(one) for one in wanted):
            return []
        found: _Found = []
        for one in _alternatives(writer):
            tries = [self._tried(one, other, depth, among=len(wanted)) for other in wanted]
            if not all(tries):
                continue
            if len(tries) > 1 and all(_is_another(told) for told in tries):
                found.append(("", f"may be {_word(one)}, which is not known there"))
                continue
            # The one that it is most like says best what is wrong.
            alike = [told for told in tries if not _is_another(told)] or tries
            found += min(alike, key=_length)
        return found

    def _tried(self, writer: Side, reader: Side, depth: int, *, among: int) -> _Found:
        if among > 1 and _is_tagged_otherwise(writer, reader):
            return [("", f"{_EXPECTED}{_word(reader)}")]
        names = (_reference(writer.schema), _reference(reader.schema))
        if not all(names):
            return list(self._one(writer, reader, depth))
        if names not in self._known:
            self._known[names] = []  # two that hold themselves fit where nothing else speaks against it
            self._known[names] = list(self._one(writer, reader, depth))
        return self._known[names]

    def _one(self, writer: Side, reader: Side, depth: int) -> Iterator[tuple[str, str]]:
        gives, takes = _node(writer), _node(reader)
        if _is_anything(writer):
            yield "", f"{_EXPECTED}{_word(reader)}, may be anything"
            return
        if _has_values(takes):
            yield from _values(gives, takes)
            return
        kinds = {_kind(value) for value in _listed(gives)} if _has_values(gives) else {str(gives.get("type", ""))}
        wanted = str(takes.get("type", ""))
        if wanted and not all(kind == wanted or (kind, wanted) == ("integer", "number") for kind in kinds):
            yield "", f"{_EXPECTED}{wanted}, comes as {' or '.join(sorted(kinds)) or 'anything'}"
            return
        if not _has_values(gives):
            yield from _limits(gives, takes)
        if wanted == "object":
            yield from self._object(writer, reader, depth + 1)
        elif wanted == "array":
            yield from self._array(writer, reader, depth + 1)

    def _object(self, writer: Side, reader: Side, depth: int) -> Iterator[tuple[str, str]]:
        gives, takes = _node(writer), _node(reader)
        given, wanted = (cast("Json", one.get("properties", {})) for one in (gives, takes))
        required = cast("Sequence[str]", takes.get("required", ()))
        for name, schema in wanted.items():
            if name in given:
                yield from _under(name, self.fit(writer.at(given[name]), reader.at(schema), depth))
            elif name in required:
                yield "", f"field {name} is needed, and is not there"
            elif self._how.gone_matters and not isinstance(gives.get("additionalProperties"), dict):
                yield "", f"field {name} is gone"
        more, rest = _shape(gives.get("additionalProperties")), _shape(takes.get("additionalProperties"))
        closed = self._how.unknown_matters or takes.get("additionalProperties") is False
        for name, schema in given.items():
            if rest is not None and name not in wanted:
                yield from _under(name, self.fit(writer.at(schema), reader.at(rest), depth))
            elif name not in wanted and closed:
                yield "", f"field {name} is not known there"
        if rest is not None and more is not None:
            yield from _under("values", self.fit(writer.at(more), reader.at(rest), depth))

    def _array(self, writer: Side, reader: Side, depth: int) -> Iterator[tuple[str, str]]:
        gives, takes = _node(writer), _node(reader)
        first, wanted = (cast("Sequence[object]", one.get("prefixItems", ())) for one in (gives, takes))
        every, each = _shape(gives.get("items")), _shape(takes.get("items"))
        for number in range(max(len(first), len(wanted))):
            ours = _shape(first[number]) if number < len(first) else every
            theirs = _shape(wanted[number]) if number < len(wanted) else each
            if ours is not None and theirs is not None:
                yield from _under(f"item {number + 1}", self.fit(writer.at(ours), reader.at(theirs), depth))
        if every is not None and each is not None:
            yield from _under("items", self.fit(writer.at(every), reader.at(each), depth))


def _under(name: str, found: _Found) -> Iterator[tuple[str, str]]:
    return ((f"{name}: {path}", what) for path, what in found)


def _is_another(told: _Found) -> bool:
    """Whether something is of another kind altogether."""
    return any(not path and what.startswith(_EXPECTED) for path, what in told)


def _is_tagged_otherwise(writer: Side, reader: Side) -> bool:
    ours, theirs = _tags(writer), _tags(reader)
    return any(ours[name] != theirs[name] for name in ours.keys() & theirs.keys())


def _tags(side: Side) -> dict[str, object]:
    """The fields that always have one value."""
    properties = cast("dict[str, Json]", _node(side).get("properties", {}))
    return {name: _listed(one)[0] for name, one in properties.items() if _has_values(one) and len(_listed(one)) == 1}


def _length(told: Iterable[tuple[str, str]]) -> int:
    return len(list(told))


def _alternatives(side: Side) -> list[Side]:
    """The shapes that something may have."""
    node = _node(side)
    for word in _ALTERNATIVES:
        if isinstance(listed := node.get(word), list):
            return [found for one in cast("list[object]", listed) for found in _alternatives(side.at(one))]
    if isinstance(kinds := node.get("type"), list):
        return [side.at({**node, "type": kind}) for kind in cast("list[str]", kinds)]
    return [side]


def _node(side: Side) -> Json:
    schema, name = side.schema, _reference(side.schema)
    return cast("Json", side.definitions.get(name, {}) if name else schema if isinstance(schema, dict) else {})


def _shape(schema: object) -> Json | None:
    """A shape, where something is one: it may be a word for all or for none."""
    return cast("Json", schema) if isinstance(schema, dict) else None


def _reference(schema: object) -> str:
    if not isinstance(schema, dict):
        return ""
    return str(cast("Json", schema).get("$ref", "")).rpartition("/")[2]


def _is_anything(side: Side) -> bool:
    return not set(_node(side)) - {"$comment", "default", "title", "description"}


def _has_values(node: Json) -> bool:
    return "enum" in node or "const" in node


def _listed(node: Json) -> list[object]:
    return cast("list[object]", node["enum"]) if "enum" in node else [node["const"]]


def _values(gives: Json, takes: Json) -> Iterator[tuple[str, str]]:
    known = {canonical(value) for value in _listed(takes)}
    if not _has_values(gives):
        yield "", f"{_EXPECTED}one of {_told(_listed(takes))}, may be any {gives.get('type', 'value')}"
        return
    new = [value for value in _listed(gives) if canonical(value) not in known]
    if new:
        yield "", f"{_EXPECTED}one of {_told(_listed(takes))}, may be {_told(new)}"


def _limits(gives: Json, takes: Json) -> Iterator[tuple[str, str]]:
    for words, is_looser in ((_LOWER, float.__lt__), (_UPPER, float.__gt__)):
        for word, told in words.items():
            if word in takes and (word not in gives or is_looser(_number(gives[word]), _number(takes[word]))):
                yield "", f"has to be {told} {takes[word]}"
    for word in _SAME:
        if word in takes and gives.get(word) != takes[word]:
            yield "", f"has to be of {word} {takes[word]}"


def _number(value: object) -> float:
    return float(cast("float", value))


def _kind(value: object) -> str:
    kinds: tuple[tuple[type, str], ...] = (
        (bool, "boolean"),
        (str, "string"),
        (int, "integer"),
        (float, "number"),
        (type(None), "null"),
    )
    return next((name for kind, name in kinds if isinstance(value, kind)), "object")


def _word(side: Side) -> str:
    node = _node(side)
    return str(node.get("title") or node.get("type") or _reference(side.schema) or "another value").rpartition(".")[2]


def _told(values: Sequence[object]) -> str:
    return ", ".join(msgspec.json.encode(value).decode() for value in values)
