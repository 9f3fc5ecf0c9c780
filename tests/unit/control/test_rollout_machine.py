"""What becomes of a rollout, whatever happens to what it releases, to the edges and to the controller."""

from __future__ import annotations

import random  # noqa: TID251 - draws from a seed

import pytest
from hypothesis import given, strategies as st
from msgspec.structs import replace

from hanse.control.plan import Plan, Step, ab, blue_green, canary, mirror, rolling
from hanse.control.rollout import ENDED, HISTORY_MAX, Crew, Rollout, Ruling, Seen
from hanse.control.rollout_machine import (
    BEAT_SECONDS_MAX,
    DEPLOY_SECONDS,
    FORCE_SECONDS,
    ONCE_SECONDS,
    beat,
    begun,
    commanded,
    shared,
)
from hanse.kernel.faults import Conflict

PLANS = [
    rolling(1),
    rolling(4, every=3.0, bake=5.0),
    blue_green(3, bake=10.0),
    canary(4, (1, 5, 25, 50), every=10.0, requests=20, bake=10.0),
    ab(2, 30),
    mirror(2, 50, seconds=10.0),
]
BEATS_MAX = 2_000


class World:
    """Instances that take their time, and an edge that follows late: what a row says, and what is so."""

    def __init__(self, plan: Plan, seed: int, *, ruling: Ruling = "go_on", crashes: float = 0.0) -> None:
        self.chance = random.Random(seed)
        self.instances = plan.steps[-1].new
        self.row = begun(Rollout(service="users", old="1", new="2", plan=plan, instances=self.instances), at=0.0)
        self.ruling: Ruling = ruling
        self.crashes = crashes
        self.new, self.old = Crew(), Crew(self.instances, self.instances)
        self.share, self.mirrored, self.requests = 0, 0, 0
        self.step = (0, False)

    def move(self) -> Seen:
        """A second in which some of what the row says becomes so, and something may break."""
        row = self.row
        self.new, self.old = self._moved(self.new, row.new_count), self._moved(self.old, row.old_count)
        if self.chance.random() < 0.5:
            self.share, self.mirrored = row.share, row.mirrored
        if self.step != (row.step, row.shown):
            self.step, self.requests = (row.step, row.shown), 0
        self.requests += self.chance.randrange(5)
        return Seen(
            seconds=1.0,
            new=self.new,
            old=self.old,
            instances=self.instances,
            share=self.share if self.chance.random() < 0.9 else None,
            mirrored=self.mirrored,
            check="passed",
            hook="passed",
            trial="passed",
            requests=self.requests,
            ruling=self.ruling,
        )

    def run(self, beats: int = BEATS_MAX) -> Rollout:
        """Beats until it is over, or as many as there may be; the row goes through its store before each."""
        for _ in range(beats):
            before, self.row = self.row, beat(self.row, self.move())
            self.check(before)
            if self.row.state in ENDED:
                break
        return self.row

    def check(self, before: Rollout) -> None:
        """What holds at any time."""
        row = self.row
        assert 0 <= row.share <= 10_000
        if row.state not in ENDED and row.state not in ("checking", "preparing"):
            assert row.new_count + row.old_count >= self.instances
            assert row.instances == self.instances
        if row.share > before.share:
            assert self.new.ready >= row.now.new, "requests are sent to what is not there"
        if row.old_count < before.old_count and row.instances == before.instances and row.state != "done":
            assert self.share == row.share, "the old release goes while an edge still counts on it"
        if row.state == "done":
            assert row.share == 10_000

    def _moved(self, crew: Crew, wanted: int) -> Crew:
        running = crew.running + (wanted > crew.running) - (wanted < crew.running)
        ready = min(running, crew.ready + (self.chance.random() < 0.7))
        if ready and self.chance.random() < self.crashes:
            ready -= 1
        return replace(crew, running=running, ready=ready)


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.strategy)
@given(seed=st.integers(0, 10_000), crashes=st.sampled_from([0.0, 0.05]))
def test_a_good_release_gets_everything(plan: Plan, seed: int, crashes: float) -> None:
    """Where nobody has to be asked; where somebody has, once they say so."""
    world = World(plan, seed, crashes=crashes)
    if plan.strategy in ("ab", "mirror"):
        assert world.run(200).state == "stepping"
        assert world.row.share == plan.steps[0].share
        world.row = commanded(world.row, "promote", who="ada", at=9.0)
    row = world.run()
    assert (row.state, row.share, row.new_count, row.old_count) == ("done", 10_000, world.instances, 0)


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.strategy)
@given(seed=st.integers(0, 10_000), when=st.integers(0, 120))
def test_whatever_the_judge_calls_bad_goes_back(plan: Plan, seed: int, when: int) -> None:
    """At whatever moment it says so, as long as the rollout is not over."""
    world = World(plan, seed, crashes=0.02)
    world.run(when)
    if world.row.state in ENDED:
        return
    world.ruling = "roll_back"
    row = world.run()
    assert (row.state, row.share, row.new_count, row.old_count) == ("rolled_back", 0, 0, world.instances)
    assert row.blamed


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.strategy)
@given(seed=st.integers(0, 10_000), when=st.integers(0, 120))
def test_an_abort_takes_all_requests_away_in_the_very_next_row(plan: Plan, seed: int, when: int) -> None:
    """Unless the old release has nobody left, who comes up first."""
    world = World(plan, seed)
    world.run(when)
    if world.row.state in ENDED or world.row.state == "rolling_back":
        return
    left = world.row.old_count
    world.row = commanded(world.row, "abort", who="ada", at=9.0)
    assert world.row.share == 0 or not left
    row = world.run()
    assert (row.state, row.share, row.old_count, row.blamed) == ("rolled_back", 0, world.instances, False)


