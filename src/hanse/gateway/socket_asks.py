"""What a WebSocket may ask for: everything that is exposed over HTTP, by collection and by operation."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import assert_never

import msgspec

from hanse.contract.derive import Operation
from hanse.contract.model import Resource, collection_of, topic_of
from hanse.contract.openapi import OperationPath
from hanse.contract.openapi_rest import ResourcePath
from hanse.contract.openapi_topics import TopicPath
from hanse.gateway.events import ToldTopic
from hanse.gateway.exposed import page_body
from hanse.gateway.fields import Wrong
from hanse.gateway.filters import limit_of, orders, where_in
from hanse.gateway.projection import projection
from hanse.gateway.socket_protocol import Ask, Call, Create, Delete, Get, List, Listen, Patch, Put, Subscribe
from hanse.gateway.sse import checked_cursor
from hanse.gateway.view import Source
from hanse.kernel.codec import codec_for, encode_json
from hanse.kernel.faults import Fault, Forbidden, Invalid, NotFound, UnknownOperation
from hanse.kernel.finite import checked
from hanse.node.node import Node
from hanse.service.rows import Rows, Written
from hanse.store.query import Query


class Exposed(msgspec.Struct, frozen=True):
    """A collection as a socket sees it."""

    kind: type[Resource]
    rows: Rows
    live: bool
    write: bool


_METHODS: Mapping[type, str] = {Call: "POST", Create: "POST", Put: "PUT", Patch: "PATCH", Delete: "DELETE"}


class Live:
    """Does what sockets ask for.

    Attributes:
        streaming: Addresses of the operations that answer with a stream.
        faults: Those that an operation lists: what they carry is public.
    """

    def __init__(
        self,
        collections: Mapping[str, Exposed],
        operations: Mapping[str, Operation],
        node: Node,
        topics: Mapping[str, ToldTopic] = {},
        paths: Mapping[str, str] = {},
    ) -> None:
        self._collections = collections
        self._topics = topics
        self._operations = operations
        self._node = node
        self._paths = paths
        self.faults: frozenset[type[Fault]] = frozenset(
            fault for one in operations.values() for fault in one.options.faults
        )
        self.streaming: frozenset[str] = frozenset(name for name, one in operations.items() if one.stream)

    @classmethod
    def of(
        cls,
        resources: Iterable[ResourcePath],
        operations: Iterable[OperationPath],
        node: Node,
        topics: Iterable[TopicPath] = (),
    ) -> Live:
        """What a gateway exposes of a node."""
        return cls(
            {collection_of(one.kind): Exposed(one.kind, node.rows(one.kind), one.live, one.write) for one in resources},
            {one.operation.address: one.operation for one in operations},
            node,
            {topic_of(one.kind): ToldTopic(one.kind, node) for one in topics if one.live},
            {one.operation.address: one.path for one in operations if not one.own}
            | {collection_of(one.kind): one.path for one in resources},
        )

    def place(self, ask: Ask | Subscribe | Listen) -> tuple[str, str]:
        """The method and path by which HTTP would ask for the same, as rates know it."""
        name = ask.address if isinstance(ask, Call) else "" if isinstance(ask, Listen) else ask.collection
        path = self._paths.get(name, "/live")
        return _METHODS.get(type(ask), "GET"), f"{path}/{ask.key}" if isinstance(
            ask, (Get, Put, Patch, Delete)
        ) else path

    def heard(self, ask: Listen) -> AbstractAsyncContextManager[AsyncGenerator[bytes, None]]:
        """What is told of a topic: objects without their beginning, which is the id that they are told under.

        Raises:
            NotFound: The topic is not exposed, or not to be followed.
        """
        topic = self._topics.get(ask.topic)
        if topic is None:
            raise NotFound("topic", ask.topic[:200])
        return topic.messages(ask.after)

    def source(self, ask: Subscribe) -> Source:
        """What is subscribed to.

        Raises:
            NotFound: The collection is not exposed.
            Forbidden: Its changes are not.
            Invalid, Malformed: The filter, the fields or the cursor cannot be.
        """
        exposed = self._exposed(ask.collection)
        if not exposed.live:
            raise Forbidden(f"the changes of {ask.collection} are not exposed; list it instead")
        _ = checked_cursor(ask.after)
        where = where_in(exposed.kind, ask.where)
        try:
            return Source(exposed.kind, where, projection(exposed.kind, ask.fields))
        except Wrong as wrong:
            raise Invalid(wrong.flaw.detail, [wrong.flaw]) from None

    def items(self, ask: Call) -> AsyncIterator[object]:
        """The items of an operation that streams."""
        return self._node.stream(*self._called(ask))

    async def answer(self, ask: Ask) -> bytes:
        """The answer as JSON."""
        if isinstance(ask, Call):
            return encode_json(await self._node.invoke(*self._called(ask)))
        exposed = self._exposed(ask.collection)
        if isinstance(ask, Get):
            row = await exposed.rows.get(ask.key)
            return _row(row.id, row.rev, row.value)
        if isinstance(ask, List):
            return await _page(exposed, ask)
        if not exposed.write:
            raise Forbidden(f"{ask.collection} is exposed for reading only")
        return await _write(exposed.rows, ask)

    def _called(self, ask: Call) -> tuple[Operation, msgspec.Struct]:
        operation = self._operations.get(ask.address)
        if operation is None:
            raise UnknownOperation(f"there is no operation {ask.address[:200]}; openapi.json lists those that are")
        return operation, checked(codec_for(operation.arguments).decode_json(bytes(ask.arguments)))

    def _exposed(self, collection: str) -> Exposed:
        exposed = self._collections.get(collection)
        if exposed is None:
            raise NotFound("collection", collection[:200])
        return exposed


async def _page(exposed: Exposed, ask: List) -> bytes:
    where = where_in(exposed.kind, ask.where)
    try:
        query = Query(where, orders(exposed.kind, ask.sort), limit_of(ask.limit), ask.cursor)
    except Wrong as wrong:
        raise Invalid(wrong.flaw.detail, [wrong.flaw]) from None
    found = await exposed.rows.find(query)
    return page_body(
        [row.value for row in found.rows], found.next, await exposed.rows.count(where) if ask.total else None
    )


async def _write(rows: Rows, ask: Create | Put | Patch | Delete) -> bytes:
    match ask:
        case Create():
            return _written(await rows.create(bytes(ask.value), ask.key))
        case Put():
            return _written(await rows.put(ask.key, bytes(ask.value), ask.rev))
        case Patch():
            return _written(await rows.patch(ask.key, bytes(ask.value), ask.rev))
        case Delete():
            await rows.delete(ask.key, ask.rev)
            return b"null"
        case _:
            assert_never(ask)


def _written(written: Written) -> bytes:
    return _row(written.id, written.rev, written.value)


def _row(id: str, rev: int, value: bytes) -> bytes:
    return b'{"key":%b,"rev":%d,"value":%b}' % (encode_json(id), rev, value)
