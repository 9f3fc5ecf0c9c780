"""What Envoy reads when it starts: where it listens, what it tells of requests, and what it answers by itself. Pure.

All else comes by files that it watches: routes, clusters, and the endpoints of each.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hanse.deploy.edge.base import Place
from hanse.deploy.edge.envoy.pools import Resource
from hanse.deploy.edge.envoy.routes import LUA, PROBLEMS, ROUTES
from hanse.deploy.edge.faults import BrokenAnswer, NotForwarded, OutcomeUnknown
from hanse.deploy.edge.renewal import Chain
from hanse.gateway.problem import MEDIA_TYPE, problem_response
from hanse.kernel.faults import DeadlineExceeded, Fault, Unavailable

ADMIN, PROBE = "admin.sock", "probe.sock"
"""Names of the sockets at which Envoy is asked how it is, and which table its worker shows."""

CERTIFICATE = "sds.json"
"""Name of the file with the certificate and its key."""

HEADERS_MAX = 100
HEAD_KIB_MAX = 32
HEAD_SECONDS = 10
"""That the head of a request has to come."""

KEEP_ALIVE_SECONDS = 60
"""That a client's connection may be idle."""

BUFFER_BYTES = 256 * 1024
"""Of a connection, either way, before whoever writes is made to wait."""

_HCM_TYPE = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_LUA_TYPE = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"
_ROUTER = {
    "name": "envoy.filters.http.router",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
        "suppress_envoy_headers": True,
    },
}


def _kept(name: str, header: str, shared: str) -> Resource:
    """What rules say by a header that no server sees, as something that Envoy goes by."""
    said = {"text_format_source": {"inline_string": f"%REQ({header})%"}, "omit_empty_values": True}
    return {
        "object_key": name,
        "factory_key": "envoy.hashable_string",
        "format_string": said,
        "shared_with_upstream": shared,
        "skip_if_empty": True,
    }


_APART = {
    "name": "envoy.filters.http.set_filter_state",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config",
        "on_request_headers": [
            # Connections are shared by requests that agree in this.
            _kept("hanse.once", "X-HANSE-ONCE", "ONCE"),
            _kept("hanse.address", "X-HANSE-ADDRESS", "NONE"),
        ],
    },
}
_TLS_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
_SHOWN_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
_EXTENSIONS = "type.googleapis.com/envoy.extensions."
_LOG_TYPE = "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"

_ASKED = """
function envoy_on_request(handle)
  local revision = handle:metadata():get("revision")
  handle:respond({[":status"] = "200"}, revision)
end
"""
"""Answers which table the worker shows; its line of log comes behind those of all requests that were over before."""

_GARBLED = BrokenAnswer("the service")
_FLAGS: tuple[tuple[tuple[str, ...], int, Fault], ...] = (
    (("UPE",), 502, _GARBLED),
    (("UF", "UH", "UO", "NC"), 503, Unavailable("no server of the service is there at the moment; come back soon")),
    (("UC", "UR", "LR"), 502, OutcomeUnknown("the service")),
    (("SI", "UT"), 504, DeadlineExceeded("the server did not answer in time; it may be at work on the request still")),
    (("NR",), 501, NotForwarded("requests like this")),
)
"""What an edge answers by itself, by what Envoy says of it: the first that fits."""


def bootstrap(place: Place, port: int) -> Resource:
    """All that Envoy reads when it starts.

    Args:
        place: Where it is.
        port: That clients come to.
    """
    return {
        "node": {"id": "edge", "cluster": "edge"},
        "admin": {"address": {"pipe": {"path": ADMIN, "mode": 0o600}}},
        "static_resources": {"listeners": [_listener(place, port), _probed()]},
        "dynamic_resources": {"cds_config": {"path_config_source": {"path": "./cds.json"}}},
        "layered_runtime": {
            "layers": [{"name": "own", "static_layer": {"re2": {"max_program_size": {"warn_level": 1000}}}}]
        },
    }


def told_certificate(chain: Chain, version: str) -> Resource:
    """A certificate and its key, as Envoy is told of them.

    Args:
        chain: Both.
        version: Another one each time.
    """
    shown = {
        "certificate_chain": {"inline_string": chain.certificate.decode()},
        "private_key": {"inline_string": chain.key.decode()},
    }
    told = {"@type": _SHOWN_TYPE, "name": "edge", "tls_certificate": shown}
    return {"version_info": version, "resources": [told]}


def _listener(place: Place, port: int) -> Resource:
    chain: Resource = {"filters": [_manager(place)]}
    if place.certificate:
        # It comes by a file that is watched, as all else that may change.
        source = {"path_config_source": {"path": f"./{CERTIFICATE}"}}
        chain["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": _TLS_TYPE,
                "common_tls_context": {
                    "alpn_protocols": ["h2", "http/1.1"],
                    "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
                    "tls_certificate_sds_secret_configs": [{"name": "edge", "sds_config": source}],
                },
            },
        }
    return {
        "name": "edge",
        "address": {"socket_address": {"address": place.host, "port_value": port}},
        # Another edge at the same port is to be refused, and not to get half of its connections.
        "enable_reuse_port": False,
        "per_connection_buffer_limit_bytes": BUFFER_BYTES,
        "filter_chains": [chain],
    }


