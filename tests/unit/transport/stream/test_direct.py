import asyncio
import gc
import stat
import sys
from pathlib import Path

import msgspec
import pytest

from hanse.kernel.closing import closing
from hanse.kernel.context import Context, ambient
from hanse.kernel.faults import CouldNotStart, DeadlineExceeded, Misconfigured, Overloaded, TooLarge, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.message import Headers, Identity, Kind
from hanse.kernel.tasks import Tasks
from hanse.transport.direct import NotSent
from hanse.transport.stream.direct import StreamDirect
from hanse.transport.stream.limits import DEFAULT_LIMITS, StreamLimits

from .nodes import QUICK, WAIT_SECONDS, Node, Place, call, short_folder, stream


def unheard() -> Tasks:
    return Tasks(lambda _: None, limit=20_000)


# Requests.


async def test_a_request_is_answered_with_all_that_it_carried(place: Place) -> None:
    headers = Headers("00-trace", tags={"ref": "A"}, identity=Identity("ada", "acme", frozenset({"a", "b"})), attempt=3)
    message = msgspec.structs.replace(call(body=b"tea"), headers=headers)
    async with place.node() as one, place.node() as other:
        reply = await one.direct.request(message, other.address)
        assert (reply.kind, reply.id, reply.body) == (Kind.REPLY, message.id, b"tea")
        (came,) = other.things.came
        assert message.timeout - 1 < came.timeout < message.timeout, "the time left shrinks while it connects"
        assert msgspec.structs.replace(came, timeout=message.timeout) == message


async def test_an_answer_with_headers_keeps_them(place: Place) -> None:
    async with place.node() as one, place.node() as other:
        reply = await one.direct.request(call("other", b"x"), other.address)
        assert (reply.kind, reply.headers.type, reply.body) == (Kind.FAULT, "other", b"x")


async def test_both_ask_over_one_connection(place: Place) -> None:
    async with place.node() as one, place.node() as other:
        assert await one.ask(other, call(body=b"1")) == b"1"
        assert await other.ask(one, call(body=b"2")) == b"2"
        assert (one.connections(), other.connections()) == (1, 1)


@pytest.mark.usefixtures("untraced")
async def test_ten_thousand_requests_both_ways_at_once(place: Place) -> None:
    async with place.node() as one, place.node() as other, unheard() as tasks:
        asked = [
            tasks.start(a.ask(b, call("wait", b"%d" % number)))
            for number in range(5_000)
            for a, b in ((one, other), (other, one))
        ]
        await other.things.until(lambda: len(other.things.came) == 5_000)
        await one.things.until(lambda: len(one.things.came) == 5_000)
        one.things.gate.set()
        other.things.gate.set()
        assert await asyncio.gather(*asked) == [b"%d" % number for number in range(5_000) for _ in range(2)]


async def test_one_that_waits_holds_up_no_other(place: Place) -> None:
    async with place.node() as one, place.node() as other, unheard() as tasks:
        waiting = tasks.start(one.ask(other, call("wait", b"late")))
        assert await one.ask(other, call(body=b"soon")) == b"soon"
        assert not waiting.done()
        other.things.gate.set()
        assert await waiting == b"late"


async def test_a_body_of_the_largest_size_goes_and_comes(place: Place) -> None:
    body = bytes(1024 * 1024)
    async with place.node() as one, place.node() as other:
        assert await one.ask(other, call(body=body)) == body


async def test_a_larger_one_is_refused_before_it_is_sent(place: Place) -> None:
    async with place.node() as one, place.node() as other:
        with pytest.raises(TooLarge, match=r"the body of things.echo is over its limit of 1048576 bytes, with 1048577"):
            await one.ask(other, call(body=bytes(1024 * 1024 + 1)))
        assert other.things.came == []


async def test_headers_that_are_too_large_are_refused_and_nothing_else(place: Place) -> None:
    headers = Headers(tags={"ref": "x" * 2_000_000})
    async with place.node() as one, place.node() as other:
        with pytest.raises(TooLarge, match="a message with its headers"):
            await one.ask(other, msgspec.structs.replace(call(), headers=headers))
        assert await one.ask(other, call(body=b"x")) == b"x"


async def test_an_answer_that_is_too_large_is_told_of(place: Place) -> None:
    async with place.node() as one, place.node() as other:
        with pytest.raises(TooLarge, match="the answer is over its limit of 1048576 bytes, with 1048577"):
            await one.ask(other, call("grow", b"1048577"))


async def test_at_its_deadline_a_request_ends_and_its_handler_is_cancelled(place: Place) -> None:
    async with place.node() as one, place.node() as other:
        await one.ask(other, call())  # to connect takes its part of a deadline
        with pytest.raises(DeadlineExceeded, match=r"no answer from things.hold in time"):
            await one.ask(other, call("hold", timeout=0.5))
        await other.things.until(lambda: other.things.cancelled == ["hold"])


