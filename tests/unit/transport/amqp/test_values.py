"""What is said to RabbitMQ, and read of what it says, without a connection."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress

import pytest
from hypothesis import given, strategies as st
from pamqp import body, commands, frame, header

from hanse.kernel.faults import Malformed, Misconfigured, UnknownOperation
from hanse.kernel.host import Host
from hanse.transport.amqp import frames
from hanse.transport.amqp.channel import BODY_BYTES_MAX, Channel, nothing
from hanse.transport.amqp.names import Names
from hanse.transport.amqp.options import Options, scheme_of, world_in
from hanse.transport.amqp.transport import AmqpTransport
from hanse.transport.brokered.servers import servers_in

short = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=255).map(str.encode)


def read(raw: bytes) -> list[object]:
    """Frames, as somebody else reads them."""
    found: list[object] = []
    while raw:
        size, _, one = frame.unmarshal(raw)
        found.append(one)
        raw = raw[size:]
    return found


class TestFrames:
    @given(short, st.binary(), st.binary(max_size=3), st.booleans())
    def test_a_message_is_what_others_read(self, key: bytes, payload: bytes, lead: bytes, mandatory: bool) -> None:
        raw = frames.publish(7, key, mandatory=mandatory) + frames.content(7, frames.asked(key, 9), lead, payload)
        first, second, *rest = read(raw)
        assert isinstance(first, commands.Basic.Publish)
        assert isinstance(second, header.ContentHeader)
        assert (first.exchange, first.routing_key, first.mandatory) == ("", key.decode(), mandatory)
        assert (second.body_size, second.properties.reply_to) == (len(lead + payload), key.decode())
        assert second.properties.expiration == "9"
        assert b"".join(one.value for one in rest if isinstance(one, body.ContentBody)) == lead + payload

    def test_a_large_body_is_cut_into_frames_that_the_server_takes(self) -> None:
        payload = bytes(range(256)) * 2_000
        _, *rest = read(frames.content(1, frames.KEPT, b"x", payload))
        pieces = [one.value for one in rest if isinstance(one, body.ContentBody)]
        assert b"".join(pieces) == b"x" + payload
        assert max(map(len, pieces)) == frames.FRAME_MAX - frames.FRAME_BYTES

    @given(st.integers(1, 2**63 - 1))
    def test_an_acknowledgement_is_what_others_read(self, number: int) -> None:
        (one,) = read(frames.ack(3, number))
        assert isinstance(one, commands.Basic.Ack)
        assert (one.delivery_tag, one.multiple) == (number, True)

    @given(short, short)
    def test_properties_are_what_others_read_and_are_read_again(self, token: bytes, reply: bytes) -> None:
        for raw in (frames.told(token, reply), frames.told(token, b"")):
            properties = commands.Basic.Properties()
            flags = int.from_bytes(raw[:2], "big")
            properties.unmarshal(flags, raw[2:])
            found = frames.properties_in(raw)
            assert found.correlation.decode() == properties.correlation_id == token.decode()
            assert found.reply.decode() == (properties.reply_to or "")

    @given(
        st.builds(
            commands.Basic.Properties,
            content_type=st.none() | st.just("text/plain"),
            headers=st.none() | st.just({"x-stream-offset": 7, "a": "b"}),
            delivery_mode=st.none() | st.integers(1, 2),
            priority=st.none() | st.integers(0, 9),
            correlation_id=st.none() | st.just("7"),
            reply_to=st.none() | st.just("here"),
            expiration=st.none() | st.just("1000"),
            message_type=st.none() | st.just("event"),
        )
    )
    def test_what_others_put_beside_ours_is_skipped(self, properties: commands.Basic.Properties) -> None:
        found = frames.properties_in(properties.marshal())
        assert found == ((properties.correlation_id or "").encode(), (properties.reply_to or "").encode())

    @given(st.binary(max_size=40))
    def test_properties_that_are_none_are_read_as_nothing_or_something(self, raw: bytes) -> None:
        assert len(frames.properties_in(raw)) == len(("correlation", "reply"))

    @pytest.mark.parametrize("raw", [b"", b"\0\x0a", b"\0\x63\0\x0a", b"\0\x0a\0\x0a", b"\0\x0a\0\x1e\0"])
    def test_methods_that_are_none_are_malformed(self, raw: bytes) -> None:
        with pytest.raises(Malformed, match="expected a method"):
            _ = frames.command_in(raw)

    @given(st.binary(max_size=40))
    def test_what_is_read_as_a_method_breaks_nothing(self, raw: bytes) -> None:
        with suppress(Malformed):
            _ = frames.command_in(raw)


class TestChannel:
    async def test_a_body_in_pieces_comes_whole(self) -> None:
        channel, came = Channel(1, nothing, nothing), list[tuple[bytes, bytes]]()
        channel.returned = lambda properties, body: came.append((properties, body))
        channel.method(frames.RETURN)
        channel.header(b"\0\x3c\0\0" + (5).to_bytes(8, "big") + b"\0\0")
        channel.body(b"abc")
        channel.body(b"de")
        channel.method(frames.RETURN)
        channel.header(b"\0\x3c\0\0" + bytes(8) + b"\0\0")
        assert came == [(b"\0\0", b"abcde"), (b"\0\0", b"")]

    async def test_more_than_was_said_is_malformed(self) -> None:
        channel = Channel(1, nothing, nothing)
        for size, pieces in ((3, (b"ab", b"cd")), (BODY_BYTES_MAX + 1, ())):
            with pytest.raises(Malformed):  # noqa: PT012
                channel.method(frames.RETURN)
                channel.header(b"\0\x3c\0\0" + size.to_bytes(8, "big") + b"\0\0")
                for piece in pieces:
                    channel.body(piece)

    async def test_an_answer_to_nothing_is_malformed(self) -> None:
        with pytest.raises(Malformed, match="answered"):
            Channel(1, nothing, nothing).method(frames.method(1, commands.Basic.QosOk())[7:-1])

    async def test_a_channel_that_has_ended_says_so(self) -> None:
        channel = Channel(1, nothing, nothing)
        channel.end(ConnectionError("gone"))
        with pytest.raises(ConnectionError, match="gone"):
            _ = await channel.ask(commands.Basic.Qos(), commands.Basic.QosOk)


class TestUrls:
    @pytest.mark.parametrize("url", ["nats://a", "amqp:a", "amqp://", "amqp://a:b", "rabbitmq://a"])
    def test_what_is_no_url_of_rabbitmq_is_told_without_its_secrets(self, url: str) -> None:
        with pytest.raises(Misconfigured, match="expected") as raised:
            _ = AmqpTransport(url.replace("://", "://ada:secret@"), Host.fixed(wall=0.0, seed=7), Options())
        assert "secret" not in raised.value.detail

    @pytest.mark.parametrize(("url", "world"), [("amqp://a", "/"), ("amqp://u:p@a,b/shop", "shop")])
    def test_the_virtual_host(self, url: str, world: str) -> None:
        assert world_in(url) == world

    def test_servers_under_tls_listen_elsewhere(self) -> None:
        ports = [servers_in(url, scheme_of(url))[0].port for url in ("amqp://a", "amqps://a", "amqps://a:7")]
        assert ports == [5672, 5671, 7]


class TestNames:
    def test_a_service_whose_name_is_too_long_is_nobodys(self) -> None:
        with pytest.raises(UnknownOperation):
            _ = Names("shop", "n1").call("x" * 300 + ".get")

    @given(st.text(min_size=1), st.text(min_size=1))
    def test_names_are_what_the_codec_takes_and_apart(self, one: str, other: str) -> None:
        names = Names(one, "n1")
        assert commands.Queue.Declare(queue=names.group(other)).queue == names.group(other)
        assert (names.group(one) == names.group(other)) is (one == other)

    def test_what_is_no_subject_of_ours_has_no_asker(self) -> None:
        assert Names("shop", "n1").asker(b"amq.gen-1") == (b"", b"")

    def test_names_that_anybody_makes_up_do_not_fill_the_memory(self) -> None:
        names = Names("shop", "n1")
        for number in range(10_001):
            _ = names.service(str(number))
        assert len(names._known) == 1


def test_a_missing_codec_is_told_with_what_to_install() -> None:
    # In a process of its own, which is told that the library is not there.
    program = """
import sys; sys.modules['pamqp'] = None
from hanse.kernel.host import Host
from hanse.kernel.settings import NodeSettings
from hanse.node.transports import open_transport, place_of
open_transport('amqp://127.0.0.1', place_of('shop', NodeSettings(), Host.system()))
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "Misconfigured" in ended.stderr
    assert "pip install 'hanse[amqp]'" in ended.stderr
