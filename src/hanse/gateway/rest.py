"""REST for the rows of a resource: list, create, read, write, patch, delete.

Rows come from their owner as JSON bytes and are passed on as they are: nothing is decoded and encoded again.
"""

from __future__ import annotations

from urllib.parse import parse_qsl, quote, urlencode

from hanse.contract.model import Resource, collection_of, topic_of
from hanse.gateway.asgi import JSON, Header, Request, Response
from hanse.gateway.body import read_body
from hanse.gateway.filters import asked
from hanse.gateway.limits import Limits
from hanse.gateway.preconditions import ANY, etag, is_known, revisions_in
from hanse.gateway.projection import Project
from hanse.gateway.routes import Handler
from hanse.kernel.codec import encode_json
from hanse.kernel.faults import NotFound, PreconditionFailed
from hanse.service.rows import Rows, Written
from hanse.store.base import Found, Row

MERGE_PATCH = "application/merge-patch+json"
PATCHES = (MERGE_PATCH, JSON)
TRIES_MAX = 3
"""How often a write "whatever revision it is at" is tried when others write in between."""


class ResourceRoutes:
    """The handlers of one resource.

    Args of the constructor:
        kind: The resource.
        rows: Where its rows are.
        limits: Of request bodies.
        follow: Answers a request of the list path for an event stream; None where changes are not exposed.
        write: Whether the outside may write.
    """

    def __init__(
        self, kind: type[Resource], rows: Rows, limits: Limits, *, follow: Handler | None, write: bool
    ) -> None:
        self._kind = kind
        self._rows = rows
        self._limits = limits
        self._follow = follow
        self._write = write

    def collection_methods(self) -> dict[str, Handler]:
        """Handlers of the list path."""
        return {"GET": self.page, "POST": self.create} if self._write else {"GET": self.page}

    def row_methods(self) -> dict[str, Handler]:
        """Handlers of one row's path."""
        reading: dict[str, Handler] = {"GET": self.get}
        writing: dict[str, Handler] = {"PUT": self.put, "PATCH": self.patch, "DELETE": self.delete}
        return reading | writing if self._write else reading

    async def page(self, request: Request) -> Response | None:
        """A page of rows, or the stream of their changes where the client asks for one."""
        if self._follow is not None and request.method == "GET" and request.accepts("text/event-stream"):
            return await self._follow(request)
        wanted = asked(self._kind, request.query)
        found = await self._rows.find(wanted.query)
        total = await self._rows.count(wanted.query.where) if wanted.total else None
        link = () if found.next is None else ((b"link", next_link(request, found.next)),)
        if wanted.project is not None:
            found = projected(found, wanted.project)
        return Response(200, page_body(found, total), (*link, (b"vary", b"accept")))

    async def get(self, request: Request) -> Response:
        """One row."""
        row = await self._rows.get(request.parameters["id"])
        tag: Header = (b"etag", etag(row.rev))
        if is_known(request.header(b"if-none-match"), row.rev):
            return Response(304, b"", (tag,), "")
        return Response(200, row.value, (tag,))

    async def create(self, request: Request) -> Response:
        """A new row."""
        body = await read_body(request, self._limits)
        written = await self._rows.create(body)
        return self._written(request, written, f"{request.path}/{quote(written.id, safe='')}")

    async def put(self, request: Request) -> Response:
        """A row, written whole."""
        id = request.parameters["id"]
        body = await read_body(request, self._limits)
        if request.header(b"if-none-match").strip() == ANY:
            return self._written(request, await self._rows.put(id, body, 0), request.path)
        condition = request.header(b"if-match").strip()
        tries = TRIES_MAX if condition == ANY else 1
        while True:
            tries -= 1
            expected = await self._expected(id, condition, must_exist=True)
            try:
                return self._written(request, await self._rows.put(id, body, expected), request.path)
            except PreconditionFailed:
                if not tries:
                    raise

    async def patch(self, request: Request) -> Response:
        """Some fields of a row."""
        id = request.parameters["id"]
        body = await read_body(request, self._limits, PATCHES)
        expected = await self._expected(id, request.header(b"if-match").strip())
        return self._written(request, await self._rows.patch(id, body, expected), request.path)

    async def delete(self, request: Request) -> Response:
        """No row any more."""
        id = request.parameters["id"]
        await self._rows.delete(id, await self._expected(id, request.header(b"if-match").strip()))
        return Response(204, type="")

    async def _expected(self, id: str, condition: str, *, must_exist: bool = False) -> int | None:
        """The one revision that If-Match lets pass; None for any."""
        if not condition or (condition == ANY and not must_exist):
            return None
        revisions = revisions_in(condition, weak=False)
        if len(revisions) == 1:
            return next(iter(revisions))
        try:
            row = await self._rows.get(id)
        except NotFound:
            raise PreconditionFailed(topic_of(self._kind), id, condition, "none") from None
        if condition != ANY and row.rev not in revisions:
            raise PreconditionFailed(topic_of(self._kind), id, condition, str(row.rev))
        return row.rev

    def _written(self, request: Request, written: Written, path: str) -> Response:
        headers: list[Header] = [(b"etag", etag(written.rev))]
        if written.created:
            headers.append((b"location", f"{request.root}{path}".encode()))
        return Response(201 if written.created else 200, written.value, tuple(headers))


def default_path(kind: type[Resource]) -> str:
    """Where a resource is exposed unless one says otherwise.

    Example:
        >>> class Order(Resource): ...
        >>> default_path(Order)
        '/orders'
    """
    return f"/{collection_of(kind)}"


def projected(found: Found, project: Project) -> Found:
    """A page of which only some fields of each row are wanted."""
    return Found(tuple(Row(row.id, row.rev, project(row.value)) for row in found.rows), found.next)


def page_body(found: Found, total: int | None) -> bytes:
    """A page as JSON, of rows that are JSON already."""
    counted = b"" if total is None else b',"total":%d' % total
    return b'{"items":[%b],"next":%b%b}' % (
        b",".join([row.value for row in found.rows]),
        encode_json(found.next),
        counted,
    )


def next_link(request: Request, cursor: str) -> bytes:
    """The Link header to the page after this one."""
    pairs = [(name, value) for name, value in parse_qsl(request.query, keep_blank_values=True) if name != "cursor"]
    return f'<{request.root}{request.path}?{urlencode([*pairs, ("cursor", cursor)])}>; rel="next"'.encode()
