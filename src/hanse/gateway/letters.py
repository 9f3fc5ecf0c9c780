"""`/deadletterz`: the dead letters of all services, for `hanse deadletters`; answers operators only.

An operator is whom `identify` gives a scope for dead letters; or whoever knows the token of `gateway.metrics_token`;
or, where there is no such token, who asks on this machine as the node's own user, or as root. The last two say
themselves who they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from hanse.contract.derive import Operation
from hanse.gateway.asgi import Request, Response
from hanse.gateway.body import read_body
from hanse.gateway.front_door import Identify
from hanse.gateway.limits import Limits
from hanse.gateway.peer_user import own_user, user_of, why_not_user
from hanse.gateway.private import Private, refused, why_not_operator
from hanse.gateway.problem import problem_response
from hanse.kernel.codec import codec_for, encode_json
from hanse.kernel.faults import Fault, UnknownOperation
from hanse.kernel.message import Headers, Identity
from hanse.node.letters import READ, letters_contract
from hanse.node.node import Node

NAMED_AS = b"hanse-operator"
"""Header in which an operator of this machine, or with the token, says who they are."""

NAME_CHARACTERS_MAX = 100

SCOPES = frozenset({"deadletters:write"})

_HEADERS = ((b"cache-control", b"no-store"),)


class Asked(msgspec.Struct, frozen=True):
    """What is asked.

    Attributes:
        service: Whose dead letters; empty to be told the names of all services.
        operation: One of `hanse.node.letters.Letters`.
        arguments: Its arguments.
    """

    service: str = ""
    operation: str = ""
    arguments: msgspec.Raw = msgspec.Raw(b"{}")


class LettersPage:
    """The handler of `/deadletterz`, which takes JSON only, so that no page of another site reaches it unasked.

    Args of the constructor:
        node: Whose app it is.
        identify: Says who is asking; None where everybody is anonymous.
        limits: Of a body.
        user_of: Tells the user at the other end of a connection; a proxy that brings strangers is another one.
    """

    posted: bool = True

    def __init__(
        self,
        node: Node,
        identify: Identify | None,
        limits: Limits,
        user_of: Callable[[object], int | None] = user_of,
    ) -> None:
        self._user_of = user_of
        self._node = node
        self._identify = identify
        self._limits = limits

    async def __call__(self, request: Request) -> Response:
        """The answer of the operation, or what is wrong."""
        try:
            identity = await self._operator(request)
            if identity is None:
                return refused(request, self._node.settings.gateway)
            asked = codec_for(Asked).decode_json(await read_body(request, self._limits) or b"{}")
            with self._node.context(Headers(identity=identity)):
                answer = await self._answer(asked)
        except Fault as fault:
            return problem_response(fault)
        return Response(200, encode_json(answer), _HEADERS)

    async def _operator(self, request: Request) -> Identity | None:
        if request.header(b"origin"):
            raise Private(request.path, "a browser asks; use `hanse deadletters`")
        if self._identify is not None:
            try:
                known = await self._identify(request.headers())
            except Fault:
                known = Identity()
            if READ.allows(known):
                return known
        if why_not_operator(request, self._node.settings.gateway):
            return None
        if not self._node.settings.gateway.metrics_token:
            user = await asyncio.to_thread(self._user_of, request.scope.get("client"))
            if why := why_not_user(user, own_user()):
                raise Private(request.path, why)
        name = request.header(NAMED_AS)[:NAME_CHARACTERS_MAX].strip()
        return Identity(name or "operator", scopes=SCOPES)

    async def _answer(self, asked: Asked) -> object:
        names = [part.name for part in self._node.app.parts]
        if not asked.service:
            return names
        operation = operation_of(asked, names)
        arguments = codec_for(operation.arguments).decode_json(bytes(asked.arguments))
        return await self._node.invoke(operation, arguments)


def operation_of(asked: Asked, services: list[str]) -> Operation:
    """What is to be called.

    Raises:
        UnknownOperation: There is no such service, or no such operation.
    """
    if asked.service not in services:
        raise UnknownOperation(f"expected a service, got {asked.service!r}; there are {', '.join(services)}")
    operations = letters_contract(asked.service).operations
    found = operations.get(asked.operation)
    if found is None:
        raise UnknownOperation(f"expected one of {', '.join(operations)}, got {asked.operation!r}")
    return found
