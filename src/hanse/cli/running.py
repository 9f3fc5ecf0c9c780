"""What a running system says that it serves."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from hanse.cli.http import request
from hanse.kernel.faults import Malformed

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


class _Document(msgspec.Struct, frozen=True):
    services: list[Served] = msgspec.field(name="x-hanse-services")
    paths: dict[str, object] = {}


def served_by(base: str, timeout: float) -> list[Served]:
    """The contracts that the system at a URL exposes.

    Raises:
        Unavailable: Nobody answers there.
        Malformed: Who answers is no Hanse gateway.
    """
    with request(f"{base}/openapi.json", timeout=timeout) as answer:
        document = answer.json()
    try:
        found = msgspec.convert(document, _Document)
    except msgspec.ValidationError:
        raise Malformed(f"expected the document of a Hanse gateway at {base}/openapi.json, got another one") from None
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