async def test_the_nearest_of_many_deadlines_comes_first(place: Place) -> None:
    async with place.node() as one, place.node() as other, unheard() as tasks:
        await one.ask(other, call())
        late = tasks.start(one.ask(other, call("wait", b"x")))
        endless = tasks.start(one.ask(other, call("wait", b"y", timeout=0)))
        for timeout in (0.2, 0.05, 0.1):
            with pytest.raises(DeadlineExceeded):
                await one.ask(other, call("hold", timeout=timeout))
        other.things.gate.set()
        assert [await late, await endless] == [b"x", b"y"]


async def test_cancelling_a_request_cancels_its_handler(place: Place) -> None:
    async with place.node() as one, place.node() as other, unheard() as tasks:
        asked = tasks.start(one.ask(other, call("hold")))
        await other.things.until(lambda: len(other.things.came) == 1)
        asked.cancel()
        await other.things.until(lambda: other.things.cancelled == ["hold"])


async def test_a_handler_that_swallows_its_cancellation_harms_no_other(place: Place) -> None:
    async with place.node() as one, place.node() as other, unheard() as tasks:
        asked = tasks.start(one.ask(other, call("stubborn")))
        await other.things.until(lambda: len(other.things.came) == 1)
        asked.cancel()
        await other.things.until(lambda: other.things.cancelled == ["stubborn"])
        assert [await one.ask(other, call(body=b"x")) for _ in range(3)] == [b"x"] * 3