def _probed() -> Resource:
    lua = {"@type": _LUA_TYPE, "default_source_code": {"inline_string": _ASKED}}
    manager = {
        "@type": _HCM_TYPE,
        "stat_prefix": "probe",
        "codec_type": "HTTP1",
        "rds": _rds(),
        "access_log": [_log({"probe": "%PATH%"})],
        "http_filters": [{"name": LUA, "typed_config": lua}, _ROUTER],
    }
    return {
        "name": "probe",
        "address": {"pipe": {"path": PROBE, "mode": 0o600}},
        "filter_chains": [{"filters": [{"name": "envoy.http", "typed_config": manager}]}],
    }


def _rds() -> Resource:
    return {"route_config_name": ROUTES, "config_source": {"path_config_source": {"path": "./rds.json"}}}


def _log(fields: dict[str, str]) -> Resource:
    format_ = {"json_format": fields, "omit_empty_values": True}
    return {"name": "told", "typed_config": {"@type": _LOG_TYPE, "log_format": format_}}


def _manager(place: Place) -> Resource:
    fields = {
        "service": "%DYNAMIC_METADATA(hanse:service)%",
        "route": "%DYNAMIC_METADATA(hanse:route)%",
        "who": "%DYNAMIC_METADATA(hanse:who)%",
        "once": "%DYNAMIC_METADATA(hanse:once)%",
        "pool": "%UPSTREAM_CLUSTER_RAW%",
        "server": "%UPSTREAM_HOST_NAME%",
        "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
        "status": "%RESPONSE_CODE%",
        "flags": "%RESPONSE_FLAGS%",
        "head": "%RESPONSE_DURATION%",
    }
    if place.access_log:
        fields |= {
            "method": "%REQ(:METHOD)%",
            "took": "%DURATION%",
            "id": "%REQ(X-REQUEST-ID)%",
            **{name: f"%DYNAMIC_METADATA(hanse:{name})%" for name in ("path", "address", "trace")},
        }
    lua = {"@type": _LUA_TYPE, "default_source_code": {"filename": str(Path(__file__).with_name("rules.lua"))}}
    filters = [{"name": LUA, "typed_config": lua}, _APART, _ROUTER]
    return {
        "name": "envoy.http",
        "typed_config": {
            "@type": _HCM_TYPE,
            "stat_prefix": "edge",
            "codec_type": "AUTO",
            "rds": _rds(),
            "access_log": [_log(fields)],
            "http_filters": [_unasked(), *filters],
            "upgrade_configs": [{"upgrade_type": "websocket", "filters": filters}],
            "local_reply_config": {"mappers": list(_mappers())},
            "http_protocol_options": {"accept_http_10": True, "enable_trailers": True},
            "common_http_protocol_options": {
                "idle_timeout": f"{KEEP_ALIVE_SECONDS}s",
                "max_headers_count": HEADERS_MAX,
            },
            "max_request_headers_kb": HEAD_KIB_MAX,
            "request_headers_timeout": f"{HEAD_SECONDS}s",
            "proxy_100_continue": True,
            "server_header_transformation": "PASS_THROUGH",
            # Rules say all of this: whose word is believed, and what a request is called.
            "generate_request_id": False,
            "use_remote_address": False,
            "skip_xff_append": True,
        },
    }


def _unasked() -> Resource:
    """Has an answer that begins a tunnel, which nobody asked for, answered as what it is."""
    policy = {
        "@type": f"{_EXTENSIONS}http.custom_response.local_response_policy.v3.LocalResponsePolicy",
        "status_code": 502,
        "body": {"inline_string": _body(_GARBLED)},
        "response_headers_to_add": [{"header": {"key": "content-type", "value": MEDIA_TYPE}}],
    }
    asked = {
        "name": "status",
        "typed_config": {"@type": "type.googleapis.com/envoy.type.matcher.v3.HttpResponseStatusCodeMatchInput"},
    }
    matched = {"action": {"name": "answer", "typed_config": policy}}
    return {
        "name": "envoy.filters.http.custom_response",
        "typed_config": {
            "@type": f"{_EXTENSIONS}filters.http.custom_response.v3.CustomResponse",
            "custom_response_matcher": {"matcher_tree": {"input": asked, "exact_match_map": {"map": {"101": matched}}}},
        },
    }


def _mappers() -> Iterator[Resource]:
    """What Envoy answers by itself, as problems."""
    path = {"header_filter": {"header": {"name": ":path", "string_match": {"exact": "*"}}}}
    yield _told(path, 400, PROBLEMS["malformed"])
    for flags, status, fault in _FLAGS:
        more = {"retry-after": "1"} if status == _AWAY else {}
        yield _told({"response_flag_filter": {"flags": list(flags)}}, status, fault, **more)


def _told(filter_: Resource, status: int, fault: Fault, **more: str) -> Resource:
    headers = {"x-request-id": "%REQ(X-REQUEST-ID)%", "cache-control": "no-store", **more}
    return {
        "filter": filter_,
        "status_code": status,
        "body_format_override": {
            "text_format_source": {"inline_string": _body(fault).replace("%", "%%")},
            "content_type": MEDIA_TYPE,
        },
        "headers_to_add": [{"header": {"key": name, "value": value}} for name, value in headers.items()],
    }


def _body(fault: Fault) -> str:
    return bytes(problem_response(fault).body).decode()


_AWAY = 503
