"""The configuration of HAProxy, as text. Pure.

Rules read a request once, and ask maps: which route, which release, which backend. What of a table may change is in the
maps and slots; so these rules are the same for all tables that fit into one layout.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address

import msgspec

from hanse.deploy.edge.base import Place
from hanse.deploy.edge.faults import NotForwarded, NotRouted, OutcomeUnknown
from hanse.deploy.edge.haproxy.layout import SEGMENTS_MAX, Backend, Layout, Slot
from hanse.deploy.edge.haproxy.log_pipe import LINE_BYTES_MAX
from hanse.deploy.edge.haproxy.release_rules import release_rules
from hanse.deploy.edge.haproxy.shown import EMPTY, MAPS, Seat, Shown
from hanse.gateway.problem import problem_response
from hanse.kernel.faults import DeadlineExceeded, Fault, Internal, Malformed, Unavailable

HOPS_MAX = 8
"""Entries of `X-Forwarded-For` that are looked at, from the right."""

BUFFER_BYTES = 80 * 1024
"""Of a request that is kept to be sent again, with its head."""

BODY_BYTES = 64 * 1024
"""Longest body that is waited for, to send it again."""

BODY_SECONDS = 2
"""That such a body has to come; what comes later is sent once."""

IDLE_SECONDS = 300
"""Between two pieces of a body, from and to clients."""

KEEP_ALIVE_SECONDS = 15
"""That a client's connection may be idle; so long may an old process live after a reload."""

CERTIFICATE = "edge.pem"
"""Certificate and key, as HAProxy reads them."""

NAME_OF_LINE = "%[var(txn.route)] %b %s %ST %Tw/%Tc/%Tr %ts %rc %[var(txn.safe)] %[var(txn.asker)]"
ACCESS = " %HM %[var(txn.path),bytes(0,2000)] %Ta %[var(txn.address)] %[var(txn.request_id)] %[var(txn.trace)]"

_GONE = Unavailable("no server of the service is there at the moment; come back soon")
_FAULTS: Mapping[int, Fault] = {
    400: Malformed("expected a request that can be read in one way only, with a host, and a path without . and .."),
    404: NotRouted(path="this path"),
    408: Malformed("expected the head of a request in time"),
    500: Internal("the edge failed at this request"),
    501: NotForwarded("requests like this"),
    502: OutcomeUnknown("the service"),
    503: _GONE,
    504: DeadlineExceeded("the server did not answer in time; it may be at work on the request still"),
}


class Files(msgspec.Struct, frozen=True):
    """What HAProxy reads, by names in its folder.

    Attributes:
        texts: By name.
    """

    texts: Mapping[str, str]


def files(place: Place, layout: Layout, now: Shown, *, listener: int, told: int, socket: str) -> Files:
    """All that a process of HAProxy reads when it starts.

    Args:
        place: Where the edge is.
        layout: What is fixed.
        now: What it shows from the first moment on.
        listener: Number of the file descriptor at which clients come.
        told: Of the one to which it tells of requests that are over.
        socket: Name of the socket for commands.
    """
    maps = {
        f"{name}.map": "".join(f"{key} {value}\n" for key, value in now.maps.get(name, {}).items()) for name in MAPS
    }
    errors = {f"{status}.http": error_text(status, fault) for status, fault in _FAULTS.items()}
    text = config(place, layout, now, listener=listener, told=told, socket=socket)
    return Files({**maps, **errors, "haproxy.cfg": text})


def config(place: Place, layout: Layout, now: Shown, *, listener: int, told: int, socket: str) -> str:
    """The text of the configuration."""
    lines = [
        *_head(place, told, socket),
        "frontend edge",
        f"  bind fd@{listener}{_tls(place)}",
        *(f"  {rule}" for rule in _rules(place, layout)),
        "backend nobody",
        "  http-request deny status 503",
    ]
    for number, backend in enumerate(layout.backends):
        lines += _backend(number, backend, now.seats)
    return "\n".join(lines) + "\n"


def error_text(status: int, fault: Fault) -> str:
    """A whole answer, as HAProxy sends it."""
    response = problem_response(fault)
    body = bytes(response.body).decode()
    return (
        f"HTTP/1.1 {status} Problem\r\nContent-Type: application/problem+json\r\n"
        f"Content-Length: {len(body.encode())}\r\nCache-Control: no-store\r\n"
        f"{''.join(f'{line}{chr(13)}{chr(10)}' for line in _MORE.get(status, ()))}\r\n{body}"
    )