async def test_a_receiver_that_raises_is_told_of_at_once(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    async with place.node() as one, place.node() as other:
        with pytest.raises(Unavailable, match="the handler was ended before it answered"):
            await one.ask(other, call("broken"))
        assert await one.ask(other, call(body=b"x")) == b"x"
    assert "a task of the transport failed" in caplog.text


async def test_handlers_do_not_see_what_others_or_the_caller_set(place: Place) -> None:
    seen: list[str] = []

    class Setter:
        async def serve(self, message: object, /) -> object:
            seen.append(ambient.get().operation)
            ambient.set(Context(Host.system(), operation="left over"))
            return call()

    async with place.node() as one, place.node() as other:
        other.things.serve = Setter().serve  # type: ignore[method-assign, assignment]
        await other.direct.close()
        await other.direct.open(other.things, other.lost)
        ambient.set(Context(Host.system(), operation="the caller's"))
        for _ in range(3):
            await one.direct.request(call(), other.address)
    assert seen == ["", "", ""]


# Streams.


async def test_items_come_in_order_and_end(place: Place) -> None:
    async with place.node() as one, place.node() as other:
        assert await one.read(other, stream("items", *range(1_000))) == list(range(1_000))
        assert other.things.closed == 1


async def test_items_are_made_no_faster_than_they_are_taken(place: Place) -> None:
    async with (
        place.node() as one,
        place.node() as other,
        closing(one.direct.stream(stream("items", *[0] * 1_000), other.address)) as replies,
    ):
        await anext(replies)
        await other.things.until(lambda: other.things.made >= 129)
        assert await one.ask(other, call(body=b"x")) == b"x"
        assert other.things.made == 129
        for _ in range(40):
            await anext(replies)
        await other.things.until(lambda: other.things.made >= 161)


async def test_large_items_wait_sooner(place: Place) -> None:
    async with place.node() as one, place.node() as other:
        async with closing(one.direct.stream(stream("items", *[600_000] * 20), other.address)) as replies:
            assert await one.ask(other, call(body=b"x")) == b"x"
            await anext(replies)
            await other.things.until(lambda: other.things.made >= 3)
            assert await one.ask(other, call(body=b"x")) == b"x"
            assert other.things.made <= 4
        assert await one.read(other, stream("items", *[600_000] * 20)) == [600_000] * 20


async def test_who_stops_reading_ends_the_stream(place: Place) -> None:
    async with place.node() as one, place.node() as other:
        async with closing(one.direct.stream(stream("hang", 1, 2), other.address)) as replies:
            await anext(replies)
        await other.things.until(lambda: other.things.closed == 1)


async def test_a_stream_ends_at_its_deadline(place: Place) -> None:
    async with place.node() as one, place.node() as other:
        await one.ask(other, call())
        with pytest.raises(DeadlineExceeded):
            await one.read(other, stream("hang", 1, timeout=0.5))
        await other.things.until(lambda: other.things.closed == 1)


@pytest.mark.parametrize(("operation", "why"), [("stop", "things.stop broke off"), ("raise", "before its stream was")])
async def test_a_stream_without_an_end_is_told_of(
    place: Place, operation: str, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with place.node() as one, place.node() as other:
        with pytest.raises(Unavailable, match=why):
            await one.read(other, stream(operation, 1, 2))
    assert ("a task of the transport failed" in caplog.text) == (operation == "raise")


async def test_an_item_that_is_too_large_ends_its_stream(place: Place) -> None:
    async with place.node() as one, place.node() as other:
        with pytest.raises(TooLarge, match="the answer"):
            await one.read(other, stream("items", 1, 2_000_000, 3))
        await other.things.until(lambda: other.things.closed == 1)


# Limits.


async def test_too_many_requests_to_one_node_are_overload(place: Place) -> None:
    async with place.node(StreamLimits(calls_max=2)) as one, place.node() as other, unheard() as tasks:
        for _ in range(2):
            tasks.start(one.ask(other, call("hold")))
        await other.things.until(lambda: len(other.things.came) == 2)
        with pytest.raises(Overloaded, match="2 requests to one node at once is reached"):
            await one.ask(other, call())
        with pytest.raises(Overloaded, match="2 requests to one node"):
            await one.read(other, stream("items"))


async def test_too_many_requests_of_one_node_are_refused(place: Place) -> None:
    async with place.node() as one, place.node(StreamLimits(serving_max=2)) as other, unheard() as tasks:
        for _ in range(2):
            tasks.start(one.ask(other, call("hold")))
        await other.things.until(lambda: len(other.things.came) == 2)
        with pytest.raises(Overloaded, match="2 requests of one node at once is reached"):
            await one.ask(other, call())


async def test_what_one_node_runs_for_all_has_a_limit(place: Place) -> None:
    async with place.node() as one, place.node() as third, unheard() as tasks:
        few = StreamLimits(serving_max=1, connections_max=2)
        async with place.node(few) as other:
            held = [tasks.start(node.ask(other, call("wait", b"x"))) for node in (one, third)]
            await other.things.until(lambda: len(other.things.came) == 2)
            for node in (one, third):
                with pytest.raises(Overloaded):
                    await node.ask(other, call())
            other.things.gate.set()
            assert await asyncio.gather(*held) == [b"x", b"x"]


async def test_more_connections_than_allowed_are_not_made(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    few = StreamLimits(connections_max=1)
    async with place.node() as other, place.node() as third, place.node(few) as one:
        await one.ask(other, call())
        with pytest.raises(NotSent, match="1 connections are open, which is the limit"):
            await one.ask(third, call())
        with pytest.raises(NotSent, match="cannot be reached"):
            await third.ask(one, call())
    assert "1 are open, which is the limit" in caplog.text


async def test_a_connection_that_nobody_uses_is_closed_and_made_again(place: Place) -> None:
    idle = msgspec.structs.replace(DEFAULT_LIMITS, beat_seconds=0.1, idle_seconds=0.2)
    async with place.node(idle) as one, place.node(idle) as other:
        assert await one.ask(other, call(body=b"1")) == b"1"
        async with asyncio.timeout(WAIT_SECONDS):
            while one.connections() or other.connections():  # noqa: ASYNC110
                await asyncio.sleep(0.01)  # nothing tells of it, as nobody is to notice
        assert await one.ask(other, call(body=b"2")) == b"2"
        assert (one.lost.addresses, other.lost.addresses) == ([], [])


async def test_a_connection_with_a_long_request_is_not_idle(place: Place) -> None:
    idle = msgspec.structs.replace(QUICK, idle_seconds=0.05)
    async with place.node(idle) as one, place.node(QUICK) as other:
        with pytest.raises(DeadlineExceeded):
            await one.ask(other, call("hold", timeout=0.5))
        assert one.lost.addresses == []


# The end of a node.


async def test_who_closes_ends_what_it_was_asked_and_says_so(place: Place) -> None:
    async with place.node() as one, place.node() as other, unheard() as tasks:
        held = tasks.start(one.ask(other, call("hold")))
        reading = tasks.start(one.read(other, stream("hang", 1)))
        await other.things.until(lambda: len(other.things.came) == 2)
        await other.direct.close()
        for ended in (held, reading):
            with pytest.raises(Unavailable):
                await ended
        assert await one.lost.told() == other.address
        with pytest.raises(NotSent, match="cannot be reached"):
            await one.ask(other, call())


async def test_who_closes_ends_what_it_asked(place: Place) -> None:
    async with place.node() as one, place.node() as other, unheard() as tasks:
        held = tasks.start(one.ask(other, call("hold")))
        await other.things.until(lambda: len(other.things.came) == 1)
        await one.direct.close()
        with pytest.raises(Unavailable, match="this node closed"):
            await held
        with pytest.raises(NotSent, match="the transport is closed"):
            await one.ask(other, call())
        assert one.direct.trouble() == "the transport is closed"
        await other.things.until(lambda: other.things.cancelled == ["hold"])


async def test_a_node_opens_again_after_its_close(place: Place) -> None:
    async with place.node() as one, place.node() as other:
        await other.direct.close()
        await other.direct.open(other.things, other.lost)
        assert await one.ask(other, call(body=b"x")) == b"x"
        assert other.direct.trouble() == ""
        assert other.direct.native is not None


async def test_before_it_is_open_nothing_goes(place: Place) -> None:
    node = Node(StreamDirect(place.url, Host.system()))
    with pytest.raises(NotSent, match="the transport is closed"):
        await node.ask("unix:/tmp/nobody", call())
    await node.direct.close()


async def test_an_address_that_nobody_listens_at_is_tried_less_and_less_often(place: Place) -> None:
    async with place.node() as one, place.node() as other:
        nobody = other.address
        await other.direct.close()
        with pytest.raises(NotSent, match="cannot be reached"):
            await one.ask(nobody, call())
        with pytest.raises(NotSent, match=r"could not be reached 1 times; it is tried again in 0\.0\d s"):
            await one.ask(nobody, call())


async def test_an_address_of_the_wrong_kind_is_not_sent_to(place: Place) -> None:
    async with place.node() as one:
        for wrong in ("udp://1.2.3.4:5", "tcp://nobody:99999"):
            with pytest.raises(NotSent):
                await one.ask(wrong, call())


async def test_nothing_is_left_behind() -> None:
    with short_folder() as folder:
        place = Place("unix", folder)
        async with place.node() as one, place.node() as other:
            await one.ask(other, call())
            held = [name for name in folder.iterdir() if name.suffix == ".sock"]
            assert len(held) == 2
            assert {stat.S_IMODE(path.stat().st_mode) for path in held} == {0o600}
        assert list(folder.iterdir()) == []
    _ = gc.collect()


# Where it listens.


async def test_a_path_can_be_named(unix: Place) -> None:
    async with unix.node(url=f"unix:{unix.folder}/orders.sock") as one, unix.node() as other:
        assert one.address == f"unix:{unix.folder}/orders.sock"
        assert await other.ask(one, call(body=b"x")) == b"x"
        with pytest.raises(CouldNotStart, match="another process listens at"):
            async with unix.node(url=f"unix:{unix.folder}/orders.sock"):
                pass


async def test_a_folder_that_is_missing_is_made_for_this_user_alone(unix: Place) -> None:
    async with unix.node(url=f"unix:{unix.folder}/run/shop"):
        assert stat.S_IMODE((unix.folder / "run" / "shop").stat().st_mode) == 0o700


async def test_a_file_that_is_no_socket_is_left_alone(unix: Place) -> None:
    (unix.folder / "notes.sock").write_text("mine")
    with pytest.raises(CouldNotStart, match="is a file, and no socket"):
        async with unix.node(url=f"unix:{unix.folder}/notes.sock"):
            pass
    assert (unix.folder / "notes.sock").read_text() == "mine"


@pytest.mark.skipif(sys.platform != "linux", reason="goes by way of /proc")
async def test_a_folder_may_be_deeper_than_a_socket_address_is_long() -> None:
    with short_folder() as folder:
        place = Place("unix", folder / ("x" * 100))
        async with place.node() as one, place.node() as other:
            assert await one.ask(other, call(body=b"x")) == b"x"


async def test_a_name_that_is_too_long_is_told(unix: Place) -> None:
    with pytest.raises(CouldNotStart, match="AF_UNIX path too long"):
        async with unix.node(url=f"unix:{unix.folder}/{'x' * 100}.sock"):
            pass


async def test_a_port_that_is_taken_is_told() -> None:
    place = Place("tcp", Path())
    async with place.node() as one:
        with pytest.raises(CouldNotStart, match=r"cannot listen at tcp://127\.0\.0\.1:"):
            async with place.node(url=one.address):
                pass


async def test_all_interfaces_need_an_address_to_tell() -> None:
    place = Place("tcp", Path())
    with pytest.raises(Misconfigured, match=r"add \?advertise=HOST:PORT"):
        async with place.node(url="tcp://0.0.0.0:0"):
            pass
    async with place.node(url="tcp://0.0.0.0:0?advertise=shop.example:7421") as one:
        assert one.address == "tcp://shop.example:7421"


async def test_ipv6_addresses_have_brackets() -> None:
    place = Place("tcp", Path())
    async with place.node(url="tcp://[::1]:0") as one, place.node() as other:
        assert one.address.startswith("tcp://[::1]:")
        assert await other.ask(one, call(body=b"x")) == b"x"


@pytest.mark.parametrize("url", ["unix:", "udp://x", "tcp://x:y", "tcp://x/path", "tcp://u@x", "tcp://x:99999"])
def test_a_url_that_cannot_be_used_is_misconfigured(url: str) -> None:
    with pytest.raises(Misconfigured):
        StreamDirect(url, Host.system())
