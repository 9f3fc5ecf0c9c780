"""What a step came to, as its journal keeps it: rows among it know the revision that they were written with.

A row is told the revision of its write when that is committed, and what a step came to is in the same commit. So the
journal has such a row with a negative number: how many entries it stands before the step's own, in the log of both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import msgspec

from hanse.contract.model import Resource
from hanse.delivery.saga_rows import SagaStep
from hanse.kernel.codec import codec_for, stored_json
from hanse.service.unit import Unit

_AHEAD = '"rev":-'


def kept_result(value: object, unit: Unit) -> str:
    """A result in JSON, for a step that is the next row of a unit of work.

    Raises:
        TypeError, NotImplementedError: It cannot be encoded.
    """
    before = unit.revise(lambda place, count: place - count)
    try:
        return stored_json(value).decode()
    finally:
        _ = unit.revise(lambda place, _: before[place])


def result_in(step: SagaStep, kind: Any) -> Any:  # noqa: ANN401 - a type, or a form of one
    """What a step came to, typed.

    Args:
        step: As it is stored.
        kind: The type.

    Raises:
        Invalid, Malformed: It does not fit the type.
    """
    value = codec_for(kind).decode_json(step.result.encode())
    if _AHEAD in step.result:
        for row in _rows_in(value):
            if row.rev < 0:
                msgspec.structs.force_setattr(row, "rev", step.rev + row.rev)
    return value


def _rows_in(value: object) -> Iterator[Resource]:
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, Resource):
            yield one
        left += _parts(one)


def _parts(value: object) -> list[object]:
    if isinstance(value, msgspec.Struct):
        return [getattr(value, name) for name in value.__struct_fields__]
    if isinstance(value, Mapping):
        return list(cast("Mapping[object, object]", value).values())
    if isinstance(value, (list, tuple, set, frozenset)):
        return list(cast("list[object]", value))
    return []
