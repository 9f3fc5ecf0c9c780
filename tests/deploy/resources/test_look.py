"""What is said of servers that are not well, or are none."""

from __future__ import annotations

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import pytest

from hanse.deploy.resources.look import ANSWER_BYTES_MAX, look

LIMIT = 30.0


@asynccontextmanager
async def saying(*answers: bytes, greets: bool = False, then_silent: bool = False) -> AsyncGenerator[int]:
    """A server that says one thing after each that it hears, the first at once if it greets; its port."""
    over = asyncio.Event()
    talks: list[asyncio.Task[None]] = []

    async def talk(reader: StreamReader, writer: StreamWriter) -> None:
        talks.extend(filter(None, [asyncio.current_task()]))
        with suppress(OSError):
            for number, answer in enumerate(answers):
                if number or not greets:
                    await reader.read(4096)
                writer.write(answer)
            if then_silent:
                await over.wait()
            writer.close()
            await writer.wait_closed()

    listening = await asyncio.start_server(talk, "127.0.0.1", 0)
    yield int(listening.sockets[0].getsockname()[1])
    over.set()
    listening.close()
    await asyncio.gather(*talks)
    await listening.wait_closed()


@pytest.mark.parametrize("scheme", ["nats", "postgresql", "redis"])
@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"x" * (ANSWER_BYTES_MAX * 3)])
async def test_who_is_no_such_server_is_not_taken_for_one(scheme: str, answer: bytes) -> None:
    async with saying(answer, greets=scheme == "nats") as port:
        why = await look(f"{scheme}://127.0.0.1:{port}/db", LIMIT)
    assert why == "what answers there is no such server" or why.startswith(("HTTP/1.1 400", "cannot connect"))


@pytest.mark.parametrize("scheme", ["nats", "postgresql", "redis"])
async def test_who_says_nothing_is_not_well(scheme: str) -> None:
    async with saying(then_silent=True) as port:
        assert await look(f"{scheme}://127.0.0.1:{port}", 0.05) == "no answer in 0.05 s"


async def test_where_nobody_listens_that_is_told() -> None:
    async with saying() as port:
        pass
    assert (await look(f"redis://127.0.0.1:{port}", LIMIT)).startswith("cannot connect: ")


async def test_of_what_nothing_is_known_that_it_listens_is_all() -> None:
    async with saying() as port:
        assert await look(f"smtp://127.0.0.1:{port}", LIMIT) == ""


def told(*fields: bytes) -> bytes:
    body = b"".join(field + b"\0" for field in fields) + b"\0"
    return b"E" + (len(body) + 4).to_bytes(4, "big") + body


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"R", ""),
        (told(b"SFATAL", b"Mthe database system is starting up"), "the database system is starting up"),
        (told(b"SFATAL"), "it refuses"),
        (b"E\xff\xff\xff\xff", "what answers there is no such server"),
    ],
)
async def test_postgresql_says_what_it_is_at(answer: bytes, why: str) -> None:
    async with saying(answer) as port:
        assert await look(f"postgresql://hanse@127.0.0.1:{port}/db", LIMIT) == why


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ((b"+OK\r\n", b"+PONG\r\n"), ""),
        ((b"+OK\r\n", b"-LOADING Redis is loading\r\n"), "LOADING Redis is loading"),
        ((b"-WRONGPASS no\r\n",), "WRONGPASS no"),
    ],
)
async def test_redis_says_what_it_is_at(answers: tuple[bytes, ...], why: str) -> None:
    async with saying(*answers) as port:
        assert await look(f"redis://me:word@127.0.0.1:{port}", LIMIT) == why


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"+OK\r\nPONG\r\n", ""),
        (b"-ERR 'Authorization Violation'\r\n", "Authorization Violation"),
        (b"+OK\r\n" * 20, "what answers there is no such server"),
    ],
)
async def test_nats_says_what_it_is_at(answer: bytes, why: str) -> None:
    async with saying(b"INFO {}\r\n", answer, greets=True) as port:
        assert await look(f"nats://me:word@127.0.0.1:{port}", LIMIT) == why
