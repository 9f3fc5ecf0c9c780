"""A diagram of what led to a violation: who sent what to whom, who was down, and no line too long for a terminal."""

import pytest
from hypothesis import given, strategies as st

from hanse.sim.sequence import COLUMN_MIN, LINES_MAX, WIDTH, sequence
from hanse.sim.trace import Effect

MACHINES = ["client", "orders", "payments", "mailer", "stock", "web", "a", "b", "c", "d"]
KINDS = ["send", "receive", "lose", "start", "kill", "log", "commit", "incident", "violation"]


def at(second: float, machine: str, kind: str, detail: str = "", peer: str = "") -> Effect:
    return Effect(second, machine, kind, detail, b"", peer)


def drawn(*effects: Effect, last: int = 60, width: int = 80) -> list[str]:
    return sequence(effects, last=last, width=width).splitlines()


BOTH_UP = (at(0.1, "orders", "start", "1"), at(0.2, "mailer", "start", "1"))


def test_packets_are_arrows_with_the_time_that_they_took() -> None:
    assert drawn(
        *BOTH_UP,
        at(1.0, "orders", "send", "event placed", "mailer"),
        at(1.0025, "mailer", "receive", "event placed", "orders"),
        at(1.003, "mailer", "send", "reply placed", "orders"),
        at(1.01, "orders", "lose", "reply placed", "mailer"),
    ) == [
        "   seconds orders                            mailer",
        "    0.1000 |start 1                          |",
        "    0.2000 |                                 |start 1",
        "    1.0025 |- event placed +2.5 ms --------->|",
        "    1.0100 |x- reply placed +7.0 ms ---------|",
    ]


def test_a_packet_that_comes_again_has_an_arrow_without_a_time() -> None:
    twice = at(1.5, "mailer", "receive", "event placed", "orders")
    sent = at(1.0, "orders", "send", "event placed", "mailer")
    assert drawn(sent, twice, twice)[1:] == [
        "    1.5000 |- event placed +500.0 ms ------->|",
        "           |- event placed ----------------->|",
    ]


def test_packets_of_one_kind_arrive_in_the_order_in_which_they_were_sent() -> None:
    sends = [at(second, "orders", "send", "event", "mailer") for second in (1.0, 2.0)]
    arrow = drawn(*sends, at(2.5, "mailer", "receive", "event", "orders"))
    assert arrow[1:] == [
        "    2.0000 |sending to mailer: event         |",
        "    2.5000 |- event +1500.0 ms ------------->|",
    ]


def test_an_arrow_passes_the_lines_between() -> None:
    lines = drawn(at(0.1, "a", "start"), at(0.1, "b", "start"), at(0.1, "c", "start"), at(0.2, "c", "lose", "x", "a"))
    assert lines[-1] == "    0.2000 |- x ----------------------------------------x|"


def test_words_that_do_not_fit_into_an_arrow_are_cut() -> None:
    call = at(0.3, "mailer", "receive", "call a.service.with.a.long.name", "orders")
    assert drawn(*BOTH_UP, call, width=2 * COLUMN_MIN + 11)[-1] == "    0.3000 |- call a.. ->|"


def test_a_machine_that_is_down_has_dots() -> None:
    lines = drawn(*BOTH_UP, at(1.0, "orders", "kill"), at(2.0, "mailer", "log", "x"), at(3.0, "orders", "start", "2"))
    assert [line[11] for line in lines[1:]] == ["|", "|", "|", ":", ":"]
    assert drawn(*BOTH_UP, at(4.0, "orders", "ready"))[-1][11] == "|"


def test_who_was_down_before_is_down_in_what_is_shown() -> None:
    lines = drawn(at(0.5, "orders", "dark"), *BOTH_UP[1:], at(2.0, "mailer", "lose", "x", "orders"), last=1)
    assert lines[0] == "(2 effects before)"
    assert lines[-1].startswith("    2.0000 :- x --")


def test_a_diagram_ends_with_the_first_violation() -> None:
    lines = drawn(*BOTH_UP, at(1.0, "", "violation", "stock: below 0"), at(2.0, "", "violation", "later"))
    assert lines[-1] == "    1.0000 ** violation: stock: below 0"


def test_what_the_world_does_is_told_across() -> None:
    lines = drawn(*BOTH_UP, at(1.0, "", "incident", "Kill(...)"), at(2.0, "", "heal"))
    assert lines[-2:] == ["    1.0000 == incident: Kill(...)", "    2.0000 == heal"]


def test_only_machines_that_take_part_have_a_column() -> None:
    lines = drawn(*BOTH_UP, at(1.0, "client", "send", "call", "orders"), last=1)
    assert lines[1].split() == ["seconds", "orders", "client"]


def test_long_words_go_on_below_and_end_in_dots() -> None:
    lines = drawn(*BOTH_UP, at(1.0, "mailer", "log", "no stock " * 40))
    assert len(lines) == 3 + LINES_MAX
    assert all(line.startswith(" " * 11 + "|") for line in lines[4:])
    assert lines[-1].endswith(" ..")


def test_what_a_machine_gets_from_itself_is_told_in_its_column() -> None:
    assert drawn(at(1.0, "a", "receive", "call x", "a"))[-1].rstrip() == "    1.0000 |receive from a: call x"


def test_more_machines_than_fit_are_told_line_by_line() -> None:
    lines = drawn(*(at(1.0, name, "start") for name in MACHINES), last=9)
    assert lines[0] == "(1 effects before)"
    assert lines[-1] == "1.0000 d start"
    assert len(lines) == 10


def test_nothing_is_drawn_of_nothing() -> None:
    assert drawn() == ["   seconds"]


EFFECTS = st.lists(
    st.builds(
        at,
        st.floats(0.0, 99.0),
        st.sampled_from(MACHINES[:6]) | st.just(""),
        st.sampled_from(KINDS),
        st.text(max_size=200),
        st.sampled_from(MACHINES[:6]) | st.just(""),
    ),
    max_size=30,
)


@given(EFFECTS, st.integers(1, 20))
def test_every_line_fits_into_a_terminal_and_none_is_lost(effects: list[Effect], last: int) -> None:
    lines = sequence(effects, last=last).splitlines()
    assert all(len(line) <= WIDTH for line in lines)
    assert all(line.isprintable() for line in lines)
    assert len(lines) <= 2 + last * LINES_MAX


@given(EFFECTS)
def test_each_effect_has_a_line_unless_it_is_a_packet_that_came(effects: list[Effect]) -> None:
    calm = [effect for effect in effects if effect.kind not in {"send", "receive", "lose", "violation"}]
    lines = sequence(calm, last=100).splitlines()
    assert len(lines) >= len(calm) + 1


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_columns_share_the_width(width: int) -> None:
    header = drawn(*BOTH_UP, width=width)[0]
    assert header.index("mailer") - header.index("orders") == min(34, (width - 11) // 2)