_MORE = {503: ("Retry-After: 1",)}


def quoted(text: str) -> str:
    """A text as one word of a configuration, whatever is in it."""
    return "".join(
        chr(byte) if (byte < _ASCII and chr(byte).isalnum()) or chr(byte) in "/._-" else f"\\x{byte:02x}"
        for byte in text.encode()
    )


_ASCII = 128


def _head(place: Place, told: int, socket: str) -> Iterator[str]:
    yield from (
        "global",
        f"  stats socket unix@{socket} mode 600 level admin",
        "  stats timeout 1m",
        f"  log fd@{told} len {LINE_BYTES_MAX} format raw local0 info",
        "  hard-stop-after 1h",
        f"  tune.bufsize {BUFFER_BYTES}",
        "  tune.ssl.default-dh-param 2048",
        "  ssl-default-bind-options ssl-min-ver TLSv1.2",
        "defaults",
        "  mode http",
        "  log global",
        f'  log-format "{NAME_OF_LINE}{ACCESS if place.access_log else ""}"',
        "  timeout http-request 10s",
        f"  timeout http-keep-alive {KEEP_ALIVE_SECONDS}s",
        f"  timeout client {IDLE_SECONDS}s",
        "  timeout server 30s",
        "  timeout connect 1s",
        "  timeout queue 5s",
        "  option redispatch 1",
        # A client that has left is told to the server, whose answer nobody waits for any more.
        "  option abortonclose",
        "  option splice-auto",
        "  retry-on conn-failure empty-response",
        *(f"  errorfile {status} {status}.http" for status in _FAULTS),
    )


def _tls(place: Place) -> str:
    return f" ssl crt {CERTIFICATE} alpn h2,http/1.1" if place.certificate else ""


def _rules(place: Place, layout: Layout) -> Iterator[str]:
    yield from _who(place)
    yield from _where(layout)
    yield from release_rules(layout)
    yield from _told(place)
    yield from _answered(place, layout)
    yield "use_backend %[var(txn.pool)] if { var(txn.pool) -m found }"
    yield "default_backend nobody"


def _who(place: Place) -> Iterator[str]:
    """What cannot be read in one way is refused; then who asks, and by which name."""
    yield "option idle-close-on-response"
    yield "http-request deny status 501 if METH_CONNECT"
    yield r"http-request deny status 400 unless { req.hdr(host) -m reg ^[][A-Za-z0-9._:-]+$ }"
    yield "http-request deny status 400 unless { path -m beg / }"
    yield r"http-request deny status 400 if { req.hdrs -m reg '\x00' }"
    yield "http-request deny status 400 if { path -m sub %00 }"
    yield "http-request deny status 400 if { path,url_dec,concat(/) -m sub /../ /./ }"
    yield "http-request deny status 400 if { path -m reg [^!-~] }"
    yield "http-request set-var(txn.trusted) src,map_ip(trusted.map)"
    yield "http-request set-var(txn.address) src"
    for hop in range(1, HOPS_MAX + 1):
        entry = f"req.hdr_ip(x-forwarded-for,-{hop})"
        yield (
            f"http-request set-var(txn.address) {entry} "
            f"if {{ var(txn.address),map_ip(trusted.map) -m found }} {{ {entry} -m found }}"
        )
    yield "http-request set-var(txn.forces) var(txn.address),map_ip(forcing.map)"
    if place.access_log:
        yield "http-request set-var(txn.path) path,bytes(0,200)"


