"""REST for the rows of a resource: list, query, create, read, write, patch, delete; one or many.

What HTTP says is taken apart here, and put together again; what is done is `ExposedRows`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl, urlencode

from hanse.contract.model import topic_of
from hanse.contract.openapi_rest import PART
from hanse.gateway.accept import liked_best, wants_only
from hanse.gateway.asgi import EVENT_STREAM, JSON, Header, Request, Response
from hanse.gateway.body import read_body
from hanse.gateway.declared import list_methods, row_methods
from hanse.gateway.exposed import WHOLE, ExposedRows, Shown
from hanse.gateway.filters import Asked, asked, asked_in, asked_of_row, ids_in
from hanse.gateway.later import LaterWrites
from hanse.gateway.limits import Limits
from hanse.gateway.lines import JSON_LINES, LINES
from hanse.gateway.preconditions import ANY, digest, etag, is_known, is_same, revisions_in
from hanse.gateway.prefer import preferences_in
from hanse.gateway.problem import NotAcceptable
from hanse.gateway.routes import Handler
from hanse.gateway.streams import HttpStream, Streams
from hanse.gateway.written import part_of_path, removed_response, several_response, written_response
from hanse.kernel.codec import codec_for
from hanse.kernel.faults import Flaw, Invalid, NotFound, PreconditionFailed
from hanse.service.rows import PatchForm

MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
FORMS: Mapping[str, PatchForm] = {MERGE_PATCH: "merge", JSON_PATCH: "json", JSON: "merge"}
"""How a patch is written, by its media type."""

ACCEPT_QUERY: Header = (b"accept-query", JSON.encode())
ACCEPT_PATCH: Header = (b"accept-patch", ", ".join(FORMS).encode())

_VARY: Header = (b"vary", b"accept")
_document = codec_for(dict[str, object])


class ResourceRoutes:
    """The handlers of one resource.

    Args of the constructor:
        exposed: Its rows.
        streams: Where lists as JSON Lines are counted.
        later: Its writes that are answered later.
        follow: Answers a request of the list path for an event stream; None where changes are not exposed.
    """

    def __init__(self, exposed: ExposedRows, streams: Streams, later: LaterWrites, *, follow: Handler | None) -> None:
        self._exposed = exposed
        self._kind = exposed.kind
        self._rows = exposed.rows
        self._streams = streams
        self._limits: Limits = streams.limits
        self._later = later
        self._follow = follow
        self._forms = (JSON, JSON_LINES) if follow is None else (JSON, JSON_LINES, EVENT_STREAM)

    def collection_methods(self) -> dict[str, Handler]:
        """Handlers of the list path."""
        reading: dict[str, Handler] = {"GET": self.page, "QUERY": self.query}
        methods = {**reading, "POST": self.create, "DELETE": self.delete_many}
        return {method: methods[method] for method in list_methods(self._exposed.resource)}

    def row_methods(self) -> dict[str, Handler]:
        """Handlers of one row's path."""
        reading: dict[str, Handler] = {"GET": self.get}
        methods = {**reading, "PUT": self.put, "PATCH": self.patch, "DELETE": self.delete}
        return {method: methods[method] for method in row_methods(self._exposed.resource)}

    async def page(self, request: Request) -> Response | None:
        """A page of rows, all of them as JSON Lines, or the stream of their changes, as the client asks.

        Raises:
            NotAcceptable: It asks for the stream of changes and nothing else, where there is none.
        """
        wanted = asked(self._kind, request.query)
        form = _form(request, self._forms)
        if self._follow is not None and form == EVENT_STREAM and request.method == "GET":
            _refuse_in_streams(wanted)
            return await self._follow(request)
        return await self._listed(request, wanted, lines=form == JSON_LINES, linked=True)

    async def query(self, request: Request) -> Response | None:
        """As `page`, of what a JSON document asks for."""
        if request.query:
            flaw = Flaw("", "choice", "QUERY takes everything from its body; expected no query string")
            raise Invalid(flaw.detail, [flaw])
        body = await read_body(request, self._limits)
        wanted = asked_in(self._kind, _document.decode_json(body or b"{}"))
        lines = _form(request, (JSON, JSON_LINES)) == JSON_LINES
        return await self._listed(request, wanted, lines=lines, linked=False)

    async def _listed(self, request: Request, wanted: Asked, *, lines: bool, linked: bool) -> Response | None:
        if lines:
            rows = self._exposed.lines(wanted)
            if request.method == "HEAD":
                return Response(200, b"", (_VARY,), JSON_LINES)
            await HttpStream(request, self._streams, LINES, (_VARY,)).run(rows)
            return None
        body, cursor = await self._exposed.page(wanted)
        tag = digest(body)
        headers: list[Header] = [(b"etag", tag), _VARY]
        if linked and (links := links_of_page(request, cursor)):
            headers.append((b"link", links))
        if is_same(request.header(b"if-none-match"), tag):
            return Response(304, b"", tuple(headers), "")
        return Response(200, body, tuple(headers), JSON if wanted.project is None else PART)

    async def get(self, request: Request) -> Response:
        """One row."""
        _check_wanted(request, (JSON,))
        id = request.parameters["id"]
        shown = self._shown(request.query) if request.query else WHOLE
        row = await (self._rows.get(id) if shown is WHOLE else self._exposed.get(id, shown))
        if (condition := request.header(b"if-match")) and condition.strip() != ANY:
            self._check(id, condition, row.rev)
        # With what its links lead to it changes without a revision of its own.
        tag = digest(row.value) if shown.steps else etag(row.rev)
        known = request.header(b"if-none-match")
        if known and (is_same(known, tag) if shown.steps else is_known(known, row.rev)):
            return Response(304, b"", ((b"etag", tag),), "")
        return Response(200, row.value, ((b"etag", tag),), JSON if shown.project is None else PART)

    async def create(self, request: Request) -> Response:
        """A new row; of a list, a new row for each of its values, all or none."""
        body = await read_body(request, self._limits)
        preferences = preferences_in(request.header(b"prefer"))
        many = body[:1] != b"{" and body.lstrip()[:1] == b"["
        if preferences.later:
            return await self._later.create(request, preferences, body, many=many)
        if many:
            return several_response(await self._exposed.create_many(body, strict=preferences.strict), preferences)
        written = await self._exposed.create(body, strict=preferences.strict)
        return written_response(written, f"{request.root}{request.path}/{part_of_path(written.id)}", preferences)

    async def put(self, request: Request) -> Response:
        """A row, written whole."""
        id = request.parameters["id"]
        body = await read_body(request, self._limits)
        preferences = preferences_in(request.header(b"prefer"))
        over_any = request.header(b"if-match").strip() == ANY
        expected = None if over_any else await self._expected(request, id, whole=True)
        if preferences.later:
            return await self._later.put(request, preferences, body, rev=expected, over_any=over_any)
        if over_any:
            written = await self._exposed.replace(id, body, strict=preferences.strict)
        else:
            written = await self._exposed.put(id, body, expected, strict=preferences.strict)
        return written_response(written, f"{request.root}{request.path}", preferences)

    async def patch(self, request: Request) -> Response:
        """Some fields of a row."""
        id = request.parameters["id"]
        body = await read_body(request, self._limits, FORMS)
        form = FORMS.get(request.header(b"content-type").partition(";")[0].strip().lower(), "merge")
        preferences = preferences_in(request.header(b"prefer"))
        expected = await self._expected(request, id)
        if preferences.later:
            return await self._later.patch(request, preferences, body, rev=expected, form=form)
        written = await self._exposed.patch(id, body, expected, form=form, strict=preferences.strict)
        return written_response(written, f"{request.root}{request.path}", preferences)

    async def delete(self, request: Request) -> Response:
        """No row any more."""
        id = request.parameters["id"]
        preferences, expected = preferences_in(request.header(b"prefer")), await self._expected(request, id)
        if preferences.later:
            return await self._later.delete(request, preferences, rev=expected)
        await self._exposed.delete(id, expected)
        return removed_response()

    async def delete_many(self, request: Request) -> Response:
        """None of the rows that the query names any more, or all of them still."""
        ids = ids_in(request.query)
        preferences = preferences_in(request.header(b"prefer"))
        if preferences.later:
            return await self._later.delete_many(request, preferences, ids)
        await self._exposed.delete_many(ids)
        return removed_response()

    def _shown(self, query: str) -> Shown:
        wanted = asked_of_row(self._kind, query)
        return self._exposed.shown(wanted.project, wanted.expand)

    async def _expected(self, request: Request, id: str, *, whole: bool = False) -> int | None:
        """The one revision that the conditions of a write let pass: None for any, 0 for "none yet".

        A `*` names no revision that anybody has read: it is no condition where there has to be one.
        """
        condition = request.header(b"if-match").strip()
        if condition:
            return await self._matching(id, condition)
        unless = request.header(b"if-none-match").strip()
        if not unless:
            return None
        if unless == ANY and whole:
            return 0
        try:
            rev = (await self._rows.get(id)).rev
        except NotFound:
            return 0 if whole else None
        if is_known(unless, rev):
            raise PreconditionFailed(topic_of(self._kind), id, f"anything but {unless[:100]}", str(rev))
        return rev

    async def _matching(self, id: str, condition: str) -> int | None:
        if condition == ANY:
            return None
        revisions = revisions_in(condition, weak=False)
        if len(revisions) == 1:
            return next(iter(revisions))
        try:
            rev = (await self._rows.get(id)).rev
        except NotFound:
            raise PreconditionFailed(topic_of(self._kind), id, condition[:100], "none") from None
        self._check(id, condition, rev)
        return rev

    def _check(self, id: str, condition: str, rev: int) -> None:
        if rev not in revisions_in(condition, weak=False):
            raise PreconditionFailed(topic_of(self._kind), id, condition[:100], str(rev))


