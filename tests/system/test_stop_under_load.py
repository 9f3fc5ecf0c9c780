"""A stop while clients keep coming: who is connected is answered, who comes later is refused, nobody is reset."""

import asyncio
import socket
from collections.abc import Callable

import pytest

from hanse.gateway.asgi import Receive, Scope, Send
from hanse.gateway.limits import Limits
from hanse.gateway.listen import bound
from hanse.gateway.serve import _Server, loop_factory  # pyright: ignore[reportPrivateUsage] - stopped by hand, at a moment of ours

CLIENTS = 30
REQUEST = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"


async def hello(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"hi"})


def asking(address: tuple[str, int]) -> socket.socket:
    client = socket.create_connection(address, timeout=10)
    client.sendall(REQUEST)
    return client


def heard_by(client: socket.socket) -> bytes:
    with client:
        return b"".join(iter(lambda: client.recv(1000), b""))


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, loop_factory()], ids=["asyncio", "fastest"])
@pytest.mark.parametrize("accepted", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_who_is_connected_before_a_stop_is_answered(
    loop: Callable[[], asyncio.AbstractEventLoop], *, accepted: bool, shared: bool
) -> None:
    async def stop_with_clients() -> list[bytes]:
        with bound("127.0.0.1", 0) as listener:
            server = _Server(hello, Limits(), 10, shared=shared)
            async with asyncio.TaskGroup() as group:
                _ = group.create_task(server.serve(sockets=[listener]))
                _ = await server.listening.wait()
                # The loop does not turn here: what they want is known to the system alone.
                clients = [asking(listener.getsockname()) for _ in range(CLIENTS)]
                if accepted:
                    await asyncio.sleep(0)
                _ = group.create_task(server.shutdown([listener]))
                heard = await asyncio.gather(*(asyncio.to_thread(heard_by, client) for client in clients))
                server.should_exit = True
        return heard

    with asyncio.Runner(loop_factory=loop) as runner:
        heard = runner.run(stop_with_clients())
    assert [answer[:15] for answer in heard] == [b"HTTP/1.1 200 OK"] * CLIENTS


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, loop_factory()], ids=["asyncio", "fastest"])
def test_who_comes_after_a_stop_is_refused(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def stop() -> None:
        with bound("127.0.0.1", 0) as listener:
            server, address = _Server(hello, Limits(), 10), listener.getsockname()
            async with asyncio.TaskGroup() as group:
                _ = group.create_task(server.serve(sockets=[listener]))
                _ = await server.listening.wait()
                _ = group.create_task(server.shutdown([listener]))
                await asyncio.sleep(0)
                # Who knocks while it closes is not heard, and refused when they knock again.
                with pytest.raises(ConnectionRefusedError):
                    _ = await asyncio.to_thread(asking, address)
                server.should_exit = True

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(stop())
