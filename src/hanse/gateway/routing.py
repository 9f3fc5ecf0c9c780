"""`/routez`: who would answer a call that this node made, and why not others; for `hanse explain route`."""

from __future__ import annotations

from urllib.parse import parse_qsl

import msgspec

from hanse.gateway.asgi import Request, Response
from hanse.gateway.private import may_see, refused
from hanse.gateway.problem import problem_response
from hanse.kernel.codec import encode_json
from hanse.kernel.faults import Malformed, UnknownOperation
from hanse.kernel.message import NO_HEADERS, Headers
from hanse.node.node import Node
from hanse.service.service import descriptions_of

FIELDS_MAX = 100
"""Parameters of one request."""

_HEADERS = ((b"cache-control", b"no-store"),)


class Routing:
    """The handler of `/routez?address=orders.place&tenant=acme`."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def __call__(self, request: Request) -> Response:
        """What is decided about a call that carries what the parameters say, for those who may see it."""
        settings = self._node.settings.gateway
        if not may_see(request, settings):
            return refused(request, settings)
        try:
            address, headers = asked_in(request.query)
            self._check(address)
        except (Malformed, UnknownOperation) as fault:
            return problem_response(fault)
        return Response(200, encode_json(self._node.explain(address, headers)), _HEADERS)

    def _check(self, address: str) -> None:
        """Refuse an operation that a contract of the app does not have: whoever serves that would not take it."""
        service, _, name = address.rpartition(".")
        for part in self._node.app.parts:
            for description in descriptions_of(part.cls):
                if description.name == service and name not in description.operations:
                    there = ", ".join(description.operations)
                    raise UnknownOperation(f"{service} has no operation {name!r}; it has {there}")


def asked_in(query: str) -> tuple[str, Headers]:
    """What a request asks about: an address, and what a call carries, named as in `hanse.mesh.routes.Condition`.

    Raises:
        Malformed: There is no address, or something else than calls carry.

    Example:
        >>> asked_in("address=orders.place&tag.beta=yes")[1].tags
        {'beta': 'yes'}
    """
    try:
        fields = parse_qsl(query, keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError:
        raise Malformed(f"expected at most {FIELDS_MAX} parameters") from None
    address, headers = "", NO_HEADERS
    for name, value in fields:
        kind, _, key = name.partition(".")
        if name == "address":
            address = value
        elif name in ("subject", "tenant"):
            headers = msgspec.structs.replace(
                headers, identity=msgspec.structs.replace(headers.identity, **{name: value})
            )
        elif name == "release":
            headers = msgspec.structs.replace(headers, release=value)
        elif kind == "tag" and key:
            headers = msgspec.structs.replace(headers, tags={**headers.tags, key: value})
        elif kind == "header" and key:
            headers = msgspec.structs.replace(headers, extra={**headers.extra, key: value})
        else:
            raise Malformed(f"expected address, subject, tenant, release, tag.NAME or header.NAME, got {name!r}")
    if "." not in address:
        raise Malformed(f"expected ?address=SERVICE.OPERATION, got {address!r}")
    return address, headers
