"""What of the store on PostgreSQL is decided without a server."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, strategies as st

from hanse.kernel.faults import Malformed, Misconfigured, Unavailable
from hanse.store.base import CollectionSchema, FieldSchema, Inside
from hanse.store.keys import Key, plain_key, rank
from hanse.store.postgresql.failures import is_again, is_lost, meaning
from hanse.store.postgresql.url import parse_url
from hanse.store.row_keys import RANKS, key_text, row_keys, types_in
from hanse.store.text import meant, written

# Those that are written otherwise, their neighbours, and what sorts last.
awkward = st.text(st.sampled_from("\x00\x01\x02\x03\x04a\uffff😀"), max_size=5)
numbers = st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.integers(-3, 3))


@given(awkward, awkward)
def test_texts_are_written_so_that_they_sort_and_are_found_as_before(one: str, other: str) -> None:
    left, right = written(one), written(other)
    assert meant(left) == one
    assert (left.encode() < right.encode()) == (one < other)
    assert (right in left) == (other in one)
    assert left.startswith(right) == one.startswith(other)
    assert left.endswith(right) == one.endswith(other)
    assert "\x00" not in left


@given(numbers, numbers)
def test_keys_of_numbers_sort_as_numbers_do(one: float, other: float) -> None:
    left, right = key_text(one), key_text(other)
    assert left is not None
    assert right is not None
    assert ((left < right), (left == right)) == ((one < other), (one == other))


@given(st.one_of(numbers, awkward, st.booleans(), st.just([])))
def test_a_key_lies_within_the_bounds_of_its_kind(value: object) -> None:
    key: Key = plain_key(value)
    text = key_text(key)
    assert text is not None
    if value != []:
        least, beyond = RANKS[rank(key)]
        assert least <= text < beyond


def test_a_row_has_a_key_for_each_path_for_each_type_and_for_items() -> None:
    schema = CollectionSchema(
        "things",
        {
            "price": FieldSchema("decimal", required=True),
            "seen": FieldSchema("object", required=True, inside={"": Inside("date")}),
            "prices": FieldSchema("array", required=True, inside={"": Inside("decimal")}),
        },
    )
    value = {"price": "1.50", "seen": {"Bonn": "2026-01-01", 'a"b': 1}, "prices": ["2"], "no": None, "\x1f": 1}
    keys = row_keys(value, [schema])
    assert keys["price"] == "21.50"
    assert keys["no"] is None
    assert isinstance(keys["prices\x1e\x1ddecimal"], list)
    assert keys["prices\x1e"] == ["22"]
    assert keys["seen\x1fBonn\x1ddate"] == key_text(739_617)
    assert not any('"' in name or name == "\x1f" for name in keys)
    assert types_in(schema) == {"price\x1ddecimal", "seen\x1f\x1ddate", "prices\x1f\x1ddecimal"}


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("postgresql:shop", "expected a store such as"),
        ("sqlite:///x.db", "expected a store such as"),
        ("postgresql://[db/shop", "expected a store such as"),
        ("postgresql://db/shop?connections=0", "expected 1 to 100"),
        ("postgresql://db/shop?connections=many", "connections"),
        ("postgresql://db/shop?synchronous=maybe", "synchronous"),
        ("postgresql://db/shop?schema=" + "x" * 64, "1 to 63 bytes"),
        ("postgresql://a,,b/shop", "at most 10 servers with commas between them, got 'a,,b'"),
        ("postgresql://ada:secret@" + ",".join(["db"] * 11), "at most 10 servers"),
        ("postgresql://db/shop?schema=pg_mine", "PostgreSQL keeps those"),
    ],
)
def test_a_url_that_cannot_be_used_says_why_and_tells_no_secret(url: str, why: str) -> None:
    with pytest.raises(Misconfigured, match=why):
        parse_url(url)


def test_of_several_servers_each_is_asked_whether_it_writes() -> None:
    parsed = parse_url("postgresql://ada:se%40cret@a,[::1]:5433/shop?schema=orders&sslmode=require")
    assert parsed.servers == (
        "postgresql://ada:se%40cret@a/shop?target_session_attrs=read-write&sslmode=require",
        "postgresql://ada:se%40cret@[::1]:5433/shop?target_session_attrs=read-write&sslmode=require",
    )
    assert parsed.place == "postgresql://a,[::1]:5433/shop schema orders"
    assert "target_session_attrs=primary" in parse_url("postgresql://a,b?target_session_attrs=primary").servers[0]
    assert parse_url("postgresql://a/shop").servers == ("postgresql://a/shop",)


def test_a_url_keeps_what_is_the_drivers() -> None:
    parsed = parse_url("postgres://ada:secret@db:5433/shop?sslmode=require&schema=orders&connections=7")
    assert parsed.server == "postgres://ada:secret@db:5433/shop?sslmode=require"
    assert (parsed.schema, parsed.connections, parsed.prepared) == ("orders", 7, "yes")
    assert parsed.place == "postgres://db:5433/shop schema orders"


class Told(Exception):
    def __init__(self, sqlstate: str | None) -> None:
        super().__init__(f"code {sqlstate}")
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Told("53100"), Unavailable),
        (Told("57P01"), Unavailable),
        (Told("25006"), Unavailable),
        (Told("42501"), Unavailable),
        (Told("40P01"), Unavailable),
        (ConnectionResetError("reset"), Unavailable),
        (TimeoutError(), Unavailable),
        (Told("22003"), Malformed),
        (Told("54000"), Malformed),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates"), Malformed),
        (Told("42P01"), Told),
        (Malformed("before"), Malformed),
        (Told(None), Told),
    ],
)
def test_each_failure_means_something(error: Exception, kind: type[Exception]) -> None:
    assert isinstance(meaning(error, "postgresql://db/shop"), kind)


def test_what_lost_against_another_may_be_tried_again_and_what_broke_may_have_been_done() -> None:
    assert is_again(Told("40001"))
    assert not is_again(Told("57P01"))
    assert is_lost(Told("08006"))
    assert not is_lost(Told("42P01"))


WITHOUT_DRIVER = """
import sys
sys.modules["asyncpg"] = None
from hanse.kernel.faults import Misconfigured
from hanse.node.stores import open_store
try:
    open_store("postgresql://db/shop")
except Misconfigured as fault:
    print(fault)
"""


def test_without_the_driver_the_extra_is_named() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_DRIVER], capture_output=True, text=True, check=True)
    assert "pip install 'hanse[postgresql]'" in done.stdout
