"""The twin of NATS for worlds says what a real server says, word for word, to clients that speak by hand."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from hanse.sim.brokers.nats_server import NatsServer

from .server import Server

ANSWER_SECONDS = 60.0
CONNECT = b'CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"protocol":1}\r\n'

WANTED = (b"a.*", b"a.>", b">", b"a", b"*.b")

# What clients say, in turn: the number of the client, and its words. Each waits until it was answered by PONG.
Talk = list[tuple[int, bytes]]

TALKS: dict[str, Talk] = {
    "one hears what it publishes itself": [(0, CONNECT + b"SUB a 1\r\nPUB a 2\r\nhi\r\n")],
    "unless it does not want to": [
        (0, CONNECT.replace(b"}", b',"echo":false}') + b"SUB a 1\r\nPUB a 2\r\nhi\r\n"),
    ],
    "others hear it, with where to answer": [
        (0, CONNECT + b"SUB orders.* 7\r\n"),
        (1, CONNECT + b"PUB orders.new back.to.me 5\r\nhello\r\n"),
        (0, b""),
    ],
    "subjects match by tokens": [
        *((number, CONNECT + b"SUB %b 1\r\n" % wanted) for number, wanted in enumerate(WANTED)),
        (9, CONNECT + b"PUB a.b 1\r\nx\r\nPUB a 1\r\ny\r\nPUB a.b.c 1\r\nz\r\n"),
        *((number, b"") for number in range(len(WANTED))),
    ],
    "headers are handed on": [
        (0, CONNECT + b"SUB a 1\r\n"),
        (1, CONNECT + b"HPUB a 22 24\r\nNATS/1.0\r\nName: x\r\n\r\n\r\nhi\r\n"),
        (0, b""),
    ],
    "who takes no headers gets none": [
        (0, b"CONNECT {}\r\nSUB a 1\r\n"),
        (1, CONNECT + b"HPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"),
        (0, b""),
    ],
    "where nobody listens the asker is told": [(0, CONNECT + b"SUB inbox.* 1\r\nPUB nobody inbox.7 1\r\nx\r\n")],
    "and only those who asked to be told": [(0, b"CONNECT {}\r\nSUB inbox.* 1\r\nPUB nobody inbox.7 1\r\nx\r\n")],
    "one of a group is given a message": [
        (0, CONNECT + b"SUB a g 1\r\n"),
        (1, CONNECT + b"PUB a 1\r\nx\r\nPUB a 1\r\ny\r\n"),
        (0, b""),
    ],
    "who has unsubscribed hears nothing": [
        (0, CONNECT + b"SUB a 1\r\nSUB b 2\r\nUNSUB 1\r\n"),
        (1, CONNECT + b"PUB a 1\r\nx\r\nPUB b 1\r\ny\r\n"),
        (0, b""),
    ],
    "a subscription may end after some messages": [
        (0, CONNECT + b"SUB a 1\r\nUNSUB 1 2\r\n"),
        (1, CONNECT + b"PUB a 1\r\nx\r\nPUB a 1\r\ny\r\nPUB a 1\r\nz\r\n"),
        (0, b""),
    ],
    "who wants each command confirmed has it": [(0, b'CONNECT {"verbose":true}\r\nSUB a 1\r\nPUB a 1\r\nx\r\n')],
    "a wrong subject is refused": [(0, CONNECT + b"SUB a..b 1\r\n")],
    "an unknown command ends it": [(0, CONNECT + b"HELLO\r\n")],
    "a message that is too large ends it": [(0, CONNECT + b"PUB a 1048577\r\n")],
    "a line that is too long ends it": [(0, CONNECT + b"PUB " + b"a" * 5_000)],
}


class Client:
    """Says words, and keeps what comes, but for greetings and pings."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.heard: list[bytes] = []

    async def say(self, words: bytes) -> None:
        """Say something, and hear until the server has taken it; or to the end."""
        with contextlib.suppress(ConnectionError):
            self.writer.write(words + b"PING\r\n")
            async with asyncio.timeout(ANSWER_SECONDS):
                while (line := await self.reader.readline()) not in {b"PONG\r\n", b""}:
                    if line == b"PING\r\n":
                        self.writer.write(b"PONG\r\n")
                    elif not line.startswith(b"INFO "):
                        self.heard.append(line)
                if not line:
                    self.heard.append(b"(closed)")


async def heard(port: int, talk: Talk) -> list[list[bytes]]:
    clients: dict[int, Client] = {}
    try:
        for number, words in talk:
            if number not in clients:
                clients[number] = Client(*await asyncio.open_connection("127.0.0.1", port))
            await clients[number].say(words)
        return [client.heard for client in clients.values()]
    finally:
        for client in clients.values():
            client.writer.close()


@pytest.mark.parametrize("talk", TALKS.values(), ids=TALKS.keys())
async def test_the_twin_says_what_a_server_says(server: Server, talk: Talk) -> None:
    real = await heard(server.port, talk)
    listening = await NatsServer("twin").serve("127.0.0.1", 0)
    try:
        assert isinstance(listening, asyncio.Server)
        twin = await heard(listening.sockets[0].getsockname()[1], talk)
    finally:
        listening.close()
        await listening.wait_closed()
    assert twin == real
