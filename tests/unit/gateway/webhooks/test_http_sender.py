"""What sends over HTTP connects to the address that was judged, and to nothing that it is led to after that."""

import asyncio
import os
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
import trustme

from hanse.gateway.webhooks.address import Reach, reach_of
from hanse.gateway.webhooks.delivering import http_sender
from hanse.gateway.webhooks.http_sender import ANSWER_BYTES_MAX, ANSWER_CHARACTERS_MAX, HttpSender, resolved
from hanse.gateway.webhooks.schedule import Answer
from hanse.gateway.webhooks.sender import Sending
from hanse.kernel.host import Host

Answers = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
HERE = reach_of(["127.0.0.0/8"], http=True)
ALONE = """
import asyncio, sys
from hanse.gateway.webhooks.address import reach_of
from hanse.gateway.webhooks.http_sender import HttpSender
from hanse.gateway.webhooks.sender import Sending
from hanse.kernel.host import Host

async def main():
    sender = HttpSender(reach_of(["127.0.0.0/8"], http=True), 10.0, Host.system())
    print((await sender.send(Sending(sys.argv[1], {}, b"{}"))).status)
    await sender.close()

asyncio.run(main())
"""
OK = b"HTTP/1.1 204 No Content\r\n\r\n"


class Receiver:
    """A server on the loopback: what it was asked, and where it is."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.port = 0
        self.left = asyncio.Semaphore(0)

    @asynccontextmanager
    async def up(self, answer: bytes = OK, *, tls: ssl.SSLContext | None = None) -> AsyncIterator["Receiver"]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                self.asked.append(head + await reader.readexactly(length))
                writer.write(answer)
                await writer.drain()
                if not answer:
                    _ = await reader.read()
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()
                self.left.release()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


def resolving(*answers: Sequence[str]) -> Callable[[str, int], Awaitable[Sequence[str]]]:
    """A name service that says something else each time."""
    left = list(answers)

    async def resolve(_: str, __: int) -> Sequence[str]:
        return left.pop(0)

    return resolve


async def sent(
    url: str,
    reach: Reach = HERE,
    *,
    timeout: float = 10.0,
    resolve: Callable[[str, int], Awaitable[Sequence[str]]] | None = None,
    tls: ssl.SSLContext | None = None,
) -> Answer:
    sender = HttpSender(reach, timeout, Host.system(), resolve=resolve or resolving(["127.0.0.1"]), tls=tls)
    try:
        return await sender.send(Sending(url, {"webhook-id": "msg_1"}, b'{"a":1}'))
    finally:
        await sender.close()


async def test_it_posts_the_body_with_its_headers_and_the_name_of_the_url(receiver: Receiver) -> None:
    async with receiver.up():
        answer = await sent(f"http://shop.example:{receiver.port}/hooks?a=b")
    assert answer == Answer(204)
    (asked,) = receiver.asked
    assert asked.startswith(b"POST /hooks?a=b HTTP/1.1\r\n")
    assert f"host: shop.example:{receiver.port}\r\n".encode() in asked.lower()
    assert b"webhook-id: msg_1\r\n" in asked
    assert asked.endswith(b'\r\n\r\n{"a":1}')


async def test_a_name_that_leads_inside_is_not_connected_to(receiver: Receiver) -> None:
    async with receiver.up():
        answer = await sent(f"http://shop.example:{receiver.port}/", Reach(http=True))
    assert (answer.status, answer.refused, receiver.asked) == (0, True, [])
    assert "127.0.0.1, which is loopback" in answer.problem


async def test_one_address_inside_among_others_is_enough(receiver: Receiver) -> None:
    async with receiver.up():
        url = f"http://shop.example:{receiver.port}/"
        answer = await sent(url, resolve=resolving(["127.0.0.1", "::ffff:10.0.0.1"]))
    assert (answer.refused, receiver.asked) == (True, [])


async def test_a_name_is_resolved_once_so_that_it_cannot_change_between_check_and_connection(
    receiver: Receiver,
) -> None:
    async with receiver.up():
        # A second look at the name would fail: there is no second answer.
        answer = await sent(f"http://shop.example:{receiver.port}/", resolve=resolving(["127.0.0.1"]))
    assert answer.accepted


async def test_an_address_that_does_not_answer_is_not_the_last(receiver: Receiver) -> None:
    async with receiver.up():
        url = f"http://shop.example:{receiver.port}/"
        answer = await sent(url, resolve=resolving(["127.9.9.9", "127.0.0.1"]))
    assert answer.accepted


async def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    async with receiver.up(b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n"):
        answer = await sent(f"http://shop.example:{receiver.port}/")
    assert (answer.status, len(receiver.asked)) == (302, 1)
    assert "not followed" in answer.problem


async def test_no_proxy_of_the_environment_is_asked(receiver: Receiver) -> None:
    nobody = "http://127.0.0.1:9"
    proxies = {"http_proxy": nobody, "HTTP_PROXY": nobody, "all_proxy": nobody, "ALL_PROXY": nobody}
    async with receiver.up():
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            ALONE,
            f"http://127.0.0.1:{receiver.port}/",
            env={**os.environ, **proxies},
            stdout=asyncio.subprocess.PIPE,
        )
        printed, _ = await process.communicate()
    assert (printed, len(receiver.asked)) == (b"204\n", 1)


async def test_of_an_answer_without_end_only_the_beginning_is_read(receiver: Receiver) -> None:
    async with receiver.up(b"HTTP/1.1 500 No\r\ncontent-length: 999999999\r\n\r\n" + b"x" * ANSWER_BYTES_MAX):
        answer = await sent(f"http://shop.example:{receiver.port}/")
    assert (answer.status, answer.said) == (500, "x" * ANSWER_CHARACTERS_MAX)


async def test_an_answer_that_does_not_come_is_not_waited_for(receiver: Receiver) -> None:
    async with receiver.up(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nx"):
        reset = await sent(f"http://shop.example:{receiver.port}/")
    async with receiver.up(b""):
        slow = await sent(f"http://shop.example:{receiver.port}/", timeout=0.05)
        for _ in range(2):
            await receiver.left.acquire()
    assert (reset.status, slow.status) == (0, 0)
    assert "within 0.05 s" in slow.problem


async def test_what_a_receiver_asks_to_wait_is_heard(receiver: Receiver) -> None:
    async with receiver.up(b"HTTP/1.1 429 No\r\nRetry-After: 90\r\ncontent-length: 0\r\n\r\n"):
        assert (await sent(f"http://shop.example:{receiver.port}/")).retry_after == 90.0


async def test_nobody_there_no_such_name_and_no_http_are_attempts_that_failed(receiver: Receiver) -> None:
    async with receiver.up(b"SSH-2.0-OpenSSH\r\n"):
        strange = await sent(f"http://shop.example:{receiver.port}/")

    async def nowhere(_: str, __: int) -> Sequence[str]:
        raise OSError("no such name")

    closed = await sent(f"http://shop.example:{receiver.port}/")
    unknown = await sent("http://shop.example/", resolve=nowhere)
    assert [answer.status for answer in (strange, closed, unknown)] == [0, 0, 0]
    assert all(answer.problem for answer in (strange, closed, unknown))


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def believing(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def showing(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


async def test_over_tls_the_certificate_has_to_be_of_the_name(receiver: Receiver, authority: trustme.CA) -> None:
    async with receiver.up(tls=showing(authority, "shop.example")):
        right = await sent(f"https://shop.example:{receiver.port}/", tls=believing(authority))
        wrong = await sent(f"https://other.example:{receiver.port}/", tls=believing(authority))
        stranger = await sent(f"https://shop.example:{receiver.port}/")
    assert right.accepted
    assert (wrong.status, stranger.status, len(receiver.asked)) == (0, 0, 1)


async def test_the_machine_is_asked_for_names() -> None:
    assert await resolved("127.0.0.1", 80) == ["127.0.0.1"]
    sender = http_sender(HERE, 1.0, Host.system())
    assert isinstance(sender, HttpSender)
    await sender.close()
