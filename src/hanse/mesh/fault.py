"""Faults as messages: the class's code, its public text and its fields; never a traceback."""

from __future__ import annotations

import typing
from collections.abc import Hashable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import cast

import msgspec

from hanse.kernel.codec import codec_for, encode, from_builtin, to_builtin
from hanse.kernel.faults import Fault, RemoteFault, fault_class, origin_of
from hanse.kernel.message import Headers, Kind, Message
from hanse.transport.base import UNDONE

HINTS_MAX = 1_024
"""Classes of faults whose annotations are kept: to read them takes longer than to decode the fault."""

_UNDONE = {UNDONE: "1"}


class Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """A fault on the wire.

    Attributes:
        code: Stable name of its class.
        text: What a stranger may be told.
        values: Its fields, as plain data.
        retryable: Whether another try may help.
        origin: Where its class is written, to choose among several of one code that the other side has.
    """

    code: str
    text: str
    values: dict[str, object] = {}
    retryable: bool = False
    origin: str = ""


FAULT = Kind.FAULT  # asking an enumeration for its member costs more than the comparison (CPython 3.11)
_told = codec_for(Told)


def fault_message(fault: Fault, id: str) -> Message:
    """The reply that tells of a fault; its code stands in the headers, for whoever counts without decoding."""
    if isinstance(fault, RemoteFault):
        told = Told(fault.remote_code, fault.text, fault.values, fault.retryable)
    else:
        told = Told(fault.code, _text(fault), _values(fault), fault.retryable, origin_of(type(fault)))
    return Message(FAULT, id, "", headers=Headers(type=told.code), body=encode(told))


def undone_message(fault: Fault, id: str) -> Message:
    """The reply of a node that refuses a message before anything is done about it: others may be asked."""
    told = fault_message(fault, id)
    return told.with_headers(msgspec.structs.replace(told.headers, extra=_UNDONE))


def is_undone(reply: Message) -> bool:
    """Whether a fault says that nothing was done about what it answers."""
    return UNDONE in reply.headers.extra


def fault_in(message: Message, declared: Sequence[type[Fault]] = ()) -> Fault:
    """The fault that a reply tells of, as its own class where this side knows it, else a `RemoteFault`.

    Args:
        message: The reply.
        declared: What the operation's contract lists; these classes are looked at first.
    """
    told = _told.decode(message.body)
    cls = fault_class(told.code, declared=declared, origin=told.origin)
    if cls is None:
        return _remote(told)
    try:
        return cls(**_typed(cls, told.values))
    except (TypeError, NameError, msgspec.ValidationError):
        # The two sides know different versions of the class: better its text than nothing.
        return _remote(told)


def _remote(told: Told) -> RemoteFault:
    fault = RemoteFault(told.code, told.text, told.values)
    # Its class does not know whether a retry may help; whoever raised it did.
    fault.__dict__["retryable"] = told.retryable
    return fault


def _text(fault: Fault) -> str:
    try:
        return fault.detail
    except Exception:  # noqa: BLE001 - a format that does not fit the values must not cost the caller its answer
        return fault.code


def _values(fault: Fault) -> dict[str, object]:
    """The fields that can travel; where one cannot, the other side gets a `RemoteFault` with the text."""
    values: dict[str, object] = {}
    for name in fault.fields:
        with suppress(TypeError, NotImplementedError, OverflowError, RecursionError):
            plain = msgspec.to_builtins(getattr(fault, name), enc_hook=to_builtin)
            values[name] = msgspec.Raw(encode(plain))
    return values


@lru_cache(maxsize=HINTS_MAX)
def _hints(cls: Hashable) -> dict[str, object]:
    return cast("dict[str, object]", typing.get_type_hints(cls))


def _typed(cls: type[Fault], values: dict[str, object]) -> dict[str, object]:
    hints = _hints(cast("Hashable", cls))
    return {
        name: msgspec.convert(values[name], hints[name], dec_hook=from_builtin) for name in cls.fields if name in values
    }