@given(seed=st.integers(0, 10_000), ruling=st.sampled_from(["wait", "hold"]))
def test_shares_of_a_canary_never_grow_without_the_judge(seed: int, ruling: Ruling) -> None:
    world = World(canary(4, (1, 50), every=10.0), seed, ruling=ruling)
    row = world.run()
    assert (row.state, row.share) == ("held", 100)


@given(seed=st.integers(0, 10_000))
def test_what_is_held_may_go_on_and_may_still_turn_out_bad(seed: int) -> None:
    world = World(canary(4, (1, 50), every=10.0, requests=0), seed, ruling="hold")
    assert world.run().state == "held"
    world.row = commanded(world.row, "resume", who="ada", at=9.0)
    assert world.row.state == "stepping"
    world.row = commanded(world.row, "pause", who="ada", at=9.0)
    world.ruling = "roll_back"
    assert world.run().state == "rolled_back"


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.strategy)
@given(
    seed=st.integers(0, 10_000),
    when=st.integers(0, 60),
    instances=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    back=st.booleans(),
)
def test_as_many_run_as_are_wanted_by_now(
    plan: Plan, seed: int, when: int, instances: list[int], *, back: bool
) -> None:
    """At whatever moment somebody wants more or fewer, and whether it goes on or back."""
    world = World(plan, seed)
    for number in instances:
        world.run(when)
        if world.row.state in ENDED:
            return
        world.instances = number
        world.run(1)
        if world.row.state not in ENDED:
            assert world.row.instances == number
            assert (world.row.now.new, world.row.plan.steps[-1].new) <= (number, number)
    if world.row.state in ENDED:
        return
    if world.row.state == "stepping" or back:
        world.row = commanded(world.row, "abort" if back else "promote", who="ada", at=9.0)
    row = world.run()
    if row.state == "stepping":
        row = commanded(row, "promote", who="ada", at=9.0)
        world.row = row
        row = world.run()
    counts = {"done": (world.instances, 0), "rolled_back": (0, world.instances)}
    assert (row.new_count, row.old_count) == counts[row.state]


