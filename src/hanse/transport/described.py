"""What a transport may tell others of the services that it carries messages to: for brokers with a directory of theirs.

Whoever wires services to a transport hands the descriptions over; a transport that has nobody to tell takes none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import msgspec

from hanse.kernel.message import Message

Json = dict[str, object]


class Refused(msgspec.Struct, frozen=True):
    """A fault, as others are told it.

    Attributes:
        status: Its status, as HTTP has them.
        text: What a stranger may be told.
        problem: The whole, as JSON.
    """

    status: int
    text: str
    problem: bytes


class DescribedOperation(msgspec.Struct, frozen=True):
    """An operation with one answer, for others who speak JSON.

    Attributes:
        name: The second half of its address.
        doc: What it does.
        arguments: JSON Schema of what it takes: an object.
        result: JSON Schema of what it answers with.
        body_of: Makes the body of a message of arguments in JSON. Raises `Malformed` and `Invalid`.
        json_of: Makes JSON of the body of an answer.
        refused: Says what the fault in a reply is.
    """

    name: str
    doc: str
    arguments: Json
    result: Json
    body_of: Callable[[bytes], bytes]
    json_of: Callable[[bytes], bytes]
    refused: Callable[[Message], Refused]


class DescribedService(msgspec.Struct, frozen=True):
    """A service, for others.

    Attributes:
        name: The first half of its addresses.
        version: That of its contract.
        doc: What it does.
        fingerprint: Changes when its promise does.
        operations: Those that answer once.
    """

    name: str
    version: str
    doc: str
    fingerprint: str
    operations: tuple[DescribedOperation, ...]


@runtime_checkable
class TellsOthers(Protocol):
    """A transport that others can ask what is served."""

    def describe(self, service: DescribedService, /) -> None:
        """Tell of a service for as long as it is listened to; asked before `listen` or after."""
        ...
