"""What an OpenAPI document gets once its paths stand: where they are, prose of fields, examples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import cast

from hanse.contract.example import ID, Examples, NoExample
from hanse.contract.openapi_parts import AT
from hanse.contract.prose import prose_of
from hanse.contract.schema import Json

METHODS = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace", "query"})
_ROW: Json = {"id": ID, "rev": 7}
_EXAMPLES = frozenset({"example", "examples"})


def operations_of(paths: Mapping[str, Json]) -> Iterator[Json]:
    """All operations of all paths."""
    for path in paths.values():
        for method, entry in path.items():
            if method in METHODS:
                yield cast("Json", entry)


def without_prefix(paths: Mapping[str, Json], prefix: str) -> dict[str, Json]:
    """The paths as they are below the prefix, which stands in `servers` instead."""
    return {path.removeprefix(prefix) or "/": entry for path, entry in paths.items()}


def with_prose(definitions: Json) -> None:
    """Say of each field what the docstring of its class says in `Attributes`."""
    for definition in cast("dict[str, Json]", definitions).values():
        prose = prose_of(cast("str", definition.get("description", "")))
        text = "\n\n".join(filter(None, (prose.summary, prose.description)))
        if text:
            definition["description"] = text
        describe_fields(definition, prose.items)
        if prose.deprecated is not None:
            definition["deprecated"] = True


def describe_fields(schema: Json, texts: Mapping[str, str]) -> None:
    """Give the fields of an object their descriptions, but for those that have one."""
    properties = cast("dict[str, Json]", schema.get("properties", {}))
    for name, text in texts.items():
        if text and name in properties:
            properties[name] = {"description": text, **properties[name]}


def without_twins(paths: Mapping[str, Json]) -> None:
    """Leave out parameters whose name another of the operation has: a filter by a field that is called `limit`."""
    for entry in operations_of(paths):
        if "parameters" in entry:
            found = {_identity(one): one for one in reversed(cast("list[Json]", entry["parameters"]))}
            entry["parameters"] = list(reversed(found.values()))


def _identity(parameter: Json) -> object:
    """What no other parameter of an operation may have; one that is shared is known by where it stands."""
    return parameter["$ref"] if "$ref" in parameter else (parameter["name"], parameter["in"])


def with_shared_bodies(paths: Mapping[str, Json], definitions: Json) -> None:
    """Say once what a body is that may come under several media types: generators make one class of it."""
    for entry in operations_of(paths):
        content = cast("dict[str, Json]", cast("Json", entry.get("requestBody", {})).get("content", {}))
        schemas = [one["schema"] for one in content.values() if "schema" in one]
        name = "".join(part.capitalize() for part in f"{entry['operationId']}_body".split("_"))
        for one in content.values():
            schema = cast("Json", one.get("schema", {}))
            if schemas.count(schema) > 1 and "$ref" not in schema and definitions.get(name, schema) == schema:
                definitions[name] = schema
                one["schema"] = {"$ref": AT.format(name=name)}


def with_examples(paths: Mapping[str, Json], definitions: Json, rows: frozenset[str]) -> None:
    """Give each JSON body and answer an example, where one is known that fits.

    Args:
        paths: What is changed.
        definitions: What the schemas refer to.
        rows: Names of the definitions that are rows, whose id and revision the server gives.
    """
    examples = Examples(definitions, dict.fromkeys(rows, _ROW))
    for entry in operations_of(paths):
        body = cast("Json", entry.get("requestBody", {}))
        _exemplify(examples, body, writing=True)
        for status, answer in cast("dict[str, Json]", entry.get("responses", {})).items():
            if status.startswith("2"):
                _exemplify(examples, answer, writing=False)


def _exemplify(examples: Examples, holder: Json, *, writing: bool) -> None:
    for media_type, content in cast("dict[str, Json]", holder.get("content", {})).items():
        schema = cast("Json | None", content.get("schema"))
        if schema is None or "json" not in media_type or _EXAMPLES & content.keys():
            continue
        if schema.get("type") == "string" and "jsonl" in media_type:
            continue  # it tells of lines, and is none
        with suppress(NoExample):
            content["example"] = examples.of(schema, writing=writing)
