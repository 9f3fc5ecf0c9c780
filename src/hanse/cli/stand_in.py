"""Who answers on the port while there is no app to do so: it tells what is wrong, and goes when the app comes back.

A thread with the standard library's server, on the socket that the app listens on when it is there.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import final

from hanse.cli.dev_page import HTML, POLICY, STANDING, is_meant, page, wants_page
from hanse.cli.excerpt import Excerpt, as_text
from hanse.kernel.codec import encode_json

POLL_SECONDS = 0.02
"""How often the thread looks whether it is to end."""
SILENCE_SECONDS_MAX = 5.0
BODY_BYTES_MAX = 1024 * 1024
"""How much of a request's body is read, so that its sender reads the answer."""

TITLE = "the app does not run"


@final
class StandIn:
    """Answers every request with what is wrong."""

    def __init__(self, listener: socket.socket, found: Excerpt, generation: int) -> None:
        """Begin to answer."""
        handler = type("_About", (_Handler,), {"found": found, "generation": generation})
        self._server = _Server(listener, handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(POLL_SECONDS,), name="hanse-stand-in", daemon=True
        )
        self._thread.start()

    def leave(self) -> None:
        """Answer no more; what has come in since waits for the app."""
        self._server.shutdown()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    def __init__(self, listener: socket.socket, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("", 0), handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener

    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever went away is not told of."""


class _Handler(BaseHTTPRequestHandler):
    found: Excerpt
    generation: int
    timeout = SILENCE_SECONDS_MAX
    server_version, sys_version = "", ""

    def handle_one_request(self) -> None:
        """Answer whatever the method is."""
        self.close_connection = True
        self.raw_requestline = self.rfile.readline(65_537)
        if not self.raw_requestline or not self.parse_request():
            return
        self.close_connection = True
        length = self.headers.get("Content-Length", "")
        if length.isdigit():
            _ = self.rfile.read(min(int(length), BODY_BYTES_MAX))
        asked = {name.lower(): str(value) for name, value in self.headers.items()}
        self._answer(*answer(self.command, self.path, asked, about=(self.found, self.generation)))

    def _answer(self, status: int, media_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            _ = self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the signature is the library's
        """Nothing: the error has been told already."""


def answer(method: str, path: str, headers: Mapping[str, str], *, about: tuple[Excerpt, int]) -> tuple[int, str, bytes]:
    """Status, media type and body of an answer: a page for browsers, a problem for all others.

    Args:
        method: Of the request.
        path: The same.
        headers: By name in lower case.
        about: What is wrong, and the generation that it is wrong with.
    """
    found, generation = about
    if path == STANDING:
        return 200, "application/json", encode_json({"generation": generation, "runs": False})
    if wants_page(headers):
        return 503, HTML, page(found, TITLE, generation, method)
    problem = {
        "type": "about:blank",
        "status": 503,
        "code": "could_not_start",
        "title": "Service Unavailable",
        "detail": as_text(found) if is_meant(headers) else TITLE,
    }
    return 503, "application/problem+json", encode_json(problem)
