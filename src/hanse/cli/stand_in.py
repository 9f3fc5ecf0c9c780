"""Who answers on the port while there is no app to do so: it tells what is wrong, and goes when the app comes back.

A browser gives an event stream up for good that is answered with an error. So those are held open, with nothing in them
but a hint to come again soon, and end when the app comes back: pages follow it again by themselves.

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

HELD_MAX = 100
"""Event streams that are held open at once; others end at once, and come again."""

ALIVE_SECONDS = 5.0
"""How often something is said on an event stream, so that it is noticed when its reader has gone."""

AGAIN = b"retry: 300\n\n"
"""When a reader of events is to come again, in milliseconds."""

TITLE = "the app does not run"


@final
class StandIn:
    """Answers every request with what is wrong."""

    def __init__(self, listener: socket.socket, found: Excerpt, generation: int) -> None:
        """Begin to answer."""
        self._leaving = threading.Event()
        room = threading.BoundedSemaphore(HELD_MAX)
        about = {"found": found, "generation": generation, "leaving": self._leaving, "room": room}
        handler = type("_About", (_Handler,), about)
        self._server = _Server(listener, handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(POLL_SECONDS,), name="hanse-stand-in", daemon=True
        )
        self._thread.start()

    def leave(self) -> None:
        """Answer no more, and end event streams; what has come in since waits for the app."""
        self._leaving.set()
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
    leaving: threading.Event
    room: threading.BoundedSemaphore
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
        if self.command == "GET" and "text/event-stream" in asked.get("accept", ""):
            self._hold(asked.get("origin", ""))
            return
        self._answer(*answer(self.command, self.path, asked, about=(self.found, self.generation)))

    def _hold(self, origin: str) -> None:
        """Keep an event stream open until there is an app to read it from."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        if origin:
            # There is nothing in it; and to a page of another origin any refusal is final, too.
            self.send_header("Access-Control-Allow-Origin", origin)
            self.send_header("Access-Control-Allow-Credentials", "true")
        self.end_headers()
        stays = self.room.acquire(blocking=False)
        try:
            _ = self.wfile.write(AGAIN)
            while stays and not self.leaving.wait(ALIVE_SECONDS):
                _ = self.wfile.write(f": {TITLE}\n\n".encode())
        finally:
            if stays:
                self.room.release()

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
