"""How rows of a resource are read, written and described to a store."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from functools import lru_cache
from typing import Generic, TypeVar, cast

import msgspec

from hanse.contract.model import Resource, collection_of, indexed_of, topic_of
from hanse.kernel.codec import Codec, codec_for, encode_json
from hanse.kernel.faults import Flaw, Invalid
from hanse.kernel.finite import checked
from hanse.service.field_types import fields_of, inside_of, type_name
from hanse.service.json_patch import json_patch
from hanse.store.base import CollectionSchema, FieldSchema

R = TypeVar("R", bound=Resource)

_OWN = frozenset({"id", "rev"})


class Shape(Generic[R]):
    """What is known about a resource's rows.

    Attributes:
        kind: The resource class.
        collection: Name of its collection.
        topic: Name of its changes as events.
        fields: Names that a row may have, but `id` and `rev`.
    """

    def __init__(self, kind: type[R]) -> None:
        self.kind: type[R] = kind
        self.collection: str = collection_of(kind)
        self.topic: str = topic_of(kind)
        self.fields: frozenset[str] = frozenset(kind.__struct_fields__) - _OWN
        self._names = dict(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))
        self._codec: Codec[R] = codec_for(kind)
        tag = kind.__struct_config__.tag_field
        self._known: frozenset[str] = frozenset((*kind.__struct_encode_fields__, *([tag] if tag else ())))

    def read(self, value: bytes, id: str, rev: int) -> R:
        """A row of its JSON value; the id and revision of the store count, not what the value says."""
        row = self._codec.decode_json(value)
        msgspec.structs.force_setattr(row, "id", id)
        msgspec.structs.force_setattr(row, "rev", rev)
        return row

    def unknown_in(self, value: bytes) -> dict[str, msgspec.Raw]:
        """Fields of a stored row that the class does not have, as they are: those of another release."""
        found = _parts(value)
        return {} if found.keys() <= self._known else {name: found[name] for name in found.keys() - self._known}

    def decode(self, value: bytes) -> R:
        """A row in JSON bytes from outside.

        Raises:
            Malformed: The bytes are not JSON.
            Invalid: The value is not of the resource's type; lists every error.
        """
        return checked(self._codec.decode_json(value))

    def named(self, row: R, id: str) -> R:
        """The row under another id."""
        return row if row.id == id else msgspec.structs.replace(row, id=id)

    def accept(self, value: R) -> R:
        """A row as a writer gave it, once it is sure to be valid; a copy, so that later changes of ours stay ours.

        Raises:
            Invalid: A field is not of its type; lists every error.
        """
        return checked(self._codec.decode_json(encode_json(value)))

    def patched(self, row: R, changes: Mapping[str, object]) -> R:
        """The row with some fields changed.

        Raises:
            Invalid: A field does not exist or is not of its type; lists every error.
        """
        return self.replaced(row, self.written(changes))

    def written(self, changes: Mapping[str, object]) -> dict[str, object]:
        """Changes by the names of attributes, as changes by the names that JSON has.

        Raises:
            Invalid: A field does not exist.
        """
        if unknown := sorted(set(changes) - self.fields):
            known = ", ".join(sorted(self.fields))
            flaws = [Flaw(f"/{name}", "unknown_field", f"{self.topic} has the fields {known}") for name in unknown]
            raise Invalid(f"{self.topic} has no field {', '.join(unknown)}", flaws)
        return {self._names[name]: value for name, value in changes.items()}

    def replaced(self, row: R, changes: object) -> R:
        """The row with some fields, by the names that JSON has, replaced whole.

        Raises:
            Invalid: The changes are no object, or the result is not valid; lists every error.
        """
        return self._read_like(row, {**self.plain(row), **_object(changes)})

    def merged(self, row: R, patch: object) -> R:
        """The row after a JSON merge patch (RFC 7396).

        Raises:
            Invalid: The patch is no object, or the result is not valid; lists every error.
        """
        return self._read_like(row, cast("dict[str, object]", merge_patch(self.plain(row), _object(patch))))

    def edited(self, row: R, patch: object) -> R:
        """The row after a JSON patch (RFC 6902).

        Raises:
            Invalid: The patch makes no sense, or the result is not valid; lists every error.
            PatchConflict: The patch does not fit the row.
        """
        return self._read_like(row, _object(json_patch(self.plain(row), patch), "a row"))

    def plain(self, row: R) -> dict[str, object]:
        """The row as JSON has it: what filters look at, and patches apply to."""
        return _decode(encode_json(row))

    def _read_like(self, row: R, data: dict[str, object]) -> R:
        # By way of JSON, where keys that are numbers are text on both sides of a patch.
        return checked(self._codec.decode_json(encode_json({**data, "id": row.id, "rev": row.rev})))


_decode = msgspec.json.Decoder(dict[str, object]).decode
_parts = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _object(patch: object, what: str = "a patch") -> dict[str, object]:
    if not isinstance(patch, dict):
        raise Invalid(f"{what} is a JSON object", [Flaw("", "type", "expected an object")])
    return cast("dict[str, object]", patch)


def merge_patch(target: object, patch: object) -> object:
    """RFC 7396: objects merge, null removes, anything else replaces.

    Example:
        >>> merge_patch({"a": {"b": 1, "c": 2}}, {"a": {"b": None}, "d": 3})
        {'a': {'c': 2}, 'd': 3}
    """
    if not isinstance(patch, dict):
        return patch
    result = dict(cast("dict[str, object]", target)) if isinstance(target, dict) else {}
    for name, value in cast("dict[str, object]", patch).items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge_patch(result.get(name), value)
    return result


@lru_cache(maxsize=4096)
def _shape(kind: type[Resource]) -> Shape[Resource]:
    return Shape(kind)


def shape_of(kind: type[R]) -> Shape[R]:
    """The shape of a resource, made once."""
    return cast("Shape[R]", _shape(kind))


def schema_of(kind: type[Resource]) -> CollectionSchema:
    """A resource as a store has to know it, made once."""
    return _schema(kind)


@lru_cache(maxsize=4096)
def _schema(kind: type[Resource]) -> CollectionSchema:
    fields = {name: field for name, field in field_schemas(kind).items() if name not in _OWN}
    return CollectionSchema(collection_of(kind), fields, indexed_of(kind))


def field_schemas(kind: type[msgspec.Struct]) -> dict[str, FieldSchema]:
    """The fields of a resource or an event, by the names that its JSON has."""
    types = fields_of(kind)
    return {
        field.encode_name: FieldSchema(
            type_name(types[field.encode_name]),
            required=field.required,
            default=_default(field),
            inside=inside_of(types[field.encode_name]),
        )
        for field in msgspec.structs.fields(kind)
    }


def _default(field: msgspec.structs.FieldInfo) -> bytes:
    if field.default_factory is not msgspec.NODEFAULT:
        return encode_json(cast("typing.Callable[[], object]", field.default_factory)())
    return b"null" if field.default is msgspec.NODEFAULT else encode_json(field.default)