def test_more_instances_are_no_turn_of_the_rollout_and_why_it_is_held_is_still_told() -> None:
    row = commanded(beat(at("stepping"), ALL_WELL), "pause", who="ada", at=9.0)
    more = beat(row, replace(ALL_WELL, instances=10))
    assert (more.state, more.why, more.share) == ("held", "paused", row.share)
    assert (more.new_count, more.old_count) == (1, 10)
    assert more.history[-1].why == "10 instances are wanted, and not 4"
    assert beat(more, replace(ALL_WELL, instances=10)).history == more.history
    assert beat(more, ALL_WELL).instances == 10, "nobody says"


def at(state: str, plan: Plan = PLANS[3]) -> Rollout:
    """A rollout that has come to a state."""
    world = World(plan, 1)
    while world.row.state != state:
        world.row = beat(world.row, world.move())
    return world.row


ALL_WELL = Seen(
    seconds=1.0, new=Crew(4, 4), old=Crew(4, 4), share=0, mirrored=0, check="passed", hook="passed", trial="passed"
)


@pytest.mark.parametrize(
    ("state", "seen", "after"),
    [
        ("checking", Seen(check="failed", why="shop.pay is gone"), ("refused", "shop.pay is gone")),
        ("preparing", Seen(hook="failed", why="exit 1"), ("rolling_back", "exit 1")),
        (
            "deploying",
            Seen(new=Crew(0, 1, failed="5 exits in 60 s")),
            ("rolling_back", "2 does not run: 5 exits in 60 s"),
        ),
        ("trying", Seen(trial="failed", why="GET / said 500"), ("rolling_back", "GET / said 500")),
        ("stepping", Seen(ruling="roll_back", why="20 of 20 failed"), ("rolling_back", "20 of 20 failed")),
    ],
)
def test_each_state_can_fail_and_says_why(state: str, seen: Seen, after: tuple[str, str]) -> None:
    row = beat(at(state), seen)
    assert (row.state, row.why) == after
    assert (row.history[-1].state, row.history[-1].why) == after


@pytest.mark.parametrize(
    ("state", "seconds", "after"),
    [
        ("checking", ONCE_SECONDS, "held"),
        ("preparing", ONCE_SECONDS, "held"),
        ("deploying", DEPLOY_SECONDS, "rolling_back"),
        ("trying", ONCE_SECONDS, "held"),
        ("stepping", DEPLOY_SECONDS, "held"),
    ],
)
def test_nothing_is_waited_for_without_end(state: str, seconds: float, after: str) -> None:
    row = at(state)
    silent = Seen(seconds=BEAT_SECONDS_MAX, old=Crew(4, 4))
    for _ in range(int(seconds / BEAT_SECONDS_MAX)):
        row = beat(row, silent)
        assert row.state == state
    assert beat(row, silent).state == after


def test_an_edge_that_does_not_follow_is_told_of() -> None:
    row = beat(at("stepping"), ALL_WELL)
    assert row.shown
    for _ in range(int(FORCE_SECONDS) + 1):
        row = beat(row, replace(ALL_WELL, share=0, mirrored=0, ruling="go_on", requests=10_000))
    assert (row.state, row.step) == ("held", 0)
    assert row.why == "not every edge and node goes by a share of 1 %, after 60 s"


def test_a_clock_that_jumps_is_no_evidence() -> None:
    row = beat(at("stepping"), ALL_WELL)
    jump = replace(ALL_WELL, seconds=86_400.0, share=row.share, mirrored=0, ruling="go_on", requests=10_000)
    assert beat(row, jump).watched == BEAT_SECONDS_MAX
    assert beat(row, replace(jump, seconds=-3.0)).watched == 0.0


def test_nothing_is_watched_while_an_instance_is_missing() -> None:
    row = beat(at("stepping"), ALL_WELL)
    short = replace(ALL_WELL, new=Crew(0, 1), share=row.share, mirrored=0, ruling="go_on", requests=10_000)
    for _ in range(20):
        row = beat(row, short)
    assert (row.state, row.step, row.watched) == ("stepping", 0, 0.0)


