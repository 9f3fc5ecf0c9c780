"""Typed bytes: MessagePack between services, JSON at the edge and in stores.

One `Codec` per type, made once. Decoding validates; what does not validate never reaches a handler. The fast decoder
stops at the first error, so on failure a second pass lists every one with its JSON pointer (`hanse.kernel.validate`).
Pydantic models are taken wherever a Model is; pydantic itself is imported by those who use it, never here.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Generic, Protocol, TypeVar, cast, runtime_checkable

import msgspec

from hanse.kernel.faults import Invalid, Malformed
from hanse.kernel.moments import delicate, holds_sets
from hanse.kernel.validate import flaws

T = TypeVar("T")

SUMMARY_FLAWS = 3
"""Errors named in the one-line text of an `Invalid`; its `errors` has them all."""

UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
"""What decoders raise for bytes that are not what they should be."""


@runtime_checkable
class _PydanticLike(Protocol):
    def model_dump(self) -> dict[str, object]: ...

    @classmethod
    def model_validate(cls, value: object, /) -> object: ...


def to_builtin(value: object) -> object:
    """What the encoders do with a type that they do not know: pydantic models become dictionaries.

    Raises:
        NotImplementedError: It is not a pydantic model either.
    """
    if isinstance(value, _PydanticLike):
        return value.model_dump()
    msg = f"cannot encode {type(value).__name__}: use a Model, a dataclass, a pydantic model or a built-in type"
    raise NotImplementedError(msg)


def from_builtin(kind: type[object], value: object) -> object:
    """What the decoders do with a type that they do not know: pydantic models validate themselves.

    Raises:
        NotImplementedError: It is not a pydantic model either.
    """
    if kind is object:
        return value
    if issubclass(kind, _PydanticLike):
        return kind.model_validate(value)
    msg = f"cannot decode {kind.__name__}: use a Model, a dataclass, a pydantic model or a built-in type"
    raise NotImplementedError(msg)


class Codec(Generic[T]):
    """Encodes and decodes one type.

    Example:
        >>> codec = codec_for(dict[str, int])
        >>> codec.decode(codec.encode({"left": 2}))
        {'left': 2}
        >>> codec.decode_json(b'{"left": "two"}')
        Traceback (most recent call last):
        ...
        hanse.kernel.faults.Invalid: /left: Expected `int`, got `str`
    """

    __slots__ = ("_json", "decode_raw", "encode", "encode_json", "type")

    def __init__(self, kind: type[T]) -> None:
        """Build the encoders and decoders of a type.

        Raises:
            TypeError: It holds something that cannot be encoded.
        """
        self.type: type[T] = kind
        self.decode_raw: Callable[[bytes], T] = msgspec.msgpack.Decoder(kind, dec_hook=from_builtin).decode
        """As `decode`, on the way of every call; raises one of `UNREADABLE`, and `decode` says why."""
        self._json = msgspec.json.Decoder(kind, dec_hook=from_builtin)
        self.encode: Callable[[object], bytes] = _encoder_of(kind)
        self.encode_json: Callable[[object], bytes] = _json_encoder.encode

    def decode(self, body: bytes) -> T:
        """The value in MessagePack bytes.

        Raises:
            Malformed: The bytes are not MessagePack.
            Invalid: The value is not of the type; lists every error.
        """
        try:
            return self.decode_raw(body)
        except UNREADABLE as error:
            raise _why(error, self.type, body, msgspec.msgpack.decode, "MessagePack") from None

    def decode_json(self, body: bytes) -> T:
        """The value in JSON bytes.

        Raises:
            Malformed: The bytes are not JSON.
            Invalid: The value is not of the type; lists every error.
        """
        try:
            return self._json.decode(body)
        except UNREADABLE as error:
            raise _why(error, self.type, body, msgspec.json.decode, "JSON") from None

    def convert(self, value: object, *, strict: bool = True) -> T:
        """The value in plain built-in data; `strict=False` also takes strings for numbers (query strings, settings).

        Raises:
            Invalid: The value is not of the type; lists every error.
        """
        try:
            return msgspec.convert(value, self.type, strict=strict, dec_hook=from_builtin)
        except msgspec.ValidationError as error:
            raise _invalid(self.type, value, error, strict=strict) from None


class _Raw(Protocol):
    def __call__(self, body: bytes, /) -> object: ...


def _why(error: Exception, kind: object, body: bytes, raw: _Raw, format_name: str) -> Malformed | Invalid:
    if isinstance(error, msgspec.ValidationError):
        try:
            return _invalid(kind, raw(body), error, strict=True)
        except UNREADABLE as second:
            error = second
    problem = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
    return Malformed(f"expected {format_name}: {problem}")


def _invalid(kind: object, value: object, error: Exception, *, strict: bool) -> Invalid:
    found = flaws(kind, value, strict=strict, convert=from_builtin, first=str(error))
    shown = found[:SUMMARY_FLAWS]
    summary = "; ".join(f"{flaw.pointer}: {flaw.detail}" if flaw.pointer else flaw.detail for flaw in shown)
    more = f"; and {len(found) - len(shown)} more" if len(found) > len(shown) else ""
    return Invalid(summary + more, found)


_PACKED = (bytes, bytearray, memoryview)
"""Types that MessagePack has and JSON has not, and that are the same from it."""

_pack_encoder = msgspec.msgpack.Encoder(enc_hook=to_builtin)
_sorted_encoder = msgspec.msgpack.Encoder(enc_hook=to_builtin, order="deterministic")
_json_encoder = msgspec.json.Encoder(enc_hook=to_builtin)
_sorted_json_encoder = msgspec.json.Encoder(enc_hook=to_builtin, order="deterministic")


def _encode_moments(value: object) -> bytes:
    """As JSON has them: MessagePack's own timestamps know no offsets, and none before year 1 in UTC."""
    if type(value) is msgspec.Raw:
        return bytes(value)  # as it was encoded before, such as the answer to a repeated call
    return _pack_encoder.encode(msgspec.to_builtins(value, builtin_types=_PACKED, enc_hook=to_builtin))


