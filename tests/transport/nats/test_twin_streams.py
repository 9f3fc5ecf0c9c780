"""The twin of JetStream for worlds answers what a real one answers, to a client that speaks by hand."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import Sequence
from typing import cast

import pytest

from hanse.sim.brokers.nats_server import NatsServer
from hanse.sim.brokers.nats_streams import Storage

from .server import Server

ANSWER_SECONDS = 60.0
CONNECT = b'CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"protocol":1}\r\n'
NANO = 1_000_000_000

_names = map("TWIN%d".__mod__, itertools.count(1))

# What is asked, in turn: on which subject, under which headers, and what. "S" stands for the stream.
Asked = tuple[str, dict[str, str], object]

EVENTS: dict[str, object] = {
    "name": "HANSE_S",
    "subjects": ["S.ev.*"],
    "storage": "memory",
    "retention": "limits",
    "num_replicas": 1,
    "discard": "new",
    "max_bytes": 2_000,
    "allow_atomic": True,
}
LAST = {"name": "HANSE_S", "subjects": ["S.g.*"], "storage": "memory", "max_msgs_per_subject": 1, "discard": "old"}
CREATE: Asked = ("$JS.API.STREAM.CREATE.HANSE_S", {}, EVENTS)
INFO: Asked = ("$JS.API.STREAM.INFO.HANSE_S", {}, None)


def event(number: int, **headers: str) -> Asked:
    return "S.ev.a", {name.replace("_", "-"): value for name, value in headers.items()}, {"number": number}


def batch(place: int, id: str, *, commit: bool = False, name: str = "b") -> Asked:
    headers = {"Nats_Msg_Id": id, "Nats_Batch_Id": name, "Nats_Batch_Sequence": f"{place}"}
    return event(place, **headers, **({"Nats_Batch_Commit": "1"} if commit else {}))


TALKS: dict[str, Sequence[Asked]] = {
    "no stream": [INFO, ("$JS.API.STREAM.MSG.GET.HANSE_S", {}, {"last_by_subj": "S.ev.a"})],
    "a stream is made once": [CREATE, CREATE, INFO, ("$JS.API.STREAM.CREATE.HANSE_S", {}, EVENTS | {"max_bytes": 9})],
    "events are numbered": [CREATE, event(1), event(2), INFO],
    "what comes again is known": [CREATE, event(1, Nats_Msg_Id="m"), event(1, Nats_Msg_Id="m"), INFO],
    "a full stream refuses": [CREATE, ("S.ev.a", {}, "x" * 1_500), ("S.ev.a", {}, "x" * 1_500), INFO],
    "the last on a subject": [
        ("$JS.API.STREAM.CREATE.HANSE_S", {}, LAST),
        ("S.g.one", {"Nats-Expected-Last-Subject-Sequence": "0"}, "first"),
        ("S.g.two", {"Nats-Expected-Last-Subject-Sequence": "0"}, "other"),
        ("S.g.one", {"Nats-Expected-Last-Subject-Sequence": "0"}, "late"),
        ("S.g.one", {"Nats-Expected-Last-Subject-Sequence": "1"}, "second"),
        ("$JS.API.STREAM.MSG.GET.HANSE_S", {}, {"last_by_subj": "S.g.one"}),
        ("$JS.API.STREAM.MSG.GET.HANSE_S", {}, {"last_by_subj": "S.g.none"}),
        INFO,
    ],
    "a batch is kept at once": [CREATE, batch(1, "x"), batch(2, "y", commit=True), INFO],
    "or not at all": [CREATE, event(1, Nats_Msg_Id="y"), batch(1, "x"), batch(2, "y", commit=True), INFO],
    "a batch begins with its first": [CREATE, batch(2, "x", commit=True), INFO],
    "a batch that has a gap": [CREATE, batch(1, "x"), batch(3, "z", commit=True), INFO],
    "batches where none are allowed": [
        ("$JS.API.STREAM.CREATE.HANSE_S", {}, EVENTS | {"allow_atomic": False}),
        batch(1, "x"),
    ],
    "no consumer": [CREATE, ("$JS.API.CONSUMER.DELETE.HANSE_S.none", {}, None)],
    "nobody pulls for it": [CREATE, ("$JS.API.CONSUMER.MSG.NEXT.HANSE_S.none", {}, {"batch": 1})],
}


class Client:
    """Asks, and keeps what is answered, without what differs from one server to the next."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str) -> None:
        self.reader = reader
        self.writer = writer
        self.name = name
        self._count = 0
        writer.write(CONNECT + b"SUB in.> 1\r\n")

    async def ask(self, asked: Asked) -> object:
        subject, headers, what = asked
        self._count += 1
        self.say(subject, headers, what, f"in.{self._count}")
        _, came, payload = await self.next()
        return came, plain(payload, self.name)

    def say(self, subject: str, headers: dict[str, str], what: object, reply: str) -> None:
        payload = b"" if what is None else json.dumps(what).replace("S.", f"{self.name}.").encode()
        payload = payload.replace(b"HANSE_S", b"HANSE_" + self.name.encode())
        place = re.sub(r"^S\.", f"{self.name}.", subject).replace("HANSE_S", f"HANSE_{self.name}")
        head = "".join(("NATS/1.0\r\n", *(f"{name}: {value}\r\n" for name, value in headers.items()), "\r\n")).encode()
        self.writer.write(f"HPUB {place} {reply} {len(head)} {len(head) + len(payload)}\r\n".encode())
        self.writer.write(head + payload + b"\r\n")

    async def next(self) -> tuple[list[bytes], str, bytes]:
        """Fields of the line, the status, and the payload of the next message."""
        async with asyncio.timeout(ANSWER_SECONDS):
            while not (line := await self.reader.readline()).startswith((b"MSG", b"HMSG")):
                assert line
                if line == b"PING\r\n":
                    self.writer.write(b"PONG\r\n")
            fields = line.split()
            head = int(fields[-2]) if fields[0] == b"HMSG" else 0
            body = await self.reader.readexactly(int(fields[-1]) + 2)
        status = body[:head].split(b"\r\n")[0].decode()
        return fields, status, body[head:-2]


