"""The second pass: every error of an input, where the decoder stopped at the first.

Runs only after a value was refused, so it may be slow; it is bounded by `FLAWS_MAX`. It walks the value along the type
hint: whatever msgspec takes is right, whatever it refuses is wrong in one of its parts, or as a whole. So both passes
agree on what an error is.
"""

from __future__ import annotations

import dataclasses
import enum
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Annotated, Literal, Union, cast

import msgspec

from hanse.kernel.faults import Flaw

FLAWS_MAX = 100
"""Errors listed of one input at most."""

CHOICES_MAX = 20
"""Values of an enumeration that an error lists; of more, the first."""

Hook = Callable[[type[object], object], object]
Part = tuple[str, object, object]

_MISSING = object()
_AT = re.compile(r" - at `[^`]*`$")
_CODES = (
    (re.compile(r"missing required field"), "missing"),
    (re.compile(r"unknown field"), "unknown_field"),
    (re.compile(r"[Ii]nvalid enum value|Invalid value"), "choice"),
    (re.compile(r"matching regex"), "pattern"),
    (re.compile(r"length"), "length"),
    (re.compile(r">=|<=|>|<|multiple of"), "range"),
    (re.compile(r"^Expected `[^`]*`, got"), "type"),
)


def flaws(kind: object, value: object, *, strict: bool, convert: Hook, first: str) -> list[Flaw]:
    """Everything that is wrong with a value, with JSON pointers (RFC 6901), at most `FLAWS_MAX`.

    Args:
        kind: The type that it should be of.
        value: What came, as plain data.
        strict: Whether a string may not stand for a number.
        convert: Makes values of types that msgspec does not know.
        first: What the decoder said; the answer where this pass finds nothing.
    """
    found = list(islice(_Walk(strict=strict, convert=convert).check(kind, value, ""), FLAWS_MAX))
    return found or [_flaw("", first)]


def unknown(kind: object, value: object, at: str = "") -> Iterator[Flaw]:
    """Names in a value that its type does not have, which decoders pass over; of anything open, such as `dict`, none.

    Example:
        >>> class Point(msgspec.Struct):
        ...     x: int = 0
        >>> [flaw.pointer for flaw in unknown(list[Point], [{"x": 1}, {"y": 2}])]
        ['/1/y']
    """
    inner = _plain(kind, value)
    known = names_in(inner)
    if known is not None and isinstance(value, Mapping):
        value = cast("Mapping[str, object]", value)
        for name in value:
            if name not in known:
                yield Flaw(f"{at}/{escape(name)}", "unknown_field", f"expected one of {', '.join(known) or 'none'}")
    for name, part, item in _parts(inner, value):
        if item is not _MISSING:
            yield from unknown(part, item, f"{at}/{escape(name)}")


def names_in(kind: object) -> tuple[str, ...] | None:
    """The names that an object of this type may have; None where they are not fixed."""
    kind = _plain(kind, {})
    origin = typing.get_origin(kind) or kind
    if isinstance(pydantic := getattr(origin, "model_fields", None), Mapping):
        return tuple(cast("Mapping[str, object]", pydantic))
    names = tuple(name for name, _, _ in _fields(kind, origin))
    config = cast("msgspec.structs.StructConfig | None", getattr(origin, "__struct_config__", None))
    tag = (config.tag_field,) if config is not None and config.tag_field is not None else ()
    return (*tag, *names) if names or config is not None else None


def part_of(kind: object, name: str) -> object:
    """The type of what stands under a name in a value of this type; `object` where it is not known.

    Example:
        >>> part_of(dict[str, list[int]], "any")
        list[int]
    """
    plain = _plain(kind, {name: None})
    if plain is None or not (parts := _parts(plain, {name: None})):
        plain = _plain(kind, [None])
        parts = _parts(plain, [None])
        return parts[0][1] if parts else object
    return next((part for key, part, _ in parts if key == name), object)


def escape(token: str) -> str:
    """One name as a JSON pointer writes it.

    Example:
        >>> escape("a/b~c")
        'a~1b~0c'
    """
    return token.replace("~", "~0").replace("/", "~1")


def _flaw(pointer: str, message: str) -> Flaw:
    text = _AT.sub("", message)
    code = next((code for pattern, code in _CODES if pattern.search(text)), "invalid")
    return Flaw(pointer, code, text)


class _Walk:
    def __init__(self, *, strict: bool, convert: Hook) -> None:
        self._strict = strict
        self._convert = convert

    def check(self, kind: object, value: object, at: str) -> Iterator[Flaw]:
        kind = _read(kind)
        try:
            msgspec.convert(value, kind, strict=self._strict, dec_hook=self._convert, str_keys=True)
        except (msgspec.ValidationError, RecursionError) as error:
            inner = self._inner(kind, value, at)
            if (one := next(inner, None)) is None:
                yield from _own_flaws(error, kind, at)
            else:
                yield one
                yield from inner

    def _inner(self, kind: object, value: object, at: str) -> Iterator[Flaw]:
        for name, part, item in _parts(_plain(kind, value), value):
            where = f"{at}/{escape(name)}"
            if item is _MISSING:
                yield Flaw(where, "missing", "this field is required")
            else:
                yield from self.check(part, item, where)
        plain = _plain(kind, value)
        if _is_closed(plain) and isinstance(value, Mapping):
            known = names_in(plain) or ()
            for name in cast("Mapping[str, object]", value):
                if name not in known:
                    yield Flaw(f"{at}/{escape(name)}", "unknown_field", f"expected one of {', '.join(known)}")


