"""The twin of Redis for worlds says what a real server says, word for word, to clients that speak by hand."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Sequence

import pytest

from hanse.kernel.resp import Script, command
from hanse.sim.brokers.redis_memory import Journal
from hanse.sim.brokers.redis_server import RedisServer
from hanse.transport.redis.keep_scripts import DONE, HOLD, LEAVE, LEFT, OPEN, PUBLISH, TAKE
from hanse.transport.redis.scripts import SEND, SWEEP

from .server import Server

ANSWER_SECONDS = 60.0
END = b"$3\r\nend\r\n"

Words = tuple[bytes, ...]
Talk = list[tuple[int, Sequence[Words]]]


def load(script: bytes) -> Words:
    return b"SCRIPT", b"LOAD", script


def script(script: Script, keys: Sequence[bytes], *arguments: bytes) -> Words:
    return b"EVAL", script.source, b"%d" % len(keys), *keys, *arguments


# What clients say, in turn: the number of the client, and its commands. Each waits until all were answered.
TALKS: dict[str, Talk] = {
    "lists": [
        (0, [(b"RPUSH", b"k", b"a", b"b"), (b"RPUSH", b"k", b"c"), (b"LLEN", b"k")]),
        (1, [(b"BLMPOP", b"1", b"2", b"none", b"k", b"LEFT", b"COUNT", b"2"), (b"LLEN", b"k")]),
        (0, [(b"DEL", b"k", b"none"), (b"LLEN", b"k")]),
    ],
    "one entry where no count is named": [
        (0, [(b"RPUSH", b"k", b"a", b"b"), (b"BLMPOP", b"1", b"1", b"k", b"LEFT"), (b"DEL", b"k")])
    ],
    "who waits in vain is told so": [(0, [(b"BLMPOP", b"0.05", b"1", b"none", b"LEFT", b"COUNT", b"2")])],
    "keys end": [
        (0, [(b"EXPIRE", b"none", b"5"), (b"RPUSH", b"k", b"a"), (b"EXPIRE", b"k", b"0"), (b"LLEN", b"k")]),
    ],
    "who is subscribed is told": [
        (0, [(b"SUBSCRIBE", b"c"), (b"SUBSCRIBE", b"d")]),
        (1, [(b"PUBLISH", b"c", b"hello"), (b"PUBLISH", b"d", b""), (b"PUBLISH", b"none", b"hello")]),
        (0, [(b"UNSUBSCRIBE", b"c")]),
        (1, [(b"PUBLISH", b"c", b"hello")]),
        (0, [(b"UNSUBSCRIBE", b"never")]),
    ],
    "who publishes hears itself": [(0, [(b"SUBSCRIBE", b"c"), (b"PUBLISH", b"c", b"hello")])],
    "scripts have to be known": [(0, [(b"EVALSHA", b"0" * 40, b"1", b"k")]), (0, [(b"SCRIPT", b"FLUSH")])],
    "a request where nobody serves": [(0, [load(SEND.source), (b"EVALSHA", SEND.sha, b"1", b"s", b"x")])],
    "a request that waits is swept once nobody serves": [
        (0, [load(SEND.source), load(SWEEP.source), (b"SUBSCRIBE", b"s")]),
        (1, [(b"EVALSHA", SEND.sha, b"1", b"s", b"x"), (b"LLEN", b"s"), (b"EVALSHA", SWEEP.sha, b"1", b"s")]),
        (1, [(b"EVAL", SWEEP.source, b"1", b"nobody"), (b"DEL", b"s")]),
        (0, [(b"UNSUBSCRIBE", b"s"), (b"EVALSHA", SWEEP.sha, b"1", b"s")]),
    ],
    "events are kept once, in their order, and taken in turns": [
        (0, [script(OPEN, (b"ev",), b"g"), script(OPEN, (b"ev",), b"g"), script(LEFT, (b"ev",), b"g")]),
        (0, [script(PUBLISH, (b"ev", b"ev.ids."), *b"1 sold one 2 other two 3 sold three 1 sold one".split())]),
        (0, [script(PUBLISH, (b"ev", b"ev.ids."), b"1", b"sold", b"one"), script(LEFT, (b"ev",), b"g")]),
        (0, [script(TAKE, (b"ev", b"turn"), *b"g A 4000 0 none 0 10 sold".split()), script(LEFT, (b"ev",), b"g")]),
        (1, [script(TAKE, (b"ev", b"turn"), *b"g B 4000 0 none 0 10 sold".split())]),
        (1, [script(TAKE, (b"ev", b"turn"), *b"g B 4000 1 none 0 10 sold".split())]),
        (1, [script(DONE, (b"ev", b"turn"), b"g", b"B", b"1-1"), script(LEAVE, (b"ev", b"turn"), b"g", b"B")]),
        (1, [script(HOLD, (b"ev", b"turn", b"trim"), *b"g B 4000 60 600 1000".split())]),
        (0, [script(HOLD, (b"ev", b"turn", b"trim"), *b"g A 4000 60 600 1000".split())] * 2),
        (0, [script(DONE, (b"ev", b"turn"), b"g", b"A", b"1-1"), script(LEAVE, (b"ev", b"turn"), b"g", b"A")]),
        (1, [script(TAKE, (b"ev", b"turn"), *b"g B 4000 0 none 0 1 sold other".split())]),
        (1, [script(TAKE, (b"ev", b"turn"), *b"g B 4000 1 none > 10 sold".split()), script(LEFT, (b"ev",), b"g")]),
        (1, [script(TAKE, (b"ev", b"turn"), *b"none B 4000 1 none 0 1 sold".split())]),
    ],
    "what is no command": [(0, [(b"NONSENSE", b"x")])],
    "what is no protocol": [(0, [(b"PING",)]), (0, [(b"HELLO", b"9")])],
}


class Client:
    """Says commands, and keeps all that comes until the last is answered."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.heard: list[bytes] = []

    async def say(self, commands: Sequence[Words]) -> None:
        self.writer.write(b"".join([command(*words) for words in commands]) + command(b"PING", b"end"))
        with contextlib.suppress(asyncio.IncompleteReadError):
            async with asyncio.timeout(ANSWER_SECONDS):
                came = await self.reader.readuntil(END)
                # How servers put what is wrong differs from one to the next.
                came = re.sub(rb"(?m)^(-\w+) .*$", rb"\1", came)
                # Nor are the names of entries the same, and the time that a turn lasts.
                came = re.sub(rb"\$\d+\r\n\d{13}-\d+", b"(entry)", came)
                self.heard.append(re.sub(rb":[34]\d{3}\r", b"(time)", came))


async def heard(port: int, talk: Talk) -> list[list[bytes]]:
    clients: dict[int, Client] = {}
    try:
        for number, commands in talk:
            if number not in clients:
                clients[number] = Client(*await asyncio.open_connection("127.0.0.1", port))
                await clients[number].say([(b"HELLO", b"3")])
                clients[number].heard.clear()
            await clients[number].say(commands)
        return [client.heard for client in clients.values()]
    finally:
        for client in clients.values():
            client.writer.close()


@pytest.mark.parametrize("talk", TALKS.values(), ids=TALKS.keys())
async def test_the_twin_says_what_a_server_says(server: Server, talk: Talk) -> None:
    real = await heard(server.port, talk)
    listening = await RedisServer(Journal().memory(), lambda: 1_750_000_000.0).serve("127.0.0.1", 0)
    try:
        assert isinstance(listening, asyncio.Server)
        twin = await heard(listening.sockets[0].getsockname()[1], talk)
    finally:
        listening.close()
        await listening.wait_closed()
    assert twin == real