def _encoder_of(kind: object) -> Callable[[object], bytes]:
    match delicate(kind):
        case "moment":
            return _encode_moments
        case "identity":
            return canonical
        case "":
            return encode


encode: Callable[[object], bytes] = _pack_encoder.encode
encode_json: Callable[[object], bytes] = _json_encoder.encode


def canonical(value: object) -> bytes:
    """MessagePack that is the same for the same value: a set has no order, and that of its texts differs by process.

    A value with keys that are no texts, or with sets of what cannot be compared, is encoded as it lies.

    Example:
        >>> canonical({8, 0}) == canonical({0, 8})
        True
    """
    try:
        return _sorted_encoder.encode(value)
    except TypeError:
        return encode(value)


def stored_json(value: object) -> bytes:
    """JSON for what lasts, such as rows: the same for the same value, also where its type has sets.

    Example:
        >>> stored_json({"b": 1, "a": 2})
        b'{"b":1,"a":2}'
    """
    return _stored_encoder_of(cast("Hashable", type(value)))(value)


@lru_cache(maxsize=4096)
def _stored_encoder_of(kind: Hashable) -> Callable[[object], bytes]:
    return _canonical_json if holds_sets(kind) else encode_json


def _canonical_json(value: object) -> bytes:
    try:
        return _sorted_json_encoder.encode(value)
    except TypeError:
        return encode_json(value)  # a set of what cannot be compared


@lru_cache(maxsize=4096)
def _codec(kind: Hashable) -> Codec[object]:
    return Codec(cast("type[object]", kind))


def codec_for(kind: type[T]) -> Codec[T]:
    """The codec of a type, made once."""
    return cast("Codec[T]", _codec(cast("Hashable", kind)))
