"""Sends one webhook: resolves the name once, and connects to an address that was judged, under the name.

No redirect is followed, no proxy of the environment is asked, and of the answer only its beginning is read: whoever
answers is a stranger. TLS goes by the name of the URL, which the certificate has to be of.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Sequence
from typing import cast, final

import httpcore2

from hanse.gateway.webhooks.address import AddressRefused, Reach, Target, checked, target_of
from hanse.gateway.webhooks.schedule import Answer, retry_after_of
from hanse.gateway.webhooks.sender import Sending
from hanse.kernel.host import Host

ANSWER_BYTES_MAX = 65_536
"""Of an answer's body that are read; who says more is not listened to."""

ANSWER_CHARACTERS_MAX = 1_000
"""Of an answer's body, or of an error, that are kept for whoever looks for a mistake."""

CONNECTIONS_MAX = 256
"""Open at once."""

ADDRESSES_MAX = 4
"""Of one name that are tried."""

IDLE_SECONDS = 15.0
"""How long a connection is kept for the next webhook."""

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses that a name stands for."""


@final
class HttpSender:
    """Sends over HTTP.

    Args of the constructor:
        reach: How far it may send.
        timeout: Seconds for all of it: name, connection, answer.
        host: The clock that dates are read by.
        resolve: What names stand for; by default what the machine says.
        tls: Whose certificates are believed; by default those that the machine believes.
    """

    def __init__(
        self,
        reach: Reach,
        timeout: float,
        host: Host,
        *,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._reach = reach
        self._timeout = timeout
        self._host = host
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=tls or ssl.create_default_context(),
            max_connections=CONNECTIONS_MAX,
            keepalive_expiry=IDLE_SECONDS,
            network_backend=_Dialer(reach, resolve or resolved),
        )

    async def send(self, sending: Sending) -> Answer:
        """See `Sender.send`."""
        timer = asyncio.timeout(self._timeout)
        try:
            async with timer:
                return await self._exchange(target_of(sending.url, self._reach), sending)
        except AddressRefused as fault:
            return Answer(0, str(fault), refused=True)
        except TimeoutError:
            return Answer(0, f"expected an answer within {self._timeout:g} s, got none")
        except Exception as error:  # noqa: BLE001 - whatever a stranger's server brings about is an attempt that failed
            return Answer(0, f"{type(error).__name__}: {error}"[:ANSWER_CHARACTERS_MAX])

    async def close(self) -> None:
        """See `Sender.close`."""
        await self._pool.aclose()

    async def _exchange(self, target: Target, sending: Sending) -> Answer:
        url = httpcore2.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
        headers = [("host", target.authority), *sending.headers.items()]
        async with self._pool.stream("POST", url, headers=headers, content=sending.body) as response:
            found = {name.lower(): value for name, value in response.headers}
            said = await _beginning(response.aiter_stream())
        wait = retry_after_of(found.get(b"retry-after", b"").decode("latin-1"), self._host.now())
        return Answer(response.status, _problem_of(response.status), wait, said=said)


@final
class _Dialer(httpcore2.AsyncNetworkBackend):
    """Connects to addresses that were judged, whatever the name stands for a moment later."""

    def __init__(self, reach: Reach, resolve: Resolve) -> None:
        self._reach = reach
        self._resolve = resolve
        self._inner = cast("httpcore2.AsyncNetworkBackend", httpcore2.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the first address that answers.

        Raises:
            AddressRefused: One of them leads inside.
            OSError: There is no such name.
        """
        found = checked(host, await self._resolve(host, port), self._reach)
        *others, last = (str(address) for address in found[:ADDRESSES_MAX])
        for address in others:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except httpcore2.ConnectError:
                continue
        return await self._inner.connect_tcp(last, port, timeout, local_address, socket_options)


async def resolved(host: str, port: int) -> list[str]:
    """What the machine says that a name stands for."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


async def _beginning(pieces: AsyncIterable[bytes]) -> str:
    read = bytearray()
    async for piece in pieces:
        read += piece
        if len(read) >= ANSWER_BYTES_MAX:
            break
    return bytes(read).decode(errors="replace")[:ANSWER_CHARACTERS_MAX]


def _problem_of(status: int) -> str:
    if 200 <= status < 300:  # noqa: PLR2004 - what HTTP calls a success
        return ""
    redirects = "; redirects are not followed" if 300 <= status < 400 else ""  # noqa: PLR2004 - as above
    return f"expected an answer of 2xx, got {status}{redirects}"
