"""A token names one run: what is printed can be typed; what cannot be read is told what it should look like."""

import msgspec
import pytest
from hypothesis import given, strategies as st

from hanse.kernel.faults import Misconfigured
from hanse.sim.plan import (
    Clock,
    Cut,
    Delay,
    FullDisk,
    Incident,
    Kill,
    KillAt,
    Loss,
    LostFlush,
    Pause,
    Plan,
    PowerLoss,
    Repeat,
    Replace,
    SlowDisk,
)
from hanse.sim.profile import CALM, INCIDENTS_MAX, PROFILES, draw_plan
from hanse.sim.token import TOKEN_LENGTH_MAX, Token, token_for

TIMES = st.floats(0.0, 1e6, allow_nan=False)
NAMES = st.text(min_size=1, max_size=8)
SIDES = st.lists(NAMES, min_size=1, max_size=3).map(tuple)
SHARES = st.floats(0.0, 1.0)
Bare = Kill | PowerLoss | LostFlush | Pause | FullDisk | Replace


def bare(kind: type[Bare], at: float, seconds: float, machine: str) -> Incident:
    return kind(at=at, seconds=seconds, machine=machine)


BARE: st.SearchStrategy[type[Bare]] = st.sampled_from([Kill, PowerLoss, LostFlush, Pause, FullDisk, Replace])
INCIDENTS: st.SearchStrategy[Incident] = st.one_of(
    st.builds(bare, BARE, TIMES, TIMES, NAMES),
    st.builds(KillAt, at=TIMES, seconds=TIMES, machine=NAMES, point=NAMES),
    st.builds(SlowDisk, at=TIMES, seconds=TIMES, machine=NAMES, factor=st.floats(1.0, 1e3)),
    st.builds(Clock, at=TIMES, seconds=TIMES, machine=NAMES, jump=st.floats(-300.0, 300.0)),
    st.builds(Cut, at=TIMES, seconds=TIMES, machines=SIDES, others=SIDES, one_way=st.booleans()),
    st.builds(Delay, at=TIMES, seconds=TIMES, machine=NAMES, most=TIMES, reorder=st.booleans()),
    st.builds(Loss, at=TIMES, seconds=TIMES, machine=NAMES, share=SHARES),
    st.builds(Repeat, at=TIMES, seconds=TIMES, machine=NAMES, share=SHARES),
)
PLANS: st.SearchStrategy[Plan] = st.lists(INCIDENTS, max_size=4).map(
    lambda incidents: tuple(sorted(incidents, key=lambda incident: incident.at))
)
DRAWN = tuple(Kill(at=float(at), seconds=0.5, machine="orders") for at in range(1, 8))


@given(
    st.from_regex(r"[a-z][a-z0-9_]{0,9}", fullmatch=True),
    st.integers(0, 2**64 - 1),
    st.booleans(),
    st.none() | st.integers(0, 2**INCIDENTS_MAX),
)
def test_what_is_printed_can_be_typed(profile: str, seed: int, calm: bool, kept: int | None) -> None:
    text = Token(profile=profile, seed=seed, calm=calm, kept=kept).encode()
    assert Token.parse(text).encode() == text


@given(PLANS, st.booleans())
def test_any_plan_is_part_of_a_token(plan: Plan, calm: bool) -> None:
    token = Token(profile="hostile", seed=17, calm=calm, plan=plan)
    parsed = Token.parse(token.encode())
    assert (parsed.apply(() if parsed.profile == CALM else DRAWN), parsed.calm) == (plan, calm)


@given(PLANS)
def test_a_token_means_nothing_to_a_shell_or_a_page(plan: Plan) -> None:
    text = Token(profile="hostile", seed=17, plan=plan).encode()
    assert not set(text) & set("~ \t\n'\"\\$`;&|<>()[]{}*?!#=")
    assert text.isascii()


@given(st.sets(st.integers(0, len(DRAWN) - 1)))
def test_a_part_of_what_is_drawn_is_a_mask(positions: set[int]) -> None:
    plan = tuple(incident for position, incident in enumerate(DRAWN) if position in positions)
    token = token_for("hostile", 17, DRAWN, plan)
    assert token.plan is None
    assert Token.parse(token.encode()).apply(DRAWN) == plan


@given(st.sampled_from(sorted(PROFILES)), st.integers(0, 1000))
def test_all_that_is_drawn_is_profile_and_seed(profile: str, seed: int) -> None:
    drawn = draw_plan(PROFILES[profile], seed, ["a", "b"], ["p.q"], 20.0)
    assert token_for(profile, seed, drawn, drawn).encode() == f"{profile}-{seed}"


def test_what_is_not_drawn_is_written_out() -> None:
    milder = (msgspec.structs.replace(DRAWN[2], seconds=0.25),)
    assert token_for("hostile", 17, DRAWN, milder).encode() == "hostile-17-kill:3:0.25:orders"
    assert token_for("hostile", 17, DRAWN, milder, calm=True).encode() == "calm-17-kill:3:0.25:orders"


def test_another_order_is_written_out_too() -> None:
    swapped = (Kill(at=1.0, seconds=1.0, machine="b"), Kill(at=1.0, seconds=1.0, machine="a"))
    assert token_for("hostile", 1, (swapped[1], swapped[0]), swapped).plan == swapped


