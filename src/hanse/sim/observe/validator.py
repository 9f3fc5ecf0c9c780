"""A validator of plain data against JSON Schema, as far as contracts use it; it knows nothing of the types behind.

Data is what MessagePack holds: besides what JSON has, bytes (a string with an encoding, in a schema), instants (a
string), and keys that are no strings. It is made for many messages of few shapes: a schema becomes functions once, each
of which tells what is wrong with a value, or None. What a keyword that is not known here demands is not checked; that
items be unique is not either, as whoever takes a set takes an item that is in it twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import cast

from hanse.sim.observe.validator_scalars import problem_with, scalar_checks, type_check

Json = Mapping[str, object]
Check = Callable[[object], "str | None"]
"""What is wrong with a value, after the JSON pointer to what is: `/left: expected ...`; None where nothing is wrong."""


def validator(schema: Json, definitions: Json) -> Check:
    """The check of a schema.

    Args:
        schema: A JSON Schema.
        definitions: What `#/$defs/name` in it stands for.

    Example:
        >>> check = validator({"type": "object", "properties": {"left": {"type": "integer", "minimum": 0}}}, {})
        >>> check({"left": 2}), check({"left": -1}), check([])
        (None, '/left: expected 0 or more, got -1', ': expected object, got []')
    """
    return _Document(definitions).check(schema)


class _Document:
    """The checks of one document; what is referred to is made once, so that it may refer to itself."""

    def __init__(self, definitions: Json) -> None:
        self._definitions = definitions
        self._known: dict[str, Check] = {}

    def check(self, schema: Json) -> Check:
        """The check of a part of the document."""
        checks = [*self._parts(schema), *scalar_checks(schema)]
        return checks[0] if len(checks) == 1 else _all(checks)

    def _parts(self, schema: Json) -> Iterable[Check]:
        """What a schema demands by other schemas; its types first, so that these need not look at them."""
        if "type" in schema:
            yield type_check(schema)
        reference = schema.get("$ref")
        if isinstance(reference, str):
            yield self._referred(reference)
        for name in ("anyOf", "oneOf"):
            if name in schema:
                yield self._alternatives(schema, cast("list[Json]", schema[name]))
        for part in cast("list[Json]", schema.get("allOf", [])):
            yield self.check(part)
        if schema.keys() & {"properties", "required", "additionalProperties"}:
            yield self._object(schema)
        if schema.keys() & {"items", "prefixItems"}:
            yield self._array(schema)

    def _referred(self, reference: str) -> Check:
        name = reference.rpartition("/")[2]

        def check(value: object) -> str | None:
            known = self._known.get(name)
            if known is None:
                known = self._known[name] = self.check(cast("Json", self._definitions[name]))
            return known(value)

        return check

    def _alternatives(self, schema: Json, parts: list[Json]) -> Check:
        told = cast("Json", schema.get("discriminator", {}))
        if "mapping" in told:
            return self._tagged(str(told["propertyName"]), cast("Mapping[str, str]", told["mapping"]))
        checks = [self.check(part) for part in parts]

        def check(value: object) -> str | None:
            problems: list[str] = []
            for one in checks:
                problem = one(value)
                if problem is None:
                    return None
                problems.append(problem)
            return problem_with(f"one of {len(checks)} shapes{''.join(f' ({one})' for one in problems)}", value)

        return check

    def _tagged(self, tag: str, mapping: Mapping[str, str]) -> Check:
        checks = {key: self._referred(reference) for key, reference in mapping.items()}

        def check(value: object) -> str | None:
            found = checks.get(_field(value, tag))
            if found is None:
                return problem_with(f"an object whose {tag} is one of {', '.join(checks)}", value)
            return found(value)

        return check

    def _object(self, schema: Json) -> Check:
        properties = {name: self.check(part) for name, part in _properties(schema)}
        required = frozenset(cast("list[str]", schema.get("required", [])))
        other = schema.get("additionalProperties", True)
        others = self.check(cast("Json", other)) if isinstance(other, Mapping) else None

        def check(value: object) -> str | None:
            if not isinstance(value, dict):
                return None
            # Most of its keys are texts; one that is not is no property.
            fields = cast("dict[str, object]", value)
            if not required <= fields.keys():
                return problem_with(f"the fields {', '.join(sorted(required - fields.keys()))} as well", fields)
            for name, item in fields.items():
                one = properties.get(name, others)
                if one is None:
                    if other is False and name not in properties:
                        return problem_with(f"no field {name!r}", fields)
                    continue
                problem = one(item)
                if problem is not None:
                    return f"/{name}{problem}"
            return None

        return check

    def _array(self, schema: Json) -> Check:
        first = [self.check(part) for part in cast("list[Json]", schema.get("prefixItems", []))]
        rest = schema.get("items", True)
        others = self.check(cast("Json", rest)) if isinstance(rest, Mapping) else None

        def check(value: object) -> str | None:
            if not isinstance(value, list):
                return None
            items = cast("list[object]", value)
            if rest is False and len(items) > len(first):
                return problem_with(f"{len(first)} items at most", items)
            for index, item in enumerate(items):
                one = first[index] if index < len(first) else others
                problem = None if one is None else one(item)
                if problem is not None:
                    return f"/{index}{problem}"
            return None

        return check


def _properties(schema: Json) -> Iterable[tuple[str, Json]]:
    return cast("dict[str, Json]", schema.get("properties", {})).items()


def _all(checks: list[Check]) -> Check:
    def check(value: object) -> str | None:
        for one in checks:
            problem = one(value)
            if problem is not None:
                return problem
        return None

    return check


def _field(value: object, name: str) -> str:
    return str(cast("Json", value).get(name)) if isinstance(value, dict) else ""
