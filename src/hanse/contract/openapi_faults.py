"""Declared faults in an OpenAPI document: each is a problem with its code, and with the fields that it carries."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping
from typing import cast

import msgspec

from hanse.contract.openapi_parts import AT
from hanse.contract.prose import prose_of
from hanse.contract.schema import Json, schemas_of
from hanse.kernel.faults import Fault

PROBLEM = "application/problem+json"


def fault_name(fault: type[Fault]) -> str:
    """The name under which the document keeps the schema of a fault.

    Example:
        >>> class OutOfStock(Fault): ...
        >>> fault_name(OutOfStock)
        'OutOfStockProblem'
    """
    return f"{fault.__name__}Problem"


def fault_answers(faults: Iterable[type[Fault]], told: Mapping[str, str] | None = None) -> Json:
    """The answers that tell of faults, by status.

    Args:
        faults: What may be raised.
        told: What a docstring says of them, by the name of the class.
    """
    by_status: dict[str, list[type[Fault]]] = {}
    for fault in faults:
        by_status.setdefault(str(fault.status), []).append(fault)
    return {
        status: _answer(sorted(found, key=lambda one: one.code), told or {})
        for status, found in sorted(by_status.items())
    }


def _answer(faults: list[type[Fault]], told: Mapping[str, str]) -> Json:
    codes = " or ".join(fault.code for fault in faults)
    texts = [f"{fault.code}: {told[fault.__name__]}" for fault in faults if fault.__name__ in told]
    schemas: list[Json] = [{"$ref": AT.format(name=fault_name(fault))} for fault in faults]
    return {
        "description": "\n".join([f"The code is {codes}.", *texts]),
        "content": {PROBLEM: {"schema": schemas[0] if len(schemas) == 1 else {"oneOf": schemas}}},
    }


def fields_of(fault: type[Fault]) -> type[msgspec.Struct]:
    """The fields of a fault as a struct; one without a schema may be anything."""
    try:
        hints: dict[str, object] = typing.get_type_hints(fault, include_extras=True)
    except (NameError, TypeError):
        hints = {}
    fields = [(name, _hint(hints.get(name, object))) for name in fault.fields]
    return msgspec.defstruct(f"{fault.__name__}Fields", cast("list[tuple[str, type]]", fields))


def fault_schema(fault: type[Fault], problem: Json, fields: Json) -> Json:
    """The schema of the problem that a fault is.

    Args:
        fault: The fault.
        problem: The schema of any problem.
        fields: The schema of its `fields_of`.
    """
    properties: Json = {
        **cast("Json", problem["properties"]),
        "status": {"const": fault.status},
        "code": {"const": fault.code},
    }
    if fault.fields:
        about: Json = {key: fields[key] for key in ("type", "properties", "required") if key in fields}
        properties["fields"] = {"description": "What the fault carries.", **about}
    doc = prose_of(fault.__doc__ or "").summary or f"The fault {fault.code}."
    return {
        "title": fault_name(fault),
        "description": doc,
        "type": "object",
        "properties": properties,
        "required": problem["required"],
    }


def _hint(hint: object) -> object:
    try:
        _ = schemas_of([hint])
    except TypeError:
        return object
    return hint
