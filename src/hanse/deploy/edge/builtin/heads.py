"""The heads that the edge sends: to a server what the client asked for, to the client what the server answered. Pure.

What belongs to one connection stays there (RFC 9110, 7.6.1); who asked, by which scheme and name, is told anew, as only
the edge and proxies that it trusts know it.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from urllib.parse import unquote_to_bytes

import msgspec

from hanse.control.carried import MEMBER, carrying
from hanse.deploy.edge.builtin.http1 import Field, RequestHead, ResponseHead
from hanse.deploy.edge.faults import NotForwarded
from hanse.gateway.limits import HEADER_BYTES_MAX, Limits
from hanse.gateway.problem import HeadersTooLarge, UriTooLong
from hanse.gateway.strict import check_head
from hanse.kernel.faults import Malformed
from hanse.kernel.message import SHADOW

URL_BYTES_MAX = 16 * 1024
"""Of a request's target: services behind the edge have limits of their own."""

_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"proxy-authorization", b"te", b"transfer-encoding", b"upgrade"}
)
_ANSWER_HOP = (_HOP - {b"te", b"proxy-authorization"}) | {b"proxy-authenticate"}
_KEPT = frozenset({b"host", b"content-length", b"cookie", b"authorization", b"content-type"})
"""What a client may not have taken away by naming it in `Connection`."""

