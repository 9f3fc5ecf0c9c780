"""What of the store on MongoDB is decided without a server."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from hypothesis import given, strategies as st
from pymongo.errors import AutoReconnect, DocumentTooLarge, ExecutionTimeout, OperationFailure

from hanse.kernel.faults import Malformed, Misconfigured, TooLarge, Unavailable
from hanse.kernel.host import Host
from hanse.store.base import CollectionSchema, FieldSchema, Inside
from hanse.store.cursor import After
from hanse.store.keys import OTHER
from hanse.store.mongodb.failures import is_again, is_unknown, meaning
from hanse.store.mongodb.layout import WIRE_MIN, _problem
from hanse.store.mongodb.link import Link
from hanse.store.mongodb.query import ORDERS_MAX, Asked, _beyond, asked, finding, rows_name
from hanse.store.mongodb.row_keys import lacking, name_of, row_keys
from hanse.store.mongodb.url import parse_url
from hanse.store.query import And, Compare, Holds, Not, OneOf, Or, Order, Query, Text

awkward = st.text(st.sampled_from("~/.$:=[a]"), max_size=4)
PLAIN = CollectionSchema("things", {})


@given(st.lists(awkward, min_size=1, max_size=3), st.lists(awkward, min_size=1, max_size=3), st.booleans())
def test_two_paths_have_two_names_which_mongodb_can_write(one: list[str], other: list[str], items: bool) -> None:
    names = name_of(tuple(one)), name_of(tuple(other), items=items)
    assert (names[0] == names[1]) == (one == other and not items)
    assert not re.search(r"[.$\x00]", "".join(names))
    assert all(names)


@given(awkward | st.text(), awkward | st.text())
def test_what_starts_with_a_text_lies_before_what_is_beyond_it(text: str, end: str) -> None:
    beyond = _beyond(text) if text else None
    if beyond is not None:
        assert text <= text + end < beyond
        assert beyond[: len(text)] != text


def test_texts_beyond_all_others_have_nothing_beyond_them() -> None:
    assert _beyond("\U0010ffff") is None
    assert _beyond("a\U0010ffff") == "b"
    assert _beyond("\ud7ff") == "\ue000"


def test_a_row_has_a_key_for_each_path_for_each_type_and_for_items() -> None:
    schema = CollectionSchema(
        "things",
        {
            "price": FieldSchema("decimal", required=True),
            "seen": FieldSchema("object", required=True, inside={"": Inside("date")}),
            "prices": FieldSchema("array", required=True, inside={"": Inside("decimal")}),
            "id": FieldSchema("string", required=True),
        },
    )
    value = {"price": "1.50", "seen": {"Bonn": "2026-01-01", 'a"b': 1}, "prices": ["2", []], "no": None, "id": "x"}
    keys = row_keys(value, [schema])
    assert (keys["price"], keys["no"], keys["seen"]) == ("1.50", None, OTHER)
    assert keys["prices[]"] == ["2"]
    assert keys["seen/Bonn:date"] == 739_617
    assert not any('"' in name or name == "id" for name in keys)


def test_a_row_that_lacks_a_field_has_the_keys_of_its_default_under_a_name_that_tells_which() -> None:
    green, blue = (
        CollectionSchema("things", {"colour": FieldSchema("string", required=False, default=default)})
        for default in (b'"green"', b'"blue"')
    )
    missing, given_ = row_keys({}, [green, blue]), row_keys({"colour": "red"}, [green, blue])
    assert sorted(map(str, missing.values())) == ["blue", "green"]
    assert list(given_.values()) == ["red", "red"]
    assert missing.keys() == given_.keys()
    assert lacking(green, blue)
    assert lacking(green, PLAIN) == frozenset()
    assert lacking(PLAIN, CollectionSchema("things", {"a": FieldSchema("any", required=False)})) == frozenset()
    without = CollectionSchema("things", {"colour": FieldSchema("string", required=False)})
    assert lacking(green, without) == {"colour"}


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (None, {}),
        (And(()), {}),
        (Or(()), {"_id": {"$in": []}}),
        (Not(And(())), {"_id": {"$in": []}}),
        (Not(Not(Compare("eq", ("a",), 1))), {"keys.a": {"$eq": 1}}),
        (Not(Compare("eq", ("a",), 1)), {"$nor": [{"keys.a": {"$eq": 1}}]}),
        (Compare("le", ("a",), None), {"_id": {"$in": []}}),
        (Compare("ne", ("rev",), "x"), {}),
        (OneOf(("id",), ("a", 1)), {"_id": {"$in": ["a"]}}),
        (Holds(("id",), "a"), {"_id": {"$in": []}}),
        (Text("starts", ("a",), "te"), {"keys.a": {"$gte": "te", "$lt": "tf"}}),
        (Text("starts", ("a",), "\U0010ffff"), {"keys.a": {"$gte": "\U0010ffff"}}),
        (Text("ends", ("a",), "1.5"), {"keys.a": {"$regex": r"1\.5(?![\s\S])"}}),
        (Text("ends", ("rev",), "1"), {"_id": {"$in": []}}),
    ],
)
def test_a_condition_is_a_filter(where: object, expected: object) -> None:
    assert asked(where, PLAIN) == Asked(expected)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [Text("ends", ("a",), "A", fold=True), Text("contains", ("a",), "\x00"), Text("contains", ("a",), "a" * 20_000)],
)
def test_what_mongodb_cannot_say_lets_more_through_and_so_does_what_it_is_not(text: Text) -> None:
    assert asked(text, PLAIN) == Asked({"keys.a": {"$gte": ""}}, exact=False)
    assert asked(Not(text), PLAIN) == Asked({}, exact=False)
    both = asked(And((text, Compare("eq", ("b",), 1))), PLAIN)
    assert (both.exact, len(both.filter)) == (False, 1)


def test_a_field_is_sorted_by_once_and_many_are_refused() -> None:
    order = (Order(("id",), descending=True), Order(("a",)), Order(("a",), descending=True))
    assert finding(Query(order=order), PLAIN, None).sort == (("_id", -1), ("keys.a", 1))
    with pytest.raises(Malformed, match="at most 31 fields"):
        finding(Query(order=tuple(Order((f"f{n}",)) for n in range(ORDERS_MAX + 1))), PLAIN, None)


def test_a_page_starts_behind_the_one_before_whatever_kinds_of_values_there_are() -> None:
    query = Query(order=(Order(("a",), descending=True),))
    found = finding(query, PLAIN, After((None,), "x"))
    assert found.filter == {"$or": [{"$and": [{"keys.a": None}, {"_id": {"$gt": "x"}}]}]}
    after_text = finding(query, PLAIN, After(("tea",), "x")).filter["$or"]
    assert after_text[:3] == [{"keys.a": {"$lt": "tea"}}, {"keys.a": None}, {"keys.a": {"$gte": float("-inf")}}]  # type: ignore[index]


def test_collections_have_names_of_their_own() -> None:
    names = ["Orders", "orders", "a b", "a$b", "a~b", "n" * 200 + "a", "n" * 200 + "b"]
    assert len({rows_name(name) for name in names}) == len(names)
    assert all(len(rows_name(name)) < 130 and "$" not in rows_name(name) for name in names)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("mongodb:shop", "expected a store such as"),
        ("sqlite:///x.db", "expected a store such as"),
        ("mongodb://[db/shop", "expected a store such as"),
        ("mongodb://db/shop?connections=0", "expected 3 to 100"),
        ("mongodb://db/shop?connections=many", "connections"),
        ("mongodb://db/shop?prefix=", "expected a prefix"),
        ("mongodb://db/shop?prefix=a$b", "expected a prefix"),
        ("mongodb://db/shop?prefix=system.x", "of your own"),
        ("mongodb://db/shop?w=1", "says w=1, .* say w=majority"),
        ("mongodb://db/shop?journal=false", "journal=false"),
        ("mongodb://db/shop?readPreference=secondary", "readPreference=secondary"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused(url: str, why: str) -> None:
    with pytest.raises(Misconfigured, match=why):
        parse_url(url)


def test_a_url_says_where_and_hides_who() -> None:
    assert parse_url("mongodb://ada:se%40cret@a,[::1]:5/shop").place == "mongodb://a,[::1]:5/shop prefix hanse"
    found = parse_url("mongodb+srv://ada:secret@db?w=majority&connections=9")
    assert (found.server, found.database, found.connections) == ("mongodb+srv://ada:secret@db/?w=majority", "hanse", 9)
    assert found.place == "mongodb+srv://db/hanse prefix hanse"


async def test_an_option_that_the_driver_does_not_take_is_refused() -> None:
    with pytest.raises(Misconfigured, match="cannot be used"):
        Link(parse_url("mongodb://db/shop?tls=true&tlsInsecure=true&tlsAllowInvalidHostnames=true"), Host.system())


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (AutoReconnect("reset"), Unavailable),
        (ExecutionTimeout("slow", 50), Unavailable),
        (OperationFailure("full", 14031), Unavailable),
        (OperationFailure("who", 18), Unavailable),
        (OperationFailure("large", 10334), TooLarge),
        (DocumentTooLarge("large"), TooLarge),
        (OperationFailure("nested", 15), Malformed),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogate"), Malformed),
        (Malformed("mine"), Malformed),
        (OperationFailure("unheard of", 424242), OperationFailure),
        (KeyError("mine"), KeyError),
    ],
)
def test_a_failure_becomes_the_fault_that_it_means(error: Exception, kind: type[Exception]) -> None:
    assert type(meaning(error, "mongodb://db")) is kind


def test_labels_say_what_to_do_about_a_transaction() -> None:
    again = OperationFailure("conflict", 112, {"errorLabels": ["TransientTransactionError"]})
    unknown = OperationFailure("no majority", 64, {"errorLabels": ["UnknownTransactionCommitResult"]})
    assert (is_again(again), is_unknown(again)) == (True, False)
    assert (is_again(unknown), is_unknown(unknown)) == (False, True)


def test_a_server_that_cannot_keep_what_is_promised_is_told_what_it_lacks() -> None:
    sound = {"maxWireVersion": WIRE_MIN, "setName": "rs0", "logicalSessionTimeoutMinutes": 30}
    assert _problem(sound, "8.0.1") == ""
    assert "expected MongoDB 8.0 or newer, got 7.0.2" in _problem({**sound, "maxWireVersion": 21}, "7.0.2")
    assert "expected a replica set" in _problem({"maxWireVersion": WIRE_MIN}, "8.0.1")
    assert "with sessions" in _problem({**sound, "logicalSessionTimeoutMinutes": None}, "8.0.1")
    assert _problem({**sound, "setName": None, "msg": "isdbgrid"}, "8.0.1") == ""


def test_without_the_driver_it_is_said_what_to_install() -> None:
    code = (
        "import sys; sys.modules['pymongo'] = None\n"
        "from hanse.node.stores import open_store, stored_in, store_url\n"
        "print(store_url('mongodb://db/shop', 'orders'))\n"
        "for ask in (open_store, stored_in):\n"
        "    try: ask('mongodb://db/shop')\n"
        "    except Exception as error: print(type(error).__name__, error)\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.startswith("mongodb://db/shop?prefix=orders")
    assert told.count("pip install 'hanse[mongodb]'") == 2