def _form(request: Request, offers: Sequence[str]) -> str:
    """The form of an answer that a client likes best. Raises `NotAcceptable`."""
    _check_wanted(request, offers)
    return liked_best(request.header(b"accept"), offers)


def _check_wanted(request: Request, offers: Sequence[str]) -> None:
    """Raise `NotAcceptable` where a client waits for a stream of events, and there is none."""
    if wants_only(request.header(b"accept"), EVENT_STREAM, offers):
        raise NotAcceptable(" or ".join(offers))


def links_of_page(request: Request, cursor: str | None) -> bytes:
    """The Link header of a page: to the one after it, and, from a later one, to the first."""
    pairs = [(name, value) for name, value in parse_qsl(request.query, keep_blank_values=True) if name != "cursor"]
    later = "cursor=" in request.query and len(pairs) != len(parse_qsl(request.query, keep_blank_values=True))
    base = f"{request.root}{request.path}"
    links: list[str] = []
    if cursor is not None:
        links.append(f'<{base}?{urlencode([*pairs, ("cursor", cursor)])}>; rel="next"')
    if later:
        links.append(f'<{base}{"?" if pairs else ""}{urlencode(pairs)}>; rel="first"')
    return ", ".join(links).encode()


def _refuse_in_streams(wanted: Asked) -> None:
    """What a stream of changes cannot give is told, not passed over."""
    names = [*(("expand",) if wanted.expand else ()), *(("total",) if wanted.total else ())]
    if flaws := [Flaw(f"/{name}", "choice", f"a stream of changes has no {name}; ask a list for it") for name in names]:
        raise Invalid(flaws[0].detail, flaws)
