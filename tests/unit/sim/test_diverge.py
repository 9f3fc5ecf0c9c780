"""The first difference of two runs is told so that somebody who knows neither understands it."""

import pytest
from hypothesis import given, strategies as st

from hanse.sim.diverge import Difference, divergence, first_difference, flat, nearest, told
from hanse.sim.trace import Effect

EFFECTS = st.lists(
    st.builds(
        Effect,
        st.floats(0.0, 9.0),
        st.sampled_from(["", "orders", "mailer"]),
        st.sampled_from(["start", "kill", "log"]),
        st.sampled_from(["", "row 1", "row 22", "hello"]),
        st.sampled_from([b"", b"a", b"ab"]),
    ),
    max_size=8,
)


def at(second: float, machine: str, kind: str, detail: str = "", data: bytes = b"", peer: str = "") -> Effect:
    return Effect(second, machine, kind, detail, data, peer)


@given(EFFECTS)
def test_a_run_is_like_itself(effects: list[Effect]) -> None:
    assert first_difference(effects, list(effects)) is None
    assert divergence(effects, list(effects), "it").first is None


@given(EFFECTS, EFFECTS)
def test_what_comes_before_the_first_difference_is_the_same(one: list[Effect], other: list[Effect]) -> None:
    difference = first_difference(one, other)
    if difference is None:
        assert one == other
        return
    index = difference.index
    assert one[:index] == other[:index]
    assert (difference.one, difference.other) == (dict(enumerate(one)).get(index), dict(enumerate(other)).get(index))
    assert difference.one != difference.other


@given(EFFECTS, EFFECTS)
def test_a_machine_diverges_where_it_does_something_else(one: list[Effect], other: list[Effect]) -> None:
    for difference in divergence(one, other, "it").machines:
        mine = [effect for effect in one if effect.machine == difference.machine]
        theirs = [effect for effect in other if effect.machine == difference.machine]
        both = list(zip(mine, theirs, strict=False))[: difference.index]
        assert all((a.kind, a.detail[:3]) == (b.kind, b.detail[:3]) for a, b in both)


def test_bytes_that_differ_are_told() -> None:
    one = [at(1.0, "a", "start"), at(2.0, "a", "commit", "db", b'{"id":"0123456789","n":1}')]
    other = [at(1.0, "a", "start"), at(2.0, "a", "commit", "db", b'{"id":"0123456789","n":2}')]
    difference = first_difference(one, other)
    assert difference is not None
    assert difference.words().splitlines() == [
        "after 1 effects that are the same",
        "  one run:   2.0000 a commit: db (25 bytes)",
        "  the other: 2.0000 a commit: db (25 bytes)",
        """  bytes differ from 23 on: b'456789","n":1}' and b'456789","n":2}'""",
    ]


def test_bytes_of_which_one_is_the_beginning_of_the_other_differ_at_its_end() -> None:
    difference = Difference("", 0, at(1.0, "a", "commit", "", b"abc"), at(1.0, "a", "commit", "", b"abcd"))
    assert "bytes differ from 3 on: b'abc' and b'abcd'" in difference.words()


def test_bytes_of_different_things_are_not_compared() -> None:
    difference = Difference("", 0, at(1.0, "a", "commit", "", b"abc"), at(1.0, "a", "send", "", b"abcd", "b"))
    assert "bytes differ" not in difference.words()


@pytest.mark.parametrize("turned", [False, True])
def test_a_run_that_is_over_has_nothing_more(turned: bool) -> None:
    short, long = [at(1.0, "a", "start")], [at(1.0, "a", "start"), at(2.0, "a", "kill")]
    difference = first_difference(long, short) if turned else first_difference(short, long)
    assert difference is not None
    lines = difference.words().splitlines()[1:]
    assert sorted(line.split(": ", 1)[1].strip() for line in lines) == ["2.0000 a kill", "nothing more"]


FAILING = [
    at(0.1, "orders", "start", "1"),
    at(0.2, "mailer", "start", "1"),
    at(3.0, "", "incident", "Kill orders"),
    at(3.0, "orders", "kill"),
    at(4.0, "mailer", "lose", "reply 77", peer="orders"),
]
PASSING = [
    at(0.3, "orders", "start", "1"),
    at(0.4, "mailer", "start", "1"),
    at(3.1, "orders", "commit", "orders.db [5]", b"row"),
    at(3.2, "mailer", "receive", "reply 78", peer="orders"),
]


def test_where_each_machine_left_the_way_of_the_other_run_is_told_in_order() -> None:
    assert divergence(FAILING, PASSING, "seed 16").words().splitlines() == [
        "Unlike seed 16, which passed, after 2 effects that are alike:",
        "  here:  3.0000 the world incident: Kill orders",
        "  there: 3.1000 orders commit: orders.db [5] (3 bytes)",
        "the world, after 0:",
        "  here:  3.0000 the world incident: Kill orders",
        "  there: nothing more",
        "orders, after 1:",
        "  here:  3.0000 orders kill",
        "  there: 3.1000 orders commit: orders.db [5] (3 bytes)",
        "mailer, after 1:",
        "  here:  4.0000 mailer lose: reply 77 (orders)",
        "  there: 3.2000 mailer receive: reply 78 (orders)",
    ]


def test_times_numbers_and_ids_are_no_difference_between_seeds() -> None:
    one = [at(1.0, "a", "commit", "db [17] 0193fa2b-7c01-7abc-8def-0123456789ab", b"x")]
    other = [at(2.0, "a", "commit", "db [4] 0193fb00-1111-7222-8333-ba9876543210", b"yy")]
    found = divergence(one, other, "seed 3")
    assert (found.first, found.machines) == (None, ())
    assert found.words() == "All machines did what they did in seed 3, which passed."


def test_words_are_a_difference() -> None:
    assert divergence([at(1.0, "a", "log", "sold 3")], [at(1.0, "a", "log", "held 3")], "it").first is not None


def test_a_machine_that_only_one_run_knows_is_told() -> None:
    found = divergence(PASSING[:1], PASSING[:2], "it")
    assert [(difference.machine, difference.one, difference.other) for difference in found.machines] == [
        ("mailer", None, PASSING[1])
    ]


def test_the_nearest_run_is_like_the_failing_one_for_longest() -> None:
    """Machine by machine: whose turn it was first is a matter of seeds."""
    turned = [PASSING[1], PASSING[0], FAILING[3]]
    assert nearest(FAILING, {"seed 1": PASSING, "seed 2": turned, "seed 3": []}) == "seed 2"
    assert nearest(FAILING, {"seed 1": [], "seed 2": []}) == "seed 1"
    assert nearest(FAILING, {}) is None


def test_a_long_detail_is_cut() -> None:
    assert told(at(1.0, "a", "log", "x" * 500)) == f"1.0000 a log: {'x' * 160}..."


def test_a_text_stays_on_its_line_and_in_its_terminal() -> None:
    assert flat("a\n  b\x1b[31m\tc") == "a / b?[31m?c"