def _read(kind: object) -> object:
    """The hint with anything in place of JSON that is kept unread: only bytes convert to that."""
    args = typing.get_args(kind)
    if kind is not msgspec.Raw and msgspec.Raw not in args:
        return kind
    origin = typing.get_origin(kind)
    if not isinstance(origin, type) or origin is types.UnionType:
        return object
    return types.GenericAlias(origin, tuple(object if arg is msgspec.Raw else arg for arg in args))


def _own_flaws(error: Exception, kind: object, at: str) -> Iterator[Flaw]:
    """What a model of another library (pydantic) listed itself, else the one thing that msgspec said."""
    listing = getattr(error.__cause__, "errors", None)
    if not callable(listing):
        flaw = _flaw(at, str(error))
        choices = _choices(kind) if flaw.code == "choice" else ()
        yield msgspec.structs.replace(flaw, detail=f"{flaw.detail}; expected {_listed(choices)}") if choices else flaw
        return
    for item in cast("list[dict[str, object]]", listing()):
        where = "".join(f"/{escape(str(part))}" for part in cast("tuple[object, ...]", item["loc"]))
        yield Flaw(at + where, str(item["type"]), str(item["msg"]))


def _choices(kind: object) -> tuple[object, ...]:
    """What an enumeration, or a choice of values, allows, also where it is one member of a union."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return args
    if origin is Annotated:
        return _choices(args[0])
    if origin in (Union, types.UnionType):
        return tuple(choice for member in args for choice in _choices(member))
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return tuple(cast("object", member.value) for member in kind)
    return ()


def _listed(choices: tuple[object, ...]) -> str:
    more = f", and {len(choices) - CHOICES_MAX} more" if len(choices) > CHOICES_MAX else ""
    return ", ".join(repr(choice) for choice in choices[:CHOICES_MAX]) + more


def _plain(kind: object, value: object) -> object:
    """The hint without its annotations; of a union, the one member that the value can be meant for, if any."""
    while typing.get_origin(kind) is Annotated:
        kind = typing.get_args(kind)[0]
    if typing.get_origin(kind) not in (Union, types.UnionType):
        return kind
    members = [_plain(member, value) for member in typing.get_args(kind) if member is not type(None)]
    if len(members) == 1:
        return members[0]
    candidates = [member for member in members if _parts(member, value)]
    tagged = [member for member in candidates if _has_tag_of(member, value)]
    chosen = tagged or candidates
    return chosen[0] if len(chosen) == 1 else None


def _is_closed(kind: object) -> bool:
    """Whether a struct refuses names that it does not have."""
    config = cast("msgspec.structs.StructConfig | None", getattr(kind, "__struct_config__", None))
    return config is not None and config.forbid_unknown_fields


def _has_tag_of(kind: object, value: object) -> bool:
    config = cast("msgspec.structs.StructConfig | None", getattr(kind, "__struct_config__", None))
    if config is None or config.tag_field is None or not isinstance(value, Mapping):
        return False
    return cast("Mapping[str, object]", value).get(config.tag_field) == config.tag


def _parts(kind: object, value: object) -> list[Part]:
    """The pieces of a value: name, type hint, and the piece (or that it is missing)."""
    origin, args = typing.get_origin(kind) or kind, typing.get_args(kind)
    if isinstance(value, Mapping):
        mapping = cast("Mapping[str, object]", value)
        if origin in (dict, Mapping) and args:
            return [(str(name), args[1], item) for name, item in mapping.items()]
        return [
            (name, hint, mapping.get(name, _MISSING))
            for name, hint, required in _fields(kind, origin)
            if required or name in mapping
        ]
    if isinstance(value, (list, tuple)):
        items = cast("Iterable[object]", value)
        if origin is tuple and args and args[-1] is not Ellipsis:
            return [(str(index), args[index], item) for index, item in enumerate(items) if index < len(args)]
        if args and origin is not Literal:
            return [(str(index), args[0], item) for index, item in enumerate(items)]
    return []


def _fields(kind: object, origin: object) -> Iterator[tuple[str, object, bool]]:
    if not isinstance(origin, type):
        return
    origin = cast("type[object]", origin)
    if issubclass(origin, msgspec.Struct):
        for field in msgspec.structs.fields(cast("type[msgspec.Struct]", kind)):
            yield field.encode_name, field.type, field.required
    elif dataclasses.is_dataclass(origin):
        hints = typing.get_type_hints(origin, include_extras=True)
        for item in dataclasses.fields(origin):
            bare = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
            yield item.name, hints[item.name], bare
    elif (required := cast("frozenset[str] | None", getattr(origin, "__required_keys__", None))) is not None:
        for name, hint in typing.get_type_hints(origin).items():
            yield name, hint, name in required
