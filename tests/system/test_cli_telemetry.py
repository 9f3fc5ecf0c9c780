"""OTEL_* asks for telemetry, and a real collector gets it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

SCRIPT = """
import os
from hanse.kernel import telemetry
from hanse.kernel.message import Headers
stop = telemetry.start(os.environ, {"service.name": "shop"})
with telemetry.Tracer().span("orders.place", telemetry.Side.SERVER, Headers()):
    telemetry.Meter().record(telemetry.Side.SERVER, "orders.place", 0.02)
print(telemetry.active())
stop()
"""


class Collector(ThreadingHTTPServer):
    """Keeps what comes, by path."""

    came: dict[str, bytes]


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Collector)
        self.server.came[self.path] = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is the library's
        pass


@pytest.mark.parametrize(
    ("variable", "paths"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", {"/v1/traces", "/v1/metrics"}),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", {"/"}),
    ],
)
def test_spans_and_figures_reach_the_collector_before_the_end(variable: str, paths: set[str]) -> None:
    with Collector(("127.0.0.1", 0), Handler) as collector:
        collector.came = {}
        thread = threading.Thread(target=collector.serve_forever, args=(0.01,))
        thread.start()
        url = f"http://127.0.0.1:{collector.server_address[1]}"
        environ = {**os.environ, variable: url, "NO_PROXY": "127.0.0.1"}
        done = subprocess.run([sys.executable, "-c", SCRIPT], env=environ, capture_output=True, text=True, check=True)
        collector.shutdown()
        thread.join()
    assert collector.came.keys() == paths
    assert all(b"shop" in body for body in collector.came.values())
    assert done.stdout == f"{'/v1/traces' in paths}\n"
