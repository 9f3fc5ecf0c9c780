"""What is decided about Redis without a connection: names, entries, servers that will do, URLs."""

from __future__ import annotations

import string
import subprocess
import sys
from contextlib import suppress

import pytest
from hypothesis import given, strategies as st

from hanse.kernel.faults import Malformed, Misconfigured, UnknownOperation
from hanse.kernel.host import Host
from hanse.kernel.resp import command, parser
from hanse.transport.redis.judge import Told, absence, refusal, told_in, warning
from hanse.transport.redis.names import KNOWN_MAX, NAME_BYTES_MAX, Names
from hanse.transport.redis.options import Options, database_in
from hanse.transport.redis.queued import Queued, entry, queued_in
from hanse.transport.redis.transport import RedisTransport

names = st.text(string.printable + "ü", max_size=30)


class TestNames:
    @given(names, names, names, names)
    def test_two_apps_or_services_are_never_taken_for_one(self, app: str, service: str, other: str, more: str) -> None:
        one, two = Names(app, "n", 0).service(service), Names(other, "n", 0).service(more)
        assert (one == two) is ((app, service) == (other, more))
        assert one.isascii()
        assert b" " not in one

    @given(names, names, st.integers(0))
    def test_who_asked_is_read_from_where_it_is_answered(self, app: str, node: str, token: int) -> None:
        here = Names(app, node, 1)
        assert here.asker(here.here + b"%d" % token) == (here.node, b"%d" % token)
        assert here.asker(Names(app, node, 2).here + b"1") == (b"", b"")
        assert here.here == here.channel + b"."

    def test_names_that_nobody_can_have_are_refused_and_many_do_not_stay(self) -> None:
        one = Names("shop", "n", 0)
        with pytest.raises(UnknownOperation, match="characters"):
            _ = one.call("a" * NAME_BYTES_MAX + ".b")
        for n in range(KNOWN_MAX + 2):
            assert one.call(f"s{n}.echo") == b"hanse.0.shop.rpc.s%d" % n
        assert len(one._known) < KNOWN_MAX


class TestQueued:
    @given(st.floats(0, 1e6), st.binary(), st.floats(0, 100))
    def test_what_was_added_is_found(self, wait: float, payload: bytes, age: float) -> None:
        raw = b"1700000000:999999 " + entry(wait, b"hanse.0.a.node.n.1", payload, b"\x01")
        found = queued_in(raw, 1_700_000_000.999999 + age)
        assert found.reply == b"hanse.0.a.node.n.1"
        assert found.payload == b"\x01" + payload
        assert found.wait == pytest.approx(wait, abs=0.001)
        assert found.age == pytest.approx(age, abs=0.001)

    def test_a_clock_that_went_back_makes_nothing_younger_than_new(self) -> None:
        assert queued_in(b"100:0 3000 r p", 0.0) == Queued(0.0, 3.0, b"r", b"p")

    @given(st.binary())
    @pytest.mark.parametrize("raw", [b"", b"a b c d", b"1 2 r p", b"1:x 2 r p", b"1:2 x r p", b"1:2 3 r"])
    def test_what_is_no_entry_is_refused_as_such(self, raw: bytes, other: bytes) -> None:
        with pytest.raises(Malformed, match="that waits"):
            _ = queued_in(raw, 0.0)
        with suppress(Malformed):
            _ = queued_in(other, 0.0)


class TestJudge:
    def test_a_server_that_says_nothing_is_believed_to_do(self) -> None:
        told = told_in(b"")
        assert (refusal(told), absence(told), warning(told)) == ("", "", "")

    @pytest.mark.parametrize(
        ("told", "said"),
        [(Told(version="6.2.14"), "7.0 or later"), (Told(version="7.2.4", clustered=True), "Redis Cluster")],
    )
    def test_what_never_will_do_is_refused(self, told: Told, said: str) -> None:
        assert said in refusal(told)

    @pytest.mark.parametrize(("told", "said"), [(Told(role="slave"), "no writes"), (Told(loading=True), "reads")])
    def test_what_may_do_later_is_away(self, told: Told, said: str) -> None:
        assert refusal(told) == ""
        assert said in absence(told)

    def test_one_that_throws_keys_away_is_warned_of(self) -> None:
        assert "volatile-lru" in warning(told_in(b"maxmemory_policy:volatile-lru\r\n"))
        assert warning(Told(eviction="noeviction")) == ""


class TestUrls:
    @pytest.mark.parametrize("url", ["nats://a", "redis:a", "redis://", "redis://a:b", "redis://a/x", "redis://a/-1"])
    def test_what_is_no_url_of_redis_is_told_without_its_secrets(self, url: str) -> None:
        with pytest.raises(Misconfigured, match="expected") as raised:
            _ = RedisTransport(url.replace("://", "://ada:secret@"), Host.fixed(wall=0.0, seed=7), Options())
        assert "secret" not in raised.value.detail

    @pytest.mark.parametrize(("url", "number"), [("redis://a", 0), ("redis://a/", 0), ("redis://u:p@a,b/15", 15)])
    def test_the_number_of_the_database(self, url: str, number: int) -> None:
        assert database_in(url) == number


@given(st.lists(st.binary(), min_size=1))
def test_commands_are_what_the_parser_reads(parts: list[bytes]) -> None:
    reader = parser().Reader(protocolError=ValueError, replyError=ValueError, notEnoughData=None)
    reader.feed(command(*parts))
    assert reader.gets() == parts


def test_a_missing_parser_is_told_with_what_to_install() -> None:
    # In a process of its own, which is told that the library is not there.
    program = "import sys; sys.modules['hiredis'] = None; from hanse.kernel.resp import parser; parser()"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "Misconfigured" in ended.stderr
    assert "pip install 'hanse[redis]'" in ended.stderr
