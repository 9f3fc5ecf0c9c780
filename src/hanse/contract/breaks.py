"""What of a contract does not fit any more: what somebody expects of a service, beside what it offers. Pure.

Both are contracts as data, as `Description.publish` gives them. Arguments go from whoever calls to the service, answers
and events the other way; rows of a store that two releases share are read and written by both.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from hanse.contract.fits import LENIENT, Reading, Side, unreadable
from hanse.contract.schema import Json

_ARGUMENTS = Reading(unknown_matters=True)
_GONE = Reading(gone_matters=True)


def breaks(expected: Json, offered: Json, *, newer: bool) -> list[str]:
    """All that does not fit, in words; empty where whoever expects the one gets along with the other.

    Args:
        expected: The contract as its callers know it; what they do not know is not looked at.
        offered: The contract as it is served.
        newer: Whether what is offered is of later code than what is expected.

    Example:
        >>> from hanse.contract.declare import rpc
        >>> from hanse.service.service import Service, descriptions_of
        >>> class Old(Service, name="till"):
        ...     @rpc
        ...     async def price(self, drink: str) -> int: ...
        >>> class New(Service, name="till"):
        ...     @rpc
        ...     async def price(self, drink: str, size: int) -> int: ...
        >>> old, new = (descriptions_of(cls)[0].publish() for cls in (Old, New))
        >>> breaks(old, new, newer=True)
        ['till.price: arguments: field size is needed, and is not there']
    """
    return [
        *_operations(expected, offered, newer=newer),
        *_shapes("events", "event", expected, offered, _GONE if newer else LENIENT),
        *_shapes("resources", "rows of", expected, offered, _GONE if newer else LENIENT),
        *_written(expected, offered),
    ]


def _operations(expected: Json, offered: Json, *, newer: bool) -> Iterator[str]:
    there = _table(offered, "operations")
    for name, wanted in _table(expected, "operations").items():
        address = f"{expected['name']}.{name}"
        if name not in there:
            yield f"{address}: is not there"
            continue
        found = there[name]
        if wanted["stream"] != found["stream"]:
            yield f"{address}: expected {_answering(wanted)}, it is {_answering(found)}"
            continue
        if wanted["idempotent"] and not found["idempotent"]:
            yield f"{address}: callers repeat it, as it was idempotent, and it is not"
        said, read = (Side(one["arguments"], doc) for one, doc in ((wanted, _defs(expected)), (found, _defs(offered))))
        yield from (f"{address}: arguments: {what}" for what in unreadable(said, read, _ARGUMENTS))
        told, heard = (Side(one["result"], doc) for one, doc in ((found, _defs(offered)), (wanted, _defs(expected))))
        yield from (f"{address}: answer: {what}" for what in unreadable(told, heard, _GONE if newer else LENIENT))


def _shapes(section: str, word: str, expected: Json, offered: Json, how: Reading) -> Iterator[str]:
    """What is told, to whoever reads it."""
    there = _table(offered, section)
    for name, wanted in _table(expected, section).items():
        if name not in there:
            yield f"{word} {name}: is not there"
            continue
        told, heard = Side(there[name]["schema"], _defs(offered)), Side(wanted["schema"], _defs(expected))
        yield from (f"{word} {name}: {what}" for what in unreadable(told, heard, how))


def _written(expected: Json, offered: Json) -> Iterator[str]:
    """Rows that were written by those who expect, to whoever offers them."""
    there = _table(offered, "resources")
    for name, wanted in _table(expected, "resources").items():
        if name in there:
            told, heard = Side(wanted["schema"], _defs(expected)), Side(there[name]["schema"], _defs(offered))
            yield from (f"rows of {name}, as they are written: {what}" for what in unreadable(told, heard))


def _answering(operation: Json) -> str:
    return "a stream of answers" if operation["stream"] else "one answer"


def _table(contract: Json, section: str) -> dict[str, Json]:
    return cast("dict[str, Json]", contract.get(section, {}))


def _defs(contract: Json) -> Json:
    return cast("Json", contract.get("$defs", {}))
