"""What a request line and its headers have to be, whatever the server before us let pass. Pure."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from hanse.gateway.asgi import Header, Request
from hanse.gateway.limits import HEADER_BYTES_MAX, Limits
from hanse.gateway.problem import Ambiguous, HeadersTooLarge, UriTooLong
from hanse.kernel.faults import Malformed

_VERSIONS = frozenset({"1.0", "1.1", "2", "2.0", "3", "3.0"})
_ONCE = (b"host", b"content-length", b"content-type", b"idempotency-key", b"origin", b"authorization")
_BROKEN = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_HOST = re.compile(rb"[^\x00-\x20/?#@\\,]*")
_FORBIDDEN = frozenset(range(32)) | {127}


def check_request(request: Request, limits: Limits) -> None:
    """Refuse a request that is too large in its head, or that two readers could understand differently.

    Raises:
        UriTooLong, HeadersTooLarge: It is over a limit.
        Ambiguous: Its length or its host is said twice, or not at all.
        Malformed: Path or query are not percent-encoded UTF-8, or hold a control character.
    """
    scope, fields = request.scope, request.fields
    headers: list[Header] = scope.get("headers", [])
    count = len(headers)
    if count > limits.headers:
        raise HeadersTooLarge(f"{limits.headers} lines")
    if sum(map(len, fields)) + sum(map(len, fields.values())) > HEADER_BYTES_MAX:
        raise HeadersTooLarge(f"{HEADER_BYTES_MAX} bytes")
    query: bytes = scope.get("query_string", b"")
    if len(request.path) + len(query) > limits.url_bytes:
        raise UriTooLong(limits.url_bytes)
    if count != len(fields):
        _check_once(headers)
    version: str | None = scope.get("http_version")
    if version is not None:
        _check_head(fields, version)
    if "%" in request.path:
        _check_encoded(request.path.encode("latin-1"), "path")
    if query and (b"%" in query or not query.isascii()):
        _check_encoded(query, "query")


def check_head(headers: list[Header], version: str) -> None:
    """Refuse the head of a request that two readers could understand differently.

    Args:
        headers: Names in lower case, and values, as they came.
        version: Of HTTP, such as `1.1`.

    Raises:
        Ambiguous: Its length or its host is said twice, or not at all.

    Example:
        >>> check_head([(b"host", b"shop"), (b"content-length", b"1"), (b"content-length", b"2")], "1.1")
        Traceback (most recent call last):
        ...
        hanse.gateway.problem.Ambiguous: expected one content-length header, got 2
    """
    fields = dict(headers)
    if len(fields) != len(headers):
        _check_once(headers)
        if sum(name == b"transfer-encoding" for name, _ in headers) > 1:
            raise Ambiguous("expected one transfer-encoding header")
    _check_head(fields, version)


def _check_once(headers: list[Header]) -> None:
    names = [name for name, _ in headers]
    twice = next((name for name in _ONCE if names.count(name) > 1), None)
    if twice is not None:
        raise Ambiguous(f"expected one {twice.decode()} header, got {names.count(twice)}")


def _check_head(fields: dict[bytes, bytes], version: str) -> None:
    if version not in _VERSIONS:
        raise Ambiguous(f"expected HTTP/1.1, got HTTP/{version[:10]}")
    host = fields.get(b"host")
    if host is None:
        if version == "1.1":
            raise Ambiguous("expected a Host header")
    elif not _is_host(host):
        raise Ambiguous("expected a host name in the Host header")
    coding = fields.get(b"transfer-encoding")
    if coding is None:
        return
    if b"content-length" in fields:
        raise Ambiguous("expected Content-Length or Transfer-Encoding, got both")
    if coding.strip().lower() != b"chunked":
        raise Ambiguous("expected Transfer-Encoding: chunked, or none")


@lru_cache(maxsize=1024)
def _is_host(host: bytes) -> bool:
    return _HOST.fullmatch(host) is not None


def _check_encoded(text: bytes, what: str) -> None:
    if _BROKEN.search(text):
        raise Malformed(f"expected a {what} in which each % begins two hexadecimal digits")
    plain = unquote_to_bytes(text)
    if not text.isascii():
        raise Malformed(f"expected a {what} in UTF-8, percent-encoded")
    try:
        _ = plain.decode()
    except UnicodeDecodeError:
        raise Malformed(f"expected a {what} in UTF-8, percent-encoded") from None
    if what == "path" and not _FORBIDDEN.isdisjoint(plain):
        raise Malformed("expected a path without control characters")
