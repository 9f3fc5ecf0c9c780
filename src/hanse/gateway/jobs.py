"""`Prefer: respond-async`: a job that outlives this process, to be asked for, followed and cancelled.

POST /rpc/reports/year   Prefer: respond-async   ->  202, Location: /operations/reports.0192f3...
GET /operations/reports.0192f3...                ->  how it stands; with its answer, once it has ended
DELETE /operations/reports.0192f3...             ->  have it end
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress
from http import HTTPStatus

import msgspec

from hanse.contract.derive import Operation
from hanse.gateway.asgi import EVENT_STREAM, Request, Response
from hanse.gateway.preconditions import digest, is_same
from hanse.gateway.prefer import Preferences
from hanse.gateway.problem import known, problem_response
from hanse.gateway.sse import sse_form
from hanse.gateway.streams import HttpStream, Streams
from hanse.kernel.closing import closing
from hanse.kernel.codec import codec_for, encode, encode_json
from hanse.kernel.faults import NotFound
from hanse.kernel.message import Kind
from hanse.mesh.fault import fault_in
from hanse.node.node import Node
from hanse.service.job import JobState, Standing
from hanse.service.service import descriptions_of

_EVENT = b"event: status\ndata: %b\n\n"
_AFTER_A_SECOND = (b"retry-after", b"1")
_TOLD = frozenset({b"location", b"etag", b"retry-after"})

Telling = Callable[[str, bytes], Response]
"""What a client is told of an answer: of where the application is, and of the answer in MessagePack."""


class Answered(msgspec.Struct, frozen=True):
    """What the call was answered with."""

    status: int
    headers: dict[str, str]
    body: msgspec.Raw


class _Callable(msgspec.Struct, frozen=True):
    """What may be called later: the operation, the contract whose jobs call it, and how its answer is told."""

    operation: Operation
    contract: str
    told: Telling


class JobStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a job stands, as clients see it.

    Attributes:
        id: Its name.
        operation: `service.operation`.
        status: How it stands.
        began, ended: Wall-clock seconds at which it was asked for and ended; `ended` is missing until it has.
        progress: From 0 to 1; missing where the operation says nothing of it.
        text: What it says of its progress.
        answer: What it was answered with; missing until then.
    """

    id: str
    operation: str
    status: JobState
    began: float
    ended: float | None = None
    progress: float | None = None
    text: str = ""
    answer: Answered | None = None


