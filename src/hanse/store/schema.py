"""Whether stored rows can be read as another version of their collection: decided, and explained, first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from hanse.kernel.faults import CouldNotStart, Misdeclared
from hanse.store.base import CollectionSchema, FieldSchema, Inside
from hanse.store.keys import KEYS

_WIDER: Mapping[str, frozenset[str]] = {
    "integer": frozenset({"number", "decimal"}),
    "number": frozenset({"decimal"}),
    **dict.fromkeys(("datetime", "date", "time", "duration", "uuid", "bytes"), frozenset({"string"})),
}
"""Which types read what was written as another one; any type is read as `any`."""


def check(stored: CollectionSchema, wanted: CollectionSchema) -> list[str]:
    """Why rows that were written under one schema cannot be read under another; empty where they can.

    A field may get a wider type (integer to number), a new field needs a default, and a removed one is ignored. Of what
    lies inside a field only those types are known that do not compare as JSON has it, such as that of a Decimal.

    Example:
        >>> before = CollectionSchema("orders", {"total": FieldSchema("string", required=True)})
        >>> after = CollectionSchema("orders", {"total": FieldSchema("integer", required=True)})
        >>> check(before, after)
        ['orders.total: stored as string, now integer; keep the type, or add a field of another name']
    """
    found = (_problem(stored.fields.get(name), field) for name, field in wanted.fields.items())
    return [f"{wanted.name}.{name}: {why}" for name, why in zip(wanted.fields, found, strict=True) if why]


def _problem(stored: FieldSchema | None, wanted: FieldSchema) -> str | None:
    if stored is None:
        return "stored rows do not have this new field; give it a default" if wanted.required else None
    if wanted.type not in {stored.type, "any", *_WIDER.get(stored.type, ())}:
        return f"stored as {stored.type}, now {wanted.type}; keep the type, or add a field of another name"
    if wanted.required and not stored.required:
        return "stored rows may lack this field, which is required now; keep its default"
    for path, before, now in _changes_inside(stored.inside, wanted.inside):
        if "any" not in {before, now} and now not in _WIDER.get(before, ()):
            return f"{path} inside it stored as {before}, now {now}; keep the type, or add a field of another name"
    return None


def _changes_inside(
    stored: Mapping[str, Inside], wanted: Mapping[str, Inside], prefix: str = ""
) -> Iterator[tuple[str, str, str]]:
    """Where something inside a field has another type: the path, what it was, and what it is to be.

    What a schema does not name there is "any": it compares as JSON has it, and nobody knows its type.
    """
    nothing = Inside()
    for name in [*wanted, *(name for name in stored if name not in wanted)]:
        before, now = stored.get(name, nothing), wanted.get(name, nothing)
        path = f"{prefix}.{name}".lstrip(".") if name else f"{prefix}[]"
        if before.type != now.type:
            yield path, before.type, now.type
        yield from _changes_inside(before.inside, now.inside, path)


class Step(msgspec.Struct, frozen=True):
    """One thing that opening a collection does to what is stored, or why it cannot.

    Attributes:
        change: `add` what is new, `widen` a type, `keep` what nobody declares any more, `drop` an index, or `refuse`.
        collection: Whose.
        field: Of which field; empty for the collection itself.
        index: Whether it is about the field's index.
        detail: What it means for what is stored.
    """

    change: Literal["add", "widen", "keep", "drop", "refuse"]
    collection: str
    field: str = ""
    index: bool = False
    detail: str = ""


def steps(stored: CollectionSchema | None, wanted: CollectionSchema) -> list[Step]:
    """What has to happen before a collection can be opened as it is wanted; what `check` finds is refused.

    Example:
        >>> after = CollectionSchema("orders", {"note": FieldSchema("string", required=False, default=b'""')})
        >>> [step.detail for step in steps(CollectionSchema("orders", {}), after)]
        ['string; stored rows read as ""']
    """
    if stored is None:
        fields = ", ".join(wanted.fields) or "no fields"
        return [Step("add", wanted.name, detail=fields), *_index_steps(frozenset(), wanted)]
    found = [step for name, field in wanted.fields.items() for step in _field_steps(name, stored, field)]
    gone = [
        Step("keep", wanted.name, name, detail=f"{field.type}; no longer declared, stored rows keep it")
        for name, field in stored.fields.items()
        if name not in wanted.fields and field.required
    ]
    return [*found, *gone, *_index_steps(frozenset(stored.indexed), wanted)]


def _field_steps(name: str, stored: CollectionSchema, wanted: FieldSchema) -> Iterator[Step]:
    before = stored.fields.get(name)
    if problem := _problem(before, wanted):
        yield Step("refuse", stored.name, name, detail=problem)
    elif before is None:
        yield Step("add", stored.name, name, detail=f"{wanted.type}; stored rows read as {_text(wanted.default)}")
    elif before.type != wanted.type:
        yield Step("widen", stored.name, name, detail=f"{before.type} to {wanted.type}")
    elif before.default != wanted.default and not wanted.required:
        now, until = _text(wanted.default), _text(before.default)
        yield Step("widen", stored.name, name, detail=f"rows without it read as {now}, until now as {until}")
    if before is not None and not problem:
        for path, was, kind in _changes_inside(before.inside, wanted.inside):
            yield Step("widen", stored.name, name, detail=f"{path} inside it compares as {kind}, until now as {was}")


def _index_steps(stored: frozenset[str], wanted: CollectionSchema) -> Iterator[Step]:
    for name in sorted(stored - set(wanted.indexed)):
        yield Step("drop", wanted.name, name, index=True, detail="no longer declared")
    for name in sorted(set(wanted.indexed) - stored):
        yield Step("add", wanted.name, name, index=True, detail="built while nobody else writes")


def _text(default: bytes) -> str:
    return default.decode(errors="replace")


def merge(stored: CollectionSchema | None, wanted: CollectionSchema) -> CollectionSchema:
    """What to remember of a collection once it is opened: removed fields are kept, as rows still hold them.

    So a field that comes back with another type is noticed, however many versions later.
    """
    if stored is None:
        return wanted
    gone = {
        name: msgspec.structs.replace(field, required=False)
        for name, field in stored.fields.items()
        if name not in wanted.fields
    }
    return msgspec.structs.replace(wanted, fields={**wanted.fields, **gone})


def require_sound(stored: Mapping[str, CollectionSchema], wanted: Sequence[CollectionSchema]) -> list[CollectionSchema]:
    """The collections as they are to be remembered.

    Raises:
        Misdeclared: A schema has an unknown type, an index of an unknown field, or a default that is not JSON.
        CouldNotStart: Stored rows cannot be read as they are wanted; lists every reason.
    """
    for schema in wanted:
        if wrong := list(_flaws(schema)):
            raise Misdeclared("; ".join(wrong))
    problems = [why for one in wanted if one.name in stored for why in check(stored[one.name], one)]
    if problems:
        raise CouldNotStart(
            f"what is stored cannot be read by this version, and was left as it is: {'; '.join(problems)}"
        )
    return [merge(stored.get(one.name), one) for one in wanted]


def _flaws(schema: CollectionSchema) -> Iterable[str]:
    for name, field in schema.fields.items():
        for kind in sorted(_types(field) - KEYS.keys()):
            yield f"{schema.name}.{name}: expected one of the types {', '.join(KEYS)}, got {kind!r}"
        try:
            msgspec.json.decode(field.default)
        except msgspec.DecodeError:
            yield f"{schema.name}.{name}: expected a default in JSON, got {field.default!r}"
    for name in schema.indexed:
        if name not in schema.fields:
            yield f"{schema.name}: expected indexed fields to be declared, got {name!r}"


def _types(field: FieldSchema | Inside) -> set[str]:
    return {field.type}.union(*map(_types, field.inside.values()))
