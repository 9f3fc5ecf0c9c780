"""JSON Schema of the types in contracts, and its canonical form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import cast, get_args

import msgspec

Json = dict[str, object]

_PROSE = frozenset({"description", "title", "examples", "example"})
_NAMED = frozenset({"properties", "$defs", "operations", "events", "resources", "faults"})
# A default among them: that of a set comes in the order of this process's hashes.
_SETS = frozenset({"required", "enum", "anyOf", "oneOf", "type", "default"})
_ANYTHING: Json = {"$comment": "anything"}


def _foreign(kind: type) -> Json:
    if kind is object:
        return _ANYTHING  # an empty schema would count as none
    schema = getattr(kind, "model_json_schema", None)
    if callable(schema):
        return cast("Json", schema(ref_template="#/$defs/{model}"))
    raise TypeError(f"{kind.__name__} has no schema; use a Model, a dataclass, a pydantic model or a built-in type")


def schemas_of(kinds: Sequence[object], *, at: str = "#/$defs/{name}") -> tuple[list[Json], Json]:
    """JSON Schema (2020-12) of types, and the definitions that they refer to.

    Args:
        kinds: The types.
        at: Where the definitions will stand in the document, with `{name}` in it.

    Raises:
        TypeError: A type has no schema; it says of which field.
    """
    try:
        schemas, definitions = msgspec.json.schema_components(list(kinds), schema_hook=_foreign, ref_template=at)
    except TypeError as error:
        where = next(chain.from_iterable(_without_schema(kind, set()) for kind in kinds), "")
        raise TypeError(f"{where}: {error}" if where else str(error)) from None
    hoisted = cast("Json", dict(definitions))
    result = [_hoist(cast("Json", schema), hoisted, at) for schema in schemas]
    for name in list(hoisted):
        hoisted[name] = _hoist(cast("Json", hoisted[name]), hoisted, at)
    return result, hoisted


def _without_schema(hint: object, seen: set[object]) -> Iterator[str]:
    """The innermost fields of the models in a hint whose types have no schema, such as `Task.due`."""
    for model in _models_in(hint):
        if model in seen:
            continue
        seen.add(model)
        for field in msgspec.structs.fields(model):
            try:
                _ = msgspec.json.schema_components([field.type], schema_hook=_foreign)
            except TypeError:
                inner = any(_models_in(field.type))
                yield from _without_schema(field.type, seen) if inner else (f"{model.__name__}.{field.name}",)


def _models_in(hint: object) -> Iterator[type[msgspec.Struct]]:
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        yield hint
    for part in get_args(hint):
        yield from _models_in(part)


def _hoist(schema: Json, into: Json, at: str) -> Json:
    """Move the definitions that pydantic nests to where the references point."""

    def walk(value: object) -> object:
        if isinstance(value, list):
            return [walk(item) for item in cast("list[object]", value)]
        if not isinstance(value, dict):
            return value
        node = {} if value == _ANYTHING else dict(cast("Json", value))
        nested = node.pop("$defs", None)
        if isinstance(nested, dict):
            into.update({name: walk(item) for name, item in cast("Json", nested).items()})
        reference = node.get("$ref")
        if isinstance(reference, str) and reference.startswith("#/$defs/"):
            node["$ref"] = at.format(name=reference.removeprefix("#/$defs/"))
        return {name: walk(item) for name, item in node.items()}

    return cast("Json", walk(schema))


def canonical(document: object) -> bytes:
    """A document as bytes that depend on what it promises only: without prose, with sets in one order.

    Example:
        >>> canonical({"required": ["b", "a"], "description": "words"})
        b'{"required":["a","b"]}'
    """
    return msgspec.json.encode(_canonical(document, properties=False), order="sorted")


def _canonical(value: object, *, properties: bool) -> object:
    if isinstance(value, list):
        return [_canonical(item, properties=False) for item in cast("list[object]", value)]
    if not isinstance(value, dict):
        return value
    result: Json = {}
    for name, item in cast("Json", value).items():
        # Below these the names are the user's: a field or an operation may be called title.
        if name in _PROSE and not properties:
            continue
        clean = _canonical(item, properties=name in _NAMED and not properties)
        if name in _SETS and not properties and isinstance(clean, list):
            clean = sorted(cast("list[object]", clean), key=lambda part: msgspec.json.encode(part, order="sorted"))
        result[name] = clean
    return result