_TOLD = frozenset(
    {b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-prefix", b"x-forwarded-port"}
)
_CLAIMED = frozenset({b"forwarded", b"x-real-ip"})
_OURS = _TOLD | {b"traceparent", b"x-request-id", SHADOW}
_NO_TRAILERS = _HOP | _KEPT | _OURS | _CLAIMED
"""What a trailer may not say: whoever reads it as a header would be deceived (RFC 9110, 6.5.1)."""

_ABSOLUTE = re.compile(rb"https?://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_TARGET = re.compile(rb"/[!-~]*")


class Line(msgspec.Struct, frozen=True):
    """What a request line asks for.

    Attributes:
        target: Path and query, as they came.
        path: Percent-decoded, to find the route by.
        host: As the request names it.
        scheme: Of the URL, where it asks for a whole one, as whoever asks a proxy does; else empty.
    """

    target: bytes
    path: str
    host: str
    scheme: str = ""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a server is told beside what the client said.

    Attributes:
        host: Name that the request is for.
        peer: Address at the other end of the connection.
        scheme: `http` or `https`, by the connection.
        trusted: Whether the other end is a proxy that is believed.
        may_force: Whether the header that chooses a release is handed on.
        forced_by: Name of that header.
        prefix: Of the path, that was taken away; empty for none.
        traceparent: Of the story.
        request_id: Of the request.
        shadow: Whether this is a copy.
        release: Of the request tree, to be handed on; empty for none.
        outside: Whether it goes to a host that is no service, which is told what the client said and nothing else.
    """

    host: str
    peer: str
    scheme: str
    traceparent: str
    request_id: str
    trusted: bool = False
    may_force: bool = False
    forced_by: str = ""
    prefix: str = ""
    shadow: bool = False
    release: str = ""
    outside: bool = False


def read_line(head: RequestHead, limits: Limits) -> Line:
    """What a request asks for, of a head that can be read in one way only.

    Raises:
        Malformed, Ambiguous, UriTooLong, HeadersTooLarge, NotForwarded: It cannot be handed on.
    """
    if len(head.fields) > limits.headers:
        raise HeadersTooLarge(f"{limits.headers} lines")
    if sum(len(raw) + len(value) for _, raw, value in head.fields) > HEADER_BYTES_MAX:
        raise HeadersTooLarge(f"{HEADER_BYTES_MAX} bytes")
    if len(head.target) > URL_BYTES_MAX:
        raise UriTooLong(URL_BYTES_MAX)
    if head.method == "CONNECT":
        raise NotForwarded("CONNECT; it is asked plainly, as `GET http://users/`, so let no HTTPS_PROXY name it")
    if head.upgrade and head.length != 0:
        raise NotForwarded("a body with a request for WebSocket")
    check_head([(name, value) for name, _, value in head.fields], head.version)
    target, host, named = head.target, head.get(b"host"), ""
    if absolute := _ABSOLUTE.fullmatch(target):
        host, target = absolute[1], absolute[2] or b"/"
        named = "https" if head.target[:5].lower() == b"https" else "http"
        target = target if target.startswith(b"/") else b"/" + target
    if not _TARGET.fullmatch(target) or b"#" in target:
        raise Malformed("expected a path that begins with / and holds printable ASCII without #")
    path = unquote_to_bytes(target.partition(b"?")[0]).decode(errors="surrogateescape")
    if "\0" in path or "/./" in path + "/" or "/../" in path + "/":
        raise Malformed("expected a path without . or .. for segments, and without zero bytes")
    return Line(target, path, host.decode("latin-1"), named)


def without_prefix(target: bytes, prefix: str) -> bytes:
    """A target without the path of its route.

    Example:
        >>> without_prefix(b"/api/users/7?x=1", "/api/users"), without_prefix(b"/api/users?x=1", "/api/users")
        (b'/7?x=1', b'/?x=1')
        >>> without_prefix(b"/%61pi/users", "/api")
        b'/users'
    """
    path, mark, query = target.partition(b"?")
    rest = path
    # By segments, as any letter of them may have been encoded.
    for _ in range(prefix.rstrip("/").count("/")):
        slash = rest.find(b"/", 1)
        rest = rest[slash:] if slash >= 0 else b"/"
    return rest + mark + query


def request_head(head: RequestHead, target: bytes, told: Told, *, upgrade: bool = False) -> bytes:
    """The head that a server gets.

    Args:
        head: What the client sent.
        target: What is asked for, perhaps without its prefix.
        told: What else is said.
        upgrade: Whether the request for another protocol is handed on.
    """
    dropped = _HOP | {b"host", SHADOW} | _named(head.fields) | (_TOLD if told.trusted else _TOLD | _CLAIMED)
    if told.outside:
        dropped = _HOP | {b"host", SHADOW} | _named(head.fields)
    else:
        dropped |= {b"traceparent", b"x-request-id"} | (set[bytes]() if told.may_force else {told.forced_by.encode()})
    baggage = baggage_of(head)
    carries = not told.outside and bool(told.release or any(MEMBER in value for value in baggage))
    if carries:
        dropped |= {b"baggage"}
    host = told.host.encode("latin-1")
    lines = [b"%b %b HTTP/1.1" % (head.method.encode("latin-1"), target), b"Host: " + host]
    lines += [
        b"%b: %b" % (raw, value)
        for name, raw, value in head.fields
        if name not in dropped and (b"_" not in name or name.replace(b"_", b"-") not in _OURS)
    ]
    if not told.outside:
        lines += _about(head, told)
    if carries and (handed := carrying(baggage, told.release)):
        lines.append(b"baggage: " + handed.encode("latin-1"))
    if head.get(b"transfer-encoding"):
        lines.append(b"Transfer-Encoding: chunked")
    if upgrade:
        lines += [b"Connection: Upgrade", b"Upgrade: " + head.get(b"upgrade")]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _about(head: RequestHead, told: Told) -> list[bytes]:
    """Who asks, by what name; a proxy that is believed has said a part of it already."""
    before = head.get if told.trusted else _nothing
    hops = b", ".join(value for name, _, value in head.fields if name == b"x-forwarded-for") if told.trusted else b""
    peer = told.peer.encode()
    lines = [
        b"X-Forwarded-For: " + (hops + b", " + peer if hops else peer),
        b"X-Forwarded-Proto: " + (before(b"x-forwarded-proto") or told.scheme.encode()),
        b"X-Forwarded-Host: " + (before(b"x-forwarded-host") or told.host.encode("latin-1")),
        b"traceparent: " + told.traceparent.encode(),
        b"X-Request-ID: " + told.request_id.encode("latin-1"),
    ]
    if prefix := before(b"x-forwarded-prefix") + told.prefix.encode():
        lines.append(b"X-Forwarded-Prefix: " + prefix)
    if told.shadow:
        lines.append(SHADOW + b": 1")
    return lines


def baggage_of(head: RequestHead) -> list[str]:
    """What a request tree carries, in as many headers as it came."""
    return [value.decode("latin-1") for name, _, value in head.fields if name == b"baggage"]


def response_head(head: ResponseHead, more: list[bytes], *, chunked: bool, close: bool) -> bytes:
    """The head that a client gets.

    Args:
        head: What the server answered.
        more: Lines that are added.
        chunked: Whether the body goes out in chunks.
        close: Whether the connection is closed behind it.
    """
    dropped = _ANSWER_HOP | _named(head.fields)
    lines = [b"HTTP/1.1 %d %b" % (head.status, head.reason or reason_of(head.status))]
    lines += [b"%b: %b" % (raw, value) for name, raw, value in head.fields if name not in dropped]
    lines += more
    if chunked:
        lines.append(b"Transfer-Encoding: chunked")
    if close:
        lines.append(b"Connection: close")
    return b"\r\n".join(lines) + b"\r\n\r\n"


def switching_head(head: ResponseHead) -> bytes:
    """The head by which a client is told that its connection speaks another protocol from here on."""
    lines = [b"HTTP/1.1 %d %b" % (head.status, head.reason or reason_of(head.status))]
    lines += [b"%b: %b" % (raw, value) for name, raw, value in head.fields if name not in _HOP]
    lines += [b"Connection: Upgrade", b"Upgrade: " + head.get(b"upgrade")]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def trailer_lines(trailers: list[Field]) -> bytes:
    """The end of a body in chunks, with its trailers."""
    told = [b"%b: %b\r\n" % (raw, value) for name, raw, value in trailers if name not in _NO_TRAILERS]
    return b"0\r\n" + b"".join(told) + b"\r\n"


def cookies_of(text: bytes) -> dict[str, str]:
    """The cookies of a request; of those of one name, the first.

    Example:
        >>> cookies_of(b"uid=7; theme=dark; uid=8")
        {'uid': '7', 'theme': 'dark'}
    """
    cookies: dict[str, str] = {}
    for part in text.decode("latin-1").split(";"):
        name, _, value = part.strip().partition("=")
        cookies.setdefault(name, value.strip('"'))
    return cookies


def set_cookie(name: str, value: str, *, secure: bool) -> bytes:
    """A line that has a browser keep a cookie of the edge for its session."""
    return f"Set-Cookie: {name}={value}; Path=/; HttpOnly; SameSite=Lax{'; Secure' if secure else ''}".encode("latin-1")


def _named(fields: list[Field]) -> set[bytes]:
    """Headers that `Connection` names as belonging to it."""
    named = {
        part.strip().lower() for name, _, value in fields if name == b"connection" for part in value.split(b",") if part
    }
    return named - _KEPT if named else named


def _nothing(_: bytes) -> bytes:
    return b""


def reason_of(status: int) -> bytes:
    """The words for a status; empty where there are none."""
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b""