def _where(layout: Layout) -> Iterator[str]:
    """The route: the longest path of the most exact host."""
    yield "http-request set-var(txn.slashed) path,url_dec,concat(/)"
    yield r"http-request set-var(txn.host) req.hdr(host),lower,regsub(:[0-9]*$,),regsub(\.$,)"
    yield "http-request set-var(txn.key) var(txn.host),concat(,txn.slashed),hex"
    yield "http-request set-var(txn.route) str(h),concat(,txn.key),map_beg(routes.map)"
    for host in layout.below:
        digits = host.encode().hex().upper()
        yield f"http-request set-var(txn.key) str({digits})"
        yield "http-request set-var(txn.hexed) var(txn.slashed),hex"
        yield (
            "http-request set-var(txn.route) str(w),concat(,txn.key),concat(,txn.hexed),map_beg(routes.map) "
            f"if !{{ var(txn.route) -m found }} {{ var(txn.host),hex -m end {digits} }}"
        )
    yield "http-request set-var(txn.key) var(txn.slashed),hex"
    yield (
        "http-request set-var(txn.route) str(a),concat(,txn.key),map_beg(routes.map) if !{ var(txn.route) -m found }"
    )
    yield "http-request deny status 404 unless { var(txn.route) -m found }"
    yield "http-request set-var(txn.service) var(txn.route),field(1,:)"
    yield "http-request set-var(txn.plan) var(txn.service),map_str(plans.map)"


