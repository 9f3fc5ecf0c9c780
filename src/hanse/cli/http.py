"""The few HTTP requests that commands make, with the standard library alone."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from io import BytesIO
from types import TracebackType
from typing import Protocol, Self, cast
from urllib.parse import SplitResult, urlsplit

import msgspec

from hanse.cli.net import is_loopback
from hanse.kernel.faults import Malformed, Misconfigured, TooLarge, Unavailable

ANSWER_BYTES_MAX = 16 * 1024 * 1024
"""Largest whole answer that is read."""
LINE_BYTES_MAX = 4 * 1024 * 1024
"""Largest line of a stream that is read."""


class _Reply(Protocol):
    status: int
    headers: Mapping[str, str]

    def read(self, size: int, /) -> bytes: ...
    def readline(self, size: int, /) -> bytes: ...
    def close(self) -> None: ...


class Answer(AbstractContextManager["Answer"]):
    """What came back: its status and media type at once, its body on demand."""

    def __init__(self, url: str, reply: _Reply) -> None:
        self.status: int = reply.status
        self.type: str = (reply.headers.get("content-type") or "").partition(";")[0].strip().lower()
        self._url = url
        self._reply = reply

    def body(self) -> bytes:
        """The whole body.

        Raises:
            TooLarge: It is over `ANSWER_BYTES_MAX`.
            Unavailable: The connection broke.
        """
        with _reaching(self._url):
            found = self._reply.read(ANSWER_BYTES_MAX + 1)
        if len(found) > ANSWER_BYTES_MAX:
            raise TooLarge(f"the answer of {self._url}", f"{ANSWER_BYTES_MAX} bytes")
        return found

    def json(self) -> object:
        """The body as JSON data.

        Raises:
            Malformed: It is not JSON.
        """
        try:
            return msgspec.json.decode(self.body())
        except msgspec.DecodeError:
            came = self.type or "nothing"
            raise Malformed(f"expected JSON from {self._url}, got {came}; is it a Hanse gateway?") from None

    def lines(self) -> Iterator[str]:
        """The lines of a stream as they come.

        Raises:
            TooLarge: A line is over `LINE_BYTES_MAX`.
            Unavailable: The connection broke.
        """
        while True:
            with _reaching(self._url):
                line = self._reply.readline(LINE_BYTES_MAX + 1)
            if not line:
                return
            if len(line) > LINE_BYTES_MAX:
                raise TooLarge(f"a line from {self._url}", f"{LINE_BYTES_MAX} bytes")
            yield line.decode(errors="replace").rstrip("\r\n")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._reply.close()


class _reaching:  # noqa: N801  # it reads as what it does
    """Whatever the network does wrong becomes `Unavailable` with what to try."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if isinstance(error, (OSError, HTTPException)):
            reason = getattr(error, "reason", error)
            raise Unavailable(
                f"expected a running system at {self._url}, got: {reason}; "
                f"start one with `hanse run`, or name it with --url or HANSE_URL"
            ) from None


def request(
    url: str,
    *,
    body: bytes | None = None,
    method: str = "",
    headers: Mapping[str, str] | None = None,
    timeout: float,
) -> Answer:
    """Ask a running system: POST with a body, GET without, unless a method is said.

    Args:
        url: Where, `http://` or `https://`.
        body: JSON bytes, unless the headers say otherwise.
        method: Of HTTP.
        headers: Beside those of the body.
        timeout: Seconds of silence after which it is given up.

    Raises:
        Misconfigured: The URL is none.
        Unavailable: Nobody answers.
    """
    parts = _parts(url)
    sent = {**({} if body is None else {"Content-Type": "application/json"}), **(headers or {})}
    wanted = urllib.request.Request(url, data=body, headers=sent, method=method or None)  # noqa: S310  # checked above
    # A proxy is for the world outside; this machine is reached without it.
    proxies = [urllib.request.ProxyHandler({})] if is_loopback(parts.hostname or "") else []
    with _reaching(url):
        try:
            return Answer(url, cast("_Reply", urllib.request.build_opener(*proxies).open(wanted, timeout=timeout)))
        except urllib.error.HTTPError as error:
            return Answer(url, cast("_Reply", error))


def request_directly(url: str, *, headers: Mapping[str, str], timeout: float, body: bytes | None = None) -> Answer:
    """Ask for a page that is the operator's: without `Connection: close`, which a gateway knows proxies by.

    Args:
        url: Where, `http://` or `https://`.
        headers: To send along.
        timeout: Seconds of silence after which it is given up.
        body: JSON to POST; None to GET.

    Raises:
        Misconfigured: The URL is none.
        Unavailable: Nobody answers.
    """
    parts = _parts(url)
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    sent = {**({} if body is None else {"Content-Type": "application/json"}), **headers}
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    with _reaching(url), closing(kind(parts.hostname or "", parts.port, timeout=timeout)) as connection:
        connection.request("GET" if body is None else "POST", path, body, sent)
        reply = connection.getresponse()
        names = {name.lower(): value for name, value in reply.headers.items()}
        return Answer(url, _Whole(reply.status, names, reply.read(ANSWER_BYTES_MAX + 1)))


class _Whole(BytesIO):
    """An answer that was read."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(body)
        self.status: int = status
        self.headers: Mapping[str, str] = headers


def _parts(url: str) -> SplitResult:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Misconfigured(f"expected a URL such as http://127.0.0.1:8000, got {url!r}")
    return parts
