"""What a client is told of rows that it wrote, at once or later."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from hanse.gateway.asgi import Header, Response
from hanse.gateway.preconditions import etag
from hanse.gateway.prefer import NONE, Preferences
from hanse.kernel.codec import encode_json
from hanse.service.rows import Written


def part_of_path(id: str) -> str:
    """An id as a part of a path; most are made of letters, digits and dashes, and go as they are."""
    return id if id.isascii() and id.replace("-", "").isalnum() else quote(id, safe="")


def written_response(written: Written, location: str, preferences: Preferences = NONE) -> Response:
    """The answer to a write of one row, which is found at a location."""
    headers: list[Header] = [(b"etag", etag(written.rev))]
    if written.created:
        headers.append((b"location", location.encode()))
    if preferences is not NONE:
        if applied := preferences.applied("return", "handling"):
            headers.append((b"preference-applied", applied))
        if preferences.minimal:
            # As OData has it: an answer of 201 would have a body; the Location tells that the row is new.
            return Response(204, b"", tuple(headers), "")
    return Response(201 if written.created else 200, written.value, tuple(headers))


def several_response(written: Sequence[Written], preferences: Preferences = NONE) -> Response:
    """The answer to new rows that were written together."""
    values = [
        b'{"id":%b,"rev":%d}' % (encode_json(one.id), one.rev) if preferences.minimal else one.value for one in written
    ]
    applied = preferences.applied("return", "handling")
    headers: tuple[Header, ...] = ((b"preference-applied", applied),) if applied else ()
    return Response(201, b'{"items":[%b]}' % b",".join(values), headers)


def removed_response() -> Response:
    """The answer to rows that are there no more."""
    return Response(204, type="")