def _told(place: Place) -> Iterator[str]:
    """What the server is told, and what is kept from it."""
    believed = "{ var(txn.trusted) -m found }"
    scheme = "https" if place.certificate else "http"
    names = "(for|proto|host|prefix|port)"
    yield from (
        f"http-request del-header ^x_forwarded[-_]{names}$ -m reg",
        f"http-request del-header ^x[-_]forwarded_{names}$ -m reg",
        "http-request del-header ^x[-_]hanse[-_]shadow$ -m reg",
        "http-request del-header ^(x_request[-_]id|x[-_]request_id)$ -m reg",
        f"http-request set-header X-Forwarded-For %[src] unless {believed}",
        (
            f'http-request set-header X-Forwarded-For "%[req.fhdr(x-forwarded-for)], %[src]" '
            f"if {believed} {_has('x-forwarded-for')}"
        ),
        f"http-request set-header X-Forwarded-For %[src] unless {_has('x-forwarded-for')}",
        f"http-request set-header X-Forwarded-Proto {scheme} unless {believed} {_has('x-forwarded-proto')}",
        f"http-request set-header X-Forwarded-Host %[req.hdr(host)] unless {believed} {_has('x-forwarded-host')}",
    )
    yield from (
        f"http-request del-header {name} unless {believed}"
        for name in ("X-Forwarded-Prefix", "X-Forwarded-Port", "Forwarded", "X-Real-IP")
    )
    yield from (
        f"http-request del-header {name}"
        for name in ("Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "HTTP2-Settings")
    )
    yield "http-request del-header Upgrade unless { req.hdr(upgrade) -m str -i websocket }"
    yield "http-request set-var(txn.strip) var(txn.route),field(2,:)"
    yield (
        "http-request set-header X-Forwarded-Prefix "
        '"%[req.hdr(x-forwarded-prefix)]%[var(txn.route),field(3,:),url_dec]" '
        "if { var(txn.strip) -m int gt 0 }"
    )
    for count in range(1, SEGMENTS_MAX + 1):
        own = f"{{ var(txn.strip) -m int {count} }}"
        yield f"http-request replace-path '^(/[^/]*){{{count}}}$' / if {own}"
        yield f"http-request replace-path '^(/[^/]*){{{count}}}(/.*)$' '\\2' if {own}"
    yield from (
        (
            "http-request set-header traceparent 00-%[uuid,regsub(-,,g)]-%[uuid,regsub(-,,g),bytes(0,16)]-01 "
            "unless { req.hdr(traceparent) -m reg ^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$ }"
        ),
        "http-request set-var(txn.trace) req.hdr(traceparent),bytes(3,32)",
        "http-request set-header X-Request-ID %[var(txn.trace)] unless { req.hdr(x-request-id) -m reg ^[!-~]{1,128}$ }",
        "http-request set-var(txn.request_id) req.hdr(x-request-id)",
        # Requests that may not be repeated get connections of their own: nobody else finds one of this name.
        (
            "http-request set-var(txn.safe) int(1) if { method -m str GET HEAD OPTIONS TRACE PUT DELETE } or "
            "{ req.hdr(idempotency-key) -m found }"
        ),
        "http-request set-var(txn.fresh) uuid unless { var(txn.safe) -m found }",
        # Only what has come whole can be sent again.
        (
            f"http-request wait-for-body time {BODY_SECONDS}s if {{ var(txn.safe) -m found }} "
            f"{{ req.hdr_val(content-length) gt 0 }} {{ req.hdr_val(content-length) le {BODY_BYTES} }}"
        ),
        "http-request disable-l7-retry unless { var(txn.safe) -m found }",
    )


def _has(header: str) -> str:
    return f"{{ req.hdr({header}) -m found }}"


def _answered(place: Place, layout: Layout) -> Iterator[str]:
    """What the client is told beside the answer of a server."""
    rest = f"; Path=/; HttpOnly; SameSite=Lax{'; Secure' if place.certificate else ''}"
    yield "http-after-response set-header X-Request-ID %[var(txn.request_id)] if { var(txn.request_id) -m found }"
    # Behind what cannot be read nothing is read any more.
    yield "http-after-response set-header Connection close unless { var(txn.service) -m found } or { status 404 }"
    yield "http-response del-header Keep-Alive"
    yield "http-response del-header Proxy-Connection"
    yield "http-response set-var(txn.server) srv_name"
    yield "http-response set-var(txn.given) be_name,concat(/,txn.server),map_str(given.map)"
    for number, cookie in enumerate(layout.seats):
        yield (
            f'http-response add-header Set-Cookie "{cookie}=%[var(txn.given),field(2,:)]{rest}" '
            f"if {{ var(txn.given),field(1,:) -m str {number} }} "
            f"!{{ var(txn.given),field(2,:),strcmp(txn.had{number}) eq 0 }}"
        )
    for number, kind in enumerate(layout.kinds):
        if kind.cookie:
            yield (
                f'http-response add-header Set-Cookie "{kind.cookie}=%[var(txn.drawn{number})]{rest}" '
                f"if {{ var(txn.drawn{number}) -m found }} {{ var(txn.plan),field(3,:) -m str 1 }} "
                "!{ var(txn.forced) -m found } !{ var(txn.seat) -m found } !{ var(txn.of_tree) -m found }"
            )


_BALANCES = {
    "round_robin": "roundrobin",
    "least_request": "leastconn",
    "source": "hash var(txn.address)",
}


def _backend(number: int, backend: Backend, seats: Mapping[Slot, Seat]) -> Iterator[str]:
    shape, timeouts = backend.shape, backend.shape.timeouts
    yield f"backend b{number}"
    yield f"  balance {_BALANCES[shape.balance]}"
    yield "  hash-type consistent"
    yield f"  timeout connect {_ms(timeouts.connect)}"
    yield f"  timeout server {_ms(timeouts.head)}"
    yield f"  timeout tunnel {_ms(timeouts.tunnel)}"
    yield f"  retries {shape.attempts - 1}"
    # Streams are silent for long, and this is the one time that can be told for them before they begin.
    streams = "" if shape.protocol == "h2c" else " if { req.hdr(accept) -m sub text/event-stream }"
    yield f"  http-request set-timeout server {_ms(timeouts.idle)}{streams}"
    if shape.protocol != "h2c":
        yield "  http-request del-header TE"
    yield "  use-server %[var(txn.slot)] if { var(txn.slot) -m found }"
    if shape.health:
        yield "  option httpchk"
        yield f"  http-check send meth GET uri {quoted(shape.health)} ver HTTP/1.1 hdr Host edge"
        yield "  http-check expect rstatus ^[1234]"
    # A connection that fails has the server looked at, and only if that fails too it is left alone: were it so at once,
    # the last one that is left would be waited for, for a second, by each request that goes on to it.
    fresh = "" if shape.reuse else " sni var(txn.fresh)"
    speaks = " proto h2" if shape.protocol == "h2c" else ""
    yield (
        "  default-server check inter 60s fastinter 50ms downinter 100ms rise 1 fall 1000 "
        f"observe layer4 error-limit 1 on-error sudden-death{speaks}{fresh}"
    )
    for place in range(backend.slots):
        seat = seats.get((number, place), EMPTY)
        address = f"[{seat.host}]" if ip_address(seat.host).version == _SIX else seat.host
        yield f"  server s{place} {address}:{seat.port} weight {seat.weight}{'' if seat.takes else ' disabled'}"


_SIX = 6


def _ms(seconds: float) -> str:
    return f"{max(1, round(seconds * 1000))}ms"
