"""An object of a test's that answers for a contract, in place of the service that does."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any, final

from hanse.contract.declare import is_contract
from hanse.contract.derive import Description, Operation, describe
from hanse.kernel.faults import Misdeclared
from hanse.kernel.host import Host
from hanse.kernel.message import Kind, Message
from hanse.mesh.server import Server
from hanse.node.app import App, Part
from hanse.node.bind import endpoint
from hanse.node.events import subscriptions_of
from hanse.service.service import descriptions_of
from hanse.store.memory import MemoryStore
from hanse.transport.base import Receiver

_CALLS_MAX = 10_000


@final
class _Deaf:
    """Acknowledges whatever it is told, and does nothing: what the service that is gone had subscribed to."""

    async def serve(self, message: Message, /) -> Message:
        return Message(Kind.REPLY, message.id, "")

    async def serve_stream(self, message: Message, /) -> AsyncIterator[Message]:
        yield Message(Kind.END, message.id, "")


def receivers_of(app: App, part: Part, contract: type, instance: object, host: Host) -> dict[str, Receiver]:
    """Who answers in place of a service, by the name that they serve.

    Args:
        app: Of which the service is a part.
        part: The service that is gone.
        contract: What it is asked for: a contract that it keeps, or its class.
        instance: Answers for the operations of the contract.
        host: Where that happens.

    Raises:
        Misdeclared: The instance lacks an operation, or takes other arguments.
    """
    receivers: dict[str, Receiver] = {one.service: _Deaf() for one in subscriptions_of(app) if one.part is part}
    for description in [describe(contract)] if is_contract(contract) else descriptions_of(part.cls):
        server, store = Server(host, calls_max=_CALLS_MAX), MemoryStore()
        for operation in description.operations.values():
            server.add(operation.address, endpoint(operation, _method(instance, description, operation), store))
        receivers[description.name] = server
    return receivers


def _method(instance: object, description: Description, operation: Operation) -> Callable[..., Any]:
    """The method of an operation, if it can be called as the contract says."""
    found: Callable[..., Any] | None = getattr(instance, operation.name, None)
    where = f"{type(instance).__name__}.{operation.name}"
    if not callable(found):
        missing = [name for name in description.operations if not callable(getattr(instance, name, None))]
        raise Misdeclared(f"{type(instance).__name__} has no {', '.join(missing)}, which {description.name} promises")
    names = operation.arguments.__struct_fields__
    signature = inspect.signature(found)
    by_name = any(parameter.kind is parameter.KEYWORD_ONLY for parameter in signature.parameters.values())
    try:
        _ = signature.bind(**dict.fromkeys(names)) if by_name else signature.bind(*names)
    except TypeError as error:
        raise Misdeclared(
            f"{where} does not take what {description.name} says: {error}; it takes ({', '.join(names)}) there"
        ) from None
    if operation.stream == inspect.iscoroutinefunction(found):
        wanted = "yield items" if operation.stream else "be an `async def` that returns its answer"
        raise Misdeclared(f"{where} has to {wanted}, as {description.name} says")
    return found