def test_the_old_release_comes_up_before_it_gets_requests_again() -> None:
    """At the end of a rolling release nobody of it is left."""
    world = World(rolling(2, bake=1_000.0), 3)
    world.run(100)
    assert (world.row.state, world.row.old_count, world.row.share) == ("stepping", 0, 10_000)
    while world.old.running:
        world.move()
    world.row = commanded(world.row, "abort", who="ada", at=9.0)
    row = beat(world.row, replace(world.move(), old=Crew(0, 0, failed="5 exits in 60 s")))
    assert (row.share, row.why) == (10_000, "aborted; no instance of 1 is ready 5 exits in 60 s")
    assert world.run().state == "rolled_back"


def test_nobody_goes_for_one_that_has_ended_since_it_was_ready() -> None:
    """The share is in force only now, and whoever was to bear it is gone: the old one is all that there is."""
    world = World(rolling(1, every=3.0), 1)
    while not world.row.shown:
        world.run(1)
    gone = Seen(seconds=1.0, new=Crew(0, 0), old=Crew(1, 1), share=10_000, mirrored=0)
    row = beat(world.row, gone)
    assert (row.old_count, row.watched) == (1, 0.0)
    assert beat(row, replace(gone, new=Crew(1, 1))).old_count == 0


def test_a_rollout_of_a_set_stays_warm_until_somebody_ends_it() -> None:
    world = World(blue_green(2, bake=3.0), 1)
    world.row = replace(world.row, kept_warm=True)
    row = world.run(300)
    assert (row.state, row.share, row.old_count) == ("stepping", 10_000, 2)
    assert commanded(row, "promote", who="set", at=9.0).state == "done"


@pytest.mark.parametrize(
    ("state", "command", "says"),
    [
        ("done", "abort", "is done: there is nothing to abort"),
        ("rolling_back", "promote", "is rolling back: there is nothing to promote"),
        ("deploying", "promote", "it cannot promote, but pause or abort"),
        ("stepping", "resume", "it cannot resume, but pause or abort"),
        ("held", "pause", "it cannot pause, but resume, promote or abort"),
    ],
)
def test_commands_that_do_not_fit_say_what_does(state: str, command: str, says: str) -> None:
    row = at("stepping") if state in ("rolling_back", "held") else at(state)
    if state in ("rolling_back", "held"):
        row = commanded(row, "abort" if state == "rolling_back" else "pause", who="ada", at=9.0)
    with pytest.raises(Conflict, match=says):
        commanded(row, command, who="ada", at=9.0)  # type: ignore[arg-type]  # one of them


def test_a_share_by_hand_holds_the_rollout_there() -> None:
    row = beat(at("stepping"), ALL_WELL)
    held = shared(row, 2_000, who="ada", at=9.0)
    assert (held.state, held.share, held.why, held.history[-1].who) == ("held", 2_000, "a share of 20 % by hand", "ada")
    assert shared(held, 3_000, who="ada", at=9.0).held_in == "stepping"
    assert beat(held, replace(ALL_WELL, ruling="roll_back")).state == "rolling_back"
    assert commanded(held, "resume", who="ada", at=9.0).share == 2_000


@pytest.mark.parametrize("state", ["deploying", "done"])
def test_a_share_by_hand_needs_somebody_to_share_with(state: str) -> None:
    with pytest.raises(Conflict, match="its share can be set while it is stepping"):
        shared(at(state), 2_000, who="ada", at=9.0)
    last = replace(beat(at("stepping"), ALL_WELL), old_count=0)
    with pytest.raises(Conflict, match="has no instance of 1 left to share with"):
        shared(last, 2_000, who="ada", at=9.0)


def test_the_history_keeps_its_beginning_and_its_end() -> None:
    steps = (*(Step(share=n, new=1, old=1, ends="unharmed") for n in range(1, 10)),) * 15
    world = World(Plan(strategy="canary", steps=(*steps, Step(share=10_000, new=1, old=1, ends="unharmed"))), 1)
    row = world.run()
    assert len(row.history) == HISTORY_MAX
    assert (row.history[0].state, row.history[-1].state) == ("checking", "done")


def test_nothing_becomes_of_what_is_over() -> None:
    row = at("done")
    assert beat(row, replace(ALL_WELL, ruling="roll_back")) is row