class JobRoutes:
    """The jobs that clients of one gateway asked for.

    Args of the constructor:
        path: Where they are, without the id.
        node: Reaches the services.
        streams: Where those that follow are counted.
    """

    def __init__(self, path: str, node: Node, streams: Streams) -> None:
        self.path: str = path
        self.node: Node = node
        self._streams = streams
        self._form = sse_form(streams.limits.retry_seconds, end=b"event: end\ndata: {}\n\n")
        self._known: dict[str, _Callable] = {}
        for part in node.app.parts:
            for description in descriptions_of(part.cls):
                for operation in description.operations.values():
                    self.add(operation, description.name, _telling(operation))

    def add(self, operation: Operation, contract: str, told: Telling) -> None:
        """Have an operation be one that may be called later.

        Args:
            operation: Which.
            contract: That has it, or of the service that does: its jobs make the call.
            told: How its answer is told.
        """
        self._known[operation.address] = _Callable(operation, contract, told)

    def takes(self, operation: Operation, preferences: Preferences) -> bool:
        """Whether a call is to be a job."""
        return preferences.later and operation.address in self._known

    async def start(
        self,
        request: Request,
        preferences: Preferences,
        operation: Operation,
        arguments: msgspec.Struct,
        told: Telling | None = None,
    ) -> Response:
        """Begin a job; its answer, where that comes within the time that the client would wait, or where it will be.

        Args:
            request: That asks for it.
            preferences: Of the client.
            operation: What is called.
            arguments: For it.
            told: How its answer is told to this client; by default as to all.
        """
        contract = self._known[operation.address].contract
        standing = await self.node.jobs(contract).start(operation.address, encode(arguments))
        if preferences.wait:
            standing = await self._awaited(contract, standing, preferences.wait)
        if answer := self._answer(standing, request.root, told):
            return answer
        status = self._status(standing, request.root)
        location = f"{request.root}{self.path}/{status.id}".encode()
        headers = ((b"location", location), (b"preference-applied", b"respond-async"), _AFTER_A_SECOND)
        return Response(HTTPStatus.ACCEPTED, encode_json(status), headers)

    async def get(self, request: Request) -> Response | None:
        """How a job stands; as a stream that ends with it, where the client asks for events.

        Raises:
            NotFound: There is none, it is somebody else's, or it was forgotten.
        """
        contract, id = self._named(request)
        if request.method == "GET" and request.accepts(EVENT_STREAM):
            events = self._events(self.node.jobs(contract).follow(id), request.root)
            await HttpStream(request, self._streams, self._form, ((b"vary", b"accept"),)).run(events)
            return None
        standing = await self.node.jobs(contract).get(id)
        body = encode_json(self._status(standing, request.root))
        tag = digest(body)
        headers = ((b"etag", tag), (b"vary", b"accept"), (b"cache-control", b"no-store"))
        if is_same(request.header(b"if-none-match"), tag):
            return Response(HTTPStatus.NOT_MODIFIED, b"", headers, "")
        return Response(HTTPStatus.OK, body, headers if standing.ended else (*headers, _AFTER_A_SECOND))

    async def cancel(self, request: Request) -> Response:
        """Have a job end; one that has ended stays as it is.

        Raises:
            NotFound: There is none, it is somebody else's, or it was forgotten.
        """
        contract, id = self._named(request)
        standing = await self.node.jobs(contract).cancel(id)
        return Response(HTTPStatus.OK, encode_json(self._status(standing, request.root)))

    def _named(self, request: Request) -> tuple[str, str]:
        name = request.parameters["id"]
        contract, _, id = name.rpartition(".")
        if not any(one.contract == contract for one in self._known.values()):
            raise NotFound("operation", name[:100])
        return contract, id

    async def _awaited(self, contract: str, standing: Standing, seconds: float) -> Standing:
        """How a job stands once it has ended, or after some seconds."""
        last = standing
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), closing(self.node.jobs(contract).follow(standing.id)) as told:
                async for last in told:  # noqa: B007 - the last one counts
                    pass
        return last

    async def _events(self, told: AsyncIterator[Standing], root: str) -> AsyncGenerator[bytes, None]:
        async with closing(told) as standings:
            async for standing in standings:
                yield _EVENT % encode_json(self._status(standing, root))

    def _status(self, standing: Standing, root: str) -> JobStatus:
        answer, known = self._answer(standing, root), self._known.get(standing.address)
        contract = standing.address.rpartition(".")[0] if known is None else known.contract
        return JobStatus(
            f"{contract}.{standing.id}",
            standing.address,
            standing.state,
            standing.asked_at,
            standing.ended_at or None,
            None if standing.progress < 0.0 else standing.progress,
            standing.text,
            None if answer is None else _answered(answer),
        )

    def _answer(self, standing: Standing, root: str, told: Telling | None = None) -> Response | None:
        """What the call was answered with, as the client would have been told at once."""
        reply, called = standing.reply(), self._known.get(standing.address)
        if reply is None or called is None:
            return None
        if reply.kind is Kind.FAULT:
            fault = known(fault_in(reply, called.operation.options.faults), self.node.host)
            return problem_response(fault, listed=type(fault) in self._streams.faults)
        return (told or called.told)(root, reply.body)


def _telling(operation: Operation) -> Telling:
    result = codec_for(operation.result)
    return lambda root, body: Response(HTTPStatus.OK, encode_json(result.decode(body)))  # noqa: ARG005 - no place


def _answered(answer: Response) -> Answered:
    headers = {name.decode(): value.decode("latin-1") for name, value in answer.headers if name in _TOLD}
    return Answered(answer.status, headers, msgspec.Raw(answer.body or b"null"))