def plain(payload: bytes, name: str) -> object:
    """What matters of an answer: kinds of errors, and what our adapter reads."""
    if not payload:
        return None
    said = cast("dict[str, object]", json.loads(payload.replace(name.encode(), b"S")))
    kept = {
        field: said[field] for field in ("seq", "duplicate", "stream", "batch", "count", "success") if said.get(field)
    }
    if error := cast("dict[str, object] | None", said.get("error")):
        return {"error": (error["code"], error["err_code"])}
    if message := cast("dict[str, object] | None", said.get("message")):
        kept["message"] = {field: message[field] for field in ("subject", "seq", "data")}
    if state := cast("dict[str, object] | None", said.get("state")):
        kept["state"] = {field: state[field] for field in ("first_seq", "last_seq")}
    if config := cast("dict[str, object] | None", said.get("config")):
        kept["atomic"] = config.get("allow_atomic", False)
    return kept


async def told(port: int, talk: Sequence[Asked], name: str) -> list[object]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        client = Client(reader, writer, name)
        return [await client.ask(asked) for asked in talk]
    finally:
        writer.close()


async def pulled(port: int, name: str) -> list[object]:
    """Make a reader, publish, and pull: all that comes, with where it would be acknowledged."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        client = Client(reader, writer, name)
        other: Asked = ("S.ev.b", {}, {"number": 2})
        for asked in (CREATE, event(1), other, event(3), event(4)):
            _ = await client.ask(asked)
        config: dict[str, object] = {"ack_policy": "none", "deliver_policy": "by_start_sequence", "mem_storage": True}
        config |= {"opt_start_seq": 2, "filter_subject": "S.ev.a"}
        wanted: dict[str, object] = {"stream_name": "HANSE_S", "config": config}
        client.say("$JS.API.CONSUMER.CREATE.HANSE_S", {}, wanted, "in.c")
        made = cast("dict[str, object]", json.loads((await client.next())[2]))
        consumer, found = made["name"], [made["num_pending"]]
        for count in (1, 3):
            wanted = {"batch": count, "expires": NANO // 2, "idle_heartbeat": NANO // 10, "max_bytes": 100_000}
            client.say(f"$JS.API.CONSUMER.MSG.NEXT.HANSE_S.{consumer}", {}, wanted, "in.p")
        while len(found) < 5:  # one event and the end of the first, one and the end of the time of the second
            fields, status, payload = await client.next()
            if "100" in status:
                continue
            place = fields[3].decode().split(".") if fields[0] == b"MSG" or len(fields) == 6 else []
            numbers = tuple(place[5:7]) if len(place) > 6 else ()
            found.append((fields[1].decode().replace(name, "S"), status, payload, numbers))
        return found
    finally:
        writer.close()


@pytest.mark.parametrize("talk", TALKS.values(), ids=TALKS.keys())
async def test_the_twin_answers_what_a_server_answers(server: Server, talk: Sequence[Asked]) -> None:
    name = next(_names)
    real = await told(server.port, talk, name)
    listening = await twin()
    try:
        assert await told(listening.sockets[0].getsockname()[1], talk, name) == real
    finally:
        listening.close()


async def test_the_twin_hands_out_what_a_server_hands_out(server: Server) -> None:
    name = next(_names)
    real = await pulled(server.port, name)
    listening = await twin()
    try:
        assert await pulled(listening.sockets[0].getsockname()[1], name) == real
    finally:
        listening.close()


async def twin() -> asyncio.Server:
    server = NatsServer("twin", storage=Storage(), clock=lambda: 1_750_000_000.0)
    listening = await server.serve("127.0.0.1", 0)
    assert isinstance(listening, asyncio.Server)
    return listening
