"""Which NATS server is tried next, and what URLs and credentials mean."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from hanse.kernel.faults import Misconfigured, UnknownOperation
from hanse.kernel.host import Host
from hanse.transport.brokered.servers import PAUSE_SECONDS_MAX, SERVERS_MAX, Server, Servers, servers_in
from hanse.transport.nats.login import SCHEME, Info, Options, connect_line, credentials_in, key_of
from hanse.transport.nats.names import KNOWN_MAX, Names, token_of


def servers(*named: str) -> Servers:
    return Servers([Server(name, 4222) for name in named], Host.fixed(wall=0.0, seed=7))


def tried(some: Servers, number: int) -> list[str]:
    return [some.next().host for _ in range(number)]


class TestTurns:
    def test_all_are_tried_before_any_is_tried_again(self) -> None:
        some = servers("a", "b", "c")
        first = tried(some, 3)
        assert sorted(first) == ["a", "b", "c"]
        assert tried(some, 3) == first

    def test_pauses_grow_to_their_limit_and_begin_anew_once_one_answers(self) -> None:
        some = servers("a", "b")
        pauses: list[float] = []
        for _ in range(20):
            assert some.pause() == 0.0
            tried(some, 2)
            pauses.append(some.pause())
        assert 0 < pauses[0] < 0.1
        assert all(PAUSE_SECONDS_MAX / 2 <= pause <= PAUSE_SECONDS_MAX for pause in pauses[8:])
        assert len(set(pauses)) == len(pauses)
        some.reached()
        tried(some, 2)
        assert some.pause() < 0.1

    def test_those_of_a_cluster_are_learnt_and_forgotten_and_those_named_stay(self) -> None:
        some = servers("a")
        like = Server("a", 4222, tls=True, user="ada")
        some.learn(["b:4223", "[::1]:4224", "not a place:x"], like)
        found = {some.next() for _ in range(len(some))}
        assert found == {
            Server("a", 4222),
            Server("b", 4223, tls=True, user="ada"),
            Server("::1", 4224, tls=True, user="ada"),
        }
        some.learn(["c:1"], like)
        assert sorted(tried(some, len(some))) == ["a", "c"]

    def test_no_more_are_learnt_than_the_limit(self) -> None:
        some = servers("a")
        some.learn([f"h{n}:1" for n in range(2 * SERVERS_MAX)], Server("a", 4222))
        assert len(some) == SERVERS_MAX


class TestUrls:
    @pytest.mark.parametrize(
        ("url", "found"),
        [
            ("nats://a", [Server("a", 4222)]),
            ("nats://a:1,b:2/ignored?too", [Server("a", 1), Server("b", 2)]),
            ("tls://[::1]:1", [Server("::1", 1, tls=True)]),
            (
                "nats://ada:p%40ss@a,b",
                [Server("a", 4222, user="ada", password="p@ss"), Server("b", 4222, user="ada", password="p@ss")],
            ),
            ("nats://t0ken@a", [Server("a", 4222, token="t0ken")]),
        ],
    )
    def test_a_url_names_servers(self, url: str, found: list[Server]) -> None:
        assert servers_in(url, SCHEME) == found

    @pytest.mark.parametrize(
        "url", ["", "nats:", "http://a", "nats://", "nats://s3cret@", "nats://s3cret@a:x", "nats://a,,b"]
    )
    def test_what_is_no_url_is_told_without_its_secrets(self, url: str) -> None:
        with pytest.raises(Misconfigured, match="expected") as raised:
            servers_in(url, SCHEME)
        assert "s3cret" not in raised.value.detail

    def test_an_address_reads_as_one_writes_it(self) -> None:
        assert [str(server) for server in (Server("a", 4222), Server("::1", 1))] == ["a:4222", "[::1]:1"]


class TestNames:
    @given(st.text(max_size=30))
    def test_any_name_is_one_token_that_stands_for_it_alone(self, name: str) -> None:
        token = token_of(name)
        assert token
        assert not set(token) & set(" .*>\t\r\n")
        assert token.isascii()

    @given(st.text(max_size=20), st.text(max_size=20))
    def test_two_names_are_two_tokens(self, one: str, other: str) -> None:
        assert (token_of(one) == token_of(other)) is (one == other)

    def test_addresses_that_somebody_makes_up_do_not_fill_the_memory(self) -> None:
        names = Names("shop", "n1")
        for n in range(KNOWN_MAX + 1):
            assert names.call(f"a.b{n}") == b"hanse.shop.rpc.a.b%d" % n
        assert len(names._calls) <= KNOWN_MAX
        with pytest.raises(UnknownOperation, match="characters"):
            names.call("a." + "x" * 2_000)

    def test_who_asked_is_read_from_where_is_answered(self) -> None:
        names = Names("shop", "n1")
        assert names.asker(names.inbox(b"n2") + b"17") == (b"n2", b"17")
        assert names.asker(b"_INBOX.abc.17") == (b"", b"")


class TestCredentials:
    def test_a_file_without_a_seed_is_told(self, tmp_path: Path) -> None:
        path = tmp_path / "x.creds"
        path.write_text("-----BEGIN NATS USER JWT-----\nabc\n------END NATS USER JWT------\n")
        with pytest.raises(Misconfigured, match="found 1 blocks"):
            credentials_in(path)

    @pytest.mark.parametrize("seed", ["", "SU", "SUnotbase32!", "UAAAA"])
    def test_what_is_no_seed_is_told(self, seed: str) -> None:
        with pytest.raises(Misconfigured, match="begins with SU"):
            key_of(seed)

    def test_what_stands_in_a_url_wins(self) -> None:
        options = Options(user="eve", password="e", token="other")
        line = connect_line(options, Server("a", 4222, user="ada", password="a", token="mine"), Info())
        assert b'"user":"ada","pass":"a"' in line
        assert b'"auth_token":"mine"' in line
