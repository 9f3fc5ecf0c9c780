"""Contracts as transports tell others of them: JSON in, JSON out."""

from __future__ import annotations

from collections.abc import Callable

from hanse.contract.derive import Description, Operation
from hanse.contract.schema import Json, schemas_of
from hanse.kernel.codec import codec_for, encode_json
from hanse.kernel.faults import RemoteFault
from hanse.kernel.finite import checked_arguments
from hanse.kernel.message import Message
from hanse.mesh.fault import fault_in
from hanse.transport.described import DescribedOperation, DescribedService, Refused


def described(description: Description) -> DescribedService:
    """A contract for others who speak JSON; operations that answer with streams are left out.

    Example:
        >>> from hanse import Service, rpc
        >>> from hanse.service.service import descriptions_of
        >>> class Greeter(Service):
        ...     @rpc
        ...     async def hello(self, name: str) -> str:
        ...         return f"hello {name}"
        >>> [operation.name for operation in described(descriptions_of(Greeter)[0]).operations]
        ['hello']
    """
    operations = tuple(_operation(one) for one in description.operations.values() if not one.stream)
    return DescribedService(description.name, description.version, description.doc, description.fingerprint, operations)


def _operation(operation: Operation) -> DescribedOperation:
    arguments, result = codec_for(operation.arguments), codec_for(operation.result)
    (takes, gives), definitions = schemas_of([operation.arguments, operation.result])
    return DescribedOperation(
        name=operation.name,
        doc=operation.doc,
        arguments=_whole(takes, definitions),
        result=_whole(gives, definitions),
        body_of=lambda json: arguments.encode(checked_arguments(arguments.decode_json(json))),
        json_of=lambda body: result.encode_json(result.decode(body)),
        refused=_refused(operation),
    )


def _whole(schema: Json, definitions: Json) -> Json:
    """A schema that can be read without its surroundings."""
    return {**schema, "$defs": definitions} if definitions else schema


def _refused(operation: Operation) -> Callable[[Message], Refused]:
    declared = operation.options.faults

    def refused(reply: Message) -> Refused:
        fault = fault_in(reply, declared)
        values = {name: getattr(fault, name) for name in fault.fields}
        code = fault.remote_code if isinstance(fault, RemoteFault) else fault.code
        return Refused(
            fault.status, fault.detail, encode_json({"code": code, "detail": fault.detail, "fields": values})
        )

    return refused
