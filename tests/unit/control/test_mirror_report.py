"""Two releases' answers to the same requests, compared."""

from __future__ import annotations

import msgspec
from hypothesis import given, strategies as st

from hanse.control.edge_mirror import Heard, Pair, Pairs
from hanse.control.mirror_report import DIFFERENCES_MAX, OTHERS, MirrorReport, fields_that_differ, reported

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)


def pair(told: Heard, copied: Heard, target: str = "/orders/7") -> Pair:
    return Pair(
        service="orders",
        route="/orders",
        method="GET",
        target=target,
        trace_id="ab",
        release="1",
        mirror="2",
        told=told,
        copied=copied,
    )


def heard(value: object, status: int = 200) -> Heard:
    return Heard(status=status, type="application/json", body=msgspec.json.encode(value))


@given(told=VALUES, copied=VALUES)
def test_answers_differ_in_some_field_exactly_where_they_differ(told: object, copied: object) -> None:
    same = msgspec.json.encode(told) == msgspec.json.encode(copied)
    fields = fields_that_differ(pair(heard(told), heard(copied)))
    assert not fields if same else fields or told == copied


def test_fields_are_named_as_people_read_them() -> None:
    told = {"items": [{"price": 1, "at": 5}, {"price": 2, "at": 6}], "old": True}
    copied = {"items": [{"price": 1, "at": 7}, {"price": 3, "at": 8}], "total": 4}
    assert fields_that_differ(pair(heard(told), heard(copied, 201))) == {
        "status": ("200", "201"),
        "body.items[].at": ("5", "7"),
        "body.items[].price": ("2", "3"),
        "body.old": ("true", "(absent)"),
        "body.total": ("(absent)", "4"),
    }


def test_what_is_no_json_is_compared_as_a_whole() -> None:
    told, copied = Heard(status=200, body=b"\xff one"), Heard(status=200, body=b"{")
    assert fields_that_differ(pair(told, copied)) == {"body": ("\\xff one", "{")}
    half = Heard(status=200, body=b'{"a": 1}', cut=True)
    assert fields_that_differ(pair(half, heard({"a": 2}))).keys() == {"type", "body"}


def test_an_answer_that_never_came_says_why() -> None:
    lost = Heard(problem="it closed the connection")
    assert fields_that_differ(pair(heard(1), lost))["status"] == ("200", "it closed the connection")


def test_differences_add_up_and_what_may_differ_is_left_out() -> None:
    first = reported(
        MirrorReport(), Pairs(pairs=(pair(heard({"a": 1, "at": 1}), heard({"a": 2, "at": 2}), "/orders/1"),))
    )
    report = reported(first, Pairs(pairs=(pair(heard({"a": 1}), heard({"a": 2})), pair(heard(1), heard(1))), dropped=4))
    assert (report.pairs, report.same, report.dropped) == (3, 1, 4)
    assert [(one.field, one.times, one.target) for one in report.differences] == [
        ("body.a", 2, "/orders/1"),
        ("body.at", 1, "/orders/1"),
    ]
    told = list(report.lines())
    assert told[0] == "1 of 3 answers are the same; 4 unseen"
    assert told[1] == "/orders body.a: 2 differ; 1 -> 2, as in /orders/1"


def test_what_differs_by_nature_can_be_left_out() -> None:
    pairs = Pairs(pairs=(pair(heard({"items": [{"at": 1}]}), heard({"items": [{"at": 2}]})),))
    for pattern, same in {"body.items[].at": 1, "body.*.at": 1, "*": 1, "body.at": 0, "body.items": 0}.items():
        assert reported(MirrorReport(), pairs, (pattern,)).same == same, pattern


def test_a_report_stays_small() -> None:
    wide = {f"field{number}": number for number in range(2 * DIFFERENCES_MAX)}
    report = reported(MirrorReport(), Pairs(pairs=(pair(heard(wide), heard({})),)))
    assert len(report.differences) == DIFFERENCES_MAX + 1
    assert report.differences[0].field == OTHERS
    assert max(len(one.told) for one in report.differences) <= 80
