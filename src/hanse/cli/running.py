"""What a running system says that it serves."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from hanse.cli.problem import PROBLEM, problem_of
from hanse.cli.remote import Remote
from hanse.kernel.faults import Fault, Forbidden, Malformed, Unavailable

_SERVER_ERROR = 500
_CALL = re.compile(r".*/rpc/(?P<service>[^/{}]+)/(?P<operation>[^/{}]+)")


class Served(msgspec.Struct, frozen=True):
    """A contract that is served, in short."""

    name: str
    version: str
    fingerprint: str
    operations: list[str] = []
    description: str = ""

    @property
    def addresses(self) -> list[str]:
        """Where its operations are called."""
        return [f"{self.name}.{operation}" for operation in self.operations]


class Fed(msgspec.Struct, frozen=True):
    """A collection or a topic that is served: its path below the system's URL, and what the outside may do."""

    path: str
    live: bool = False
    write: bool = False
    emit: bool = False


class Document(msgspec.Struct, frozen=True):
    """What the OpenAPI document of a running system tells that commands need."""

    services: list[Served] = msgspec.field(name="x-hanse-services")
    collections: dict[str, Fed] = msgspec.field(name="x-hanse-collections", default_factory=dict[str, Fed])
    topics: dict[str, Fed] = msgspec.field(name="x-hanse-topics", default_factory=dict[str, Fed])
    paths: dict[str, dict[str, object]] = {}
    components: dict[str, dict[str, object]] = {}


def document_of(remote: Remote) -> Document:
    """What a running system says about itself.

    Raises:
        Unavailable: Nobody answers there, or not now.
        Forbidden: It does not tell this to who asks.
        Malformed: Who answers is no Hanse gateway.
    """
    with remote.ask("/openapi.json") as answer:
        document = answer.json()
    if answer.type == PROBLEM:
        raise _refused(remote, document)
    try:
        return msgspec.convert(document, Document)
    except msgspec.ValidationError:
        where = f"{remote.base}/openapi.json"
        raise Malformed(f"expected the document of a Hanse gateway at {where}, got another one") from None


def _refused(remote: Remote, document: object) -> Fault:
    problem = problem_of(document)
    said = f"{remote.base} does not say what it serves: {problem.detail or problem.title}"
    if problem.status >= _SERVER_ERROR:
        return Unavailable(said)
    return Forbidden(f"{said}; say who asks with --header, such as --header 'Authorization: Bearer ...'")


def served_by(remote: Remote) -> list[Served]:
    """The contracts that a running system exposes.

    Raises:
        Unavailable: Nobody answers there, or not now.
        Forbidden: It does not tell this to who asks.
        Malformed: Who answers is no Hanse gateway.
    """
    found = document_of(remote)
    return with_operations(found.services, found.paths)


def with_operations(services: Iterable[Served], paths: Iterable[str]) -> list[Served]:
    """The contracts, with the operations that the paths of the document name.

    Example:
        >>> with_operations([Served("greeter", "1", "ab")], ["/rpc/greeter/hello", "/orders"])[0].addresses
        ['greeter.hello']
    """
    calls = [match for path in paths if (match := _CALL.fullmatch(path))]
    return [
        msgspec.structs.replace(one, operations=[call["operation"] for call in calls if call["service"] == one.name])
        for one in services
    ]