@pytest.mark.parametrize(
    ("plan", "text"),
    [
        ((), "x0"),
        ((Cut(at=1.0, seconds=2.5, machines=("a",), others=("b", "client")),), "cut:1:2.5:a:b+client"),
        ((Cut(at=1.0, seconds=2.5, machines=("a",), others=("b",), one_way=True),), "cut:1:2.5:a:b:1"),
        ((KillAt(at=0.5, seconds=1.0, machine="a:b", point="unit.after"),), "kill_at:0.5:1:a%3Ab:unit.after"),
        ((Clock(at=1.0, seconds=1.0, machine="a", jump=-2.5), DRAWN[1]), "clock:1:1:a:-2.5,kill:2:0.5:orders"),
    ],
)
def test_a_plan_reads_well_in_a_token(plan: Plan, text: str) -> None:
    assert Token(profile="hostile", seed=17, plan=plan).encode() == f"hostile-17-{text}"


@pytest.mark.parametrize(
    ("said", "once"),
    [
        ("calm-0-c", "calm-0"),
        ("calm-0-c-kill:3:0.25:orders", "calm-0-kill:3:0.25:orders"),
        ("calm-0-x0", "calm-0"),
        ("calm-0-c-x3", "calm-0-x3"),
        ("hostile-17-c", "hostile-17-c"),
        ("hostile-17-c-x0", "calm-17"),
        ("hostile-17-c-x3", "hostile-17-c-x3"),
        ("hostile-17-x0", "hostile-17-x0"),
        ("hostile-17-c-kill:3:0.25:orders", "calm-17-kill:3:0.25:orders"),
        ("hostile-17-kill:3:0.25:orders", "hostile-17-kill:3:0.25:orders"),
    ],
)
def test_nothing_is_said_twice(said: str, once: str) -> None:
    assert Token.parse(said).encode() == once


def test_incidents_come_in_order_however_they_were_written() -> None:
    plan = Token.parse("calm-1-kill:5:1:a,cut:2:1:a:b").plan
    assert plan is not None
    assert [incident.at for incident in plan] == [2.0, 5.0]


@pytest.mark.parametrize(
    "text",
    [
        *("", "hostile", "hostile-", "17", "hostile-x3f", "hostile-17-", "hostile-17-x", "hostile-17-xyz"),
        *("Hostile-17", "hostile-17-c-", "hostile-17-x3f-c", "hostile--17", "hostile-17 ", "hostile-1\n"),
        *("hostile-17-c-c", "hostile-" + "9" * 21, "hostile-\N{ARABIC-INDIC DIGIT ONE}"),
    ],
)
def test_what_is_no_token_is_told_what_one_looks_like(text: str) -> None:
    with pytest.raises(Misconfigured, match="is no replay token; one looks like hostile-17"):
        Token.parse(text)


def test_a_token_without_end_is_refused_unread() -> None:
    with pytest.raises(Misconfigured, match=r"xf{60}.*\.\.\.' is no replay token"):
        Token.parse("hostile-17-x" + "f" * TOKEN_LENGTH_MAX)


@pytest.mark.parametrize(
    ("plan", "problem"),
    [
        ("explode:1:2:a", "there is no incident 'explode'; the kinds are kill, kill_at, power"),
        ("kill:1:2:a:b", "'kill:1:2:a:b' has too many parts; it is written kill:at:seconds:machine"),
        ("kill:1:2", "required field `machine`.*; it is written kill:at:seconds:machine"),
        ("kill:soon:2:a", r"Expected `float`, got `str` - at `\$\.at`"),
        ("kill:nan:2:a", "kill:nan:2:a cannot happen: at and seconds are 0 or more"),
        ("kill:-1:2:a", "at and seconds are 0 or more"),
        ("kill:1:inf:a", "at and seconds are 0 or more"),
        ("cut:1:2::b", "a cut is between machines and others"),
        ("slow_disk:1:2:a:0.5", "the factor of a slow disk is 1 or more"),
        ("clock:1:2:a:inf", "a jump is a number of seconds"),
        ("delay:1:2:a:-1", "the longest delay is 0 seconds or more"),
        ("loss:1:2:a:1.5", "a share is from 0 to 1"),
        ("repeat:1:2:a:nan", "a share is from 0 to 1"),
    ],
)
def test_an_incident_that_cannot_happen_is_refused(plan: str, problem: str) -> None:
    with pytest.raises(Misconfigured, match=problem):
        Token.parse(f"hostile-17-{plan}")


def test_a_mask_of_more_than_is_drawn_means_that_something_changed() -> None:
    with pytest.raises(
        Misconfigured, match="token hostile-17-x80 keeps incident 8, but only 7 are drawn from hostile-17"
    ):
        Token.parse("hostile-17-x80").apply(DRAWN)


def test_a_plan_too_long_for_a_token_is_refused() -> None:
    with pytest.raises(Misconfigured, match="a plan of 9000 incidents is too long for a token; leave some of them out"):
        Token(profile="hostile", seed=1, plan=DRAWN[:1] * 9000).encode()


@pytest.mark.parametrize(
    ("profile", "seed", "kept", "plan", "problem"),
    [
        ("hostile", -1, None, None, "0 or more, not -1 and None"),
        ("hostile", 1, -2, None, "0 or more, not 1 and -2"),
        ("hostile", 1, 0, (), "not both"),
        ("Very bad", 1, None, None, "no name of a profile"),
    ],
)
def test_a_token_of_no_run_is_refused(
    profile: str, seed: int, kept: int | None, plan: Plan | None, problem: str
) -> None:
    with pytest.raises(Misconfigured, match=problem):
        Token(profile=profile, seed=seed, kept=kept, plan=plan)
