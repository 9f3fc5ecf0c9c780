from __future__ import annotations

import signal
from dataclasses import dataclass, field

import pytest
from hypothesis import settings as how, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace

from hanse.control.desired import Command, Desired, Key, Probe
from hanse.control.instances import Instance, Phase, Serving, System
from hanse.control.supervisor_heard import (
    AGAIN_SECONDS,
    CRASHES_MAX,
    CRASHES_SECONDS,
    MISCONFIGURED,
    observed,
    recovered,
)
from hanse.control.supervisor_machine import KILL_SECONDS, SEEN_SECONDS, SURGE, decided
from hanse.control.supervisor_words import Ended, Event, Idle, Launched, Look, Looked, Seen, Show, Signal, Start, Watch

PROBE = Probe("/up", interval=2.0, fall=2, startup=30.0)
WEB = Desired("web", Command(("web",)), probe=PROBE, stop_grace=10.0)


@dataclass
class Process:
    """A process of a world, and what it does when it is asked to end."""

    instance: Instance
    healthy: bool = True
    stubborn: bool = False
    told: list[int] = field(default_factory=list)


class World:
    """Processes, an edge and a clock: what the machine says is carried out at once, and makes news."""

    def __init__(self, *desired: Desired) -> None:
        self.desired: dict[Key, Desired] = {one.key: one for one in desired}
        self.system = System()
        self.now = 100.0
        self.processes: dict[str, Process] = {}
        self.shown: dict[str, Serving] = {}
        self.seen = 0
        self.edge_answers = True
        self.idle = True
        self.healthy = True
        self.looks: list[str] = []
        self.news: list[Event] = []
        self.busy = False
        self.wake: float | None = None
        self.decide()

    def want(self, *desired: Desired) -> None:
        for one in desired:
            self.desired[one.key] = one
        self.decide()

    def hear(self, event: Event) -> None:
        self.news.append(event)
        self.decide()

    def decide(self) -> None:
        """Take the news one by one; what is done makes further news, which wait for their turn."""
        if self.busy:
            return
        self.busy = True
        while True:
            if self.news:
                self.system = observed(self.system, self.news.pop(0), self.desired, self.now)
            decision = decided(self.system, self.desired, self.now)
            self.system, self.wake = decision.system, decision.wake
            assert decided(self.system, self.desired, self.now).actions == ()
            for action in decision.actions:
                self._do(action)
            if not self.news:
                break
        self.busy = False

    def _do(self, action: Start | Signal | Look | Show | Watch) -> None:
        match action:
            case Start(instance):
                self._check_room(instance)
                self.processes[instance.process] = Process(instance, self.healthy)
                self.hear(Launched(instance.process, 1_000 + instance.run, 20_000 + instance.run))
            case Signal(process, number):
                self._check_told(process, number)
                self.processes[process].told.append(number)
                if number == signal.SIGKILL or not self.processes[process].stubborn:
                    self.end(process, -number)
            case Look(process):
                self.looks.append(process)
            case Show(revision, serving):
                assert revision > self.seen
                self.shown = {one.instance: one for one in serving}
                if self.edge_answers:
                    self.seen = revision
                    self.hear(Seen(revision))
            case Watch(process):
                if self.idle:
                    self.hear(Idle(process))

    def _check_room(self, instance: Instance) -> None:
        wanted = self.desired[instance.key]
        assert self.running(*instance.key) < wanted.instances + SURGE

    def _check_told(self, process: str, number: int) -> None:
        one = self.processes[process].instance
        known = next(other for other in self.system.instances if other.process == process)
        if number == signal.SIGKILL:
            assert self.processes[process].told, "killed before it was told to end"
        shown = self.shown.get(one.name)
        if known.leaving and shown is not None:
            assert shown.draining, "told to end while it got traffic"

    def running(self, service: str, release: str = "") -> int:
        return sum(one.instance.key == (service, release) for one in self.processes.values())

    def end(self, process: str, code: int | None = 1, *, tail: tuple[str, ...] = ()) -> None:
        del self.processes[process]
        self.hear(Ended(process, code, tail))

    def answer_looks(self) -> None:
        looks, self.looks = self.looks, []
        for process in looks:
            if process in self.processes:
                self.hear(Looked(process, "" if self.processes[process].healthy else "503"))

    def run(self, seconds: float) -> None:
        """Let time pass: every moment that the machine asked for, and every look at once."""
        end = self.now + seconds
        for _ in range(10_000):
            self.answer_looks()
            if self.looks:
                continue
            self.now = min(end, self.wake or end)
            self.decide()
            if self.now >= end and not self.looks:
                return
        raise AssertionError("the machine is never content")

    def phases(self, service: str = "web") -> list[Phase]:
        return [one.phase for one in self.system.of(service)]

    def one(self, service: str = "web") -> Instance:
        (found,) = self.system.of(service)
        return found

    def process(self, service: str = "web") -> str:
        return self.one(service).process


def test_what_ends_backs_off_longer_each_time_and_then_is_given_up_with_its_last_words() -> None:
    world, waits = World(WEB), list[float]()
    for _ in range(CRASHES_MAX):
        world.run(sum(waits[-1:]) + 0.2)
        world.end(world.process(), 3, tail=("no database",))
        waits.append(world.one().until - world.now)
    assert waits == [0.5, 0.75, 1.5, 3.0, AGAIN_SECONDS]
    assert (world.one().phase, world.one().tail) == ("crash loop", ("no database",))
    assert world.one().why == "exit code 3; 5 times in 60 s"
    world.run(AGAIN_SECONDS - 1)
    assert world.processes == {}


def given_up() -> World:
    """A world whose one instance ended until nobody started it any more."""
    world = World(WEB)
    for _ in range(CRASHES_MAX):
        world.run(10)
        world.end(world.process())
    assert world.phases() == ["crash loop"]
    return world


def test_what_was_given_up_has_one_try_after_a_long_while_and_then_another() -> None:
    world = given_up()
    for _ in range(2):
        world.run(AGAIN_SECONDS)
        assert world.phases() == ["ready"]
        world.end(world.process(), 3)
        assert (world.phases(), world.one().why) == (["crash loop"], "exit code 3; tried once more")


def test_what_lasts_after_it_was_given_up_is_blamed_for_nothing() -> None:
    world = given_up()
    world.run(AGAIN_SECONDS + CRASHES_SECONDS + 1)
    world.end(world.process())
    assert (world.phases(), world.one().failures) == (["backing off"], 1)


def test_what_was_given_up_waits_for_those_it_needs() -> None:
    api = Desired("api", Command(("api",)), probe=PROBE, needs=("web",))
    world = World(WEB, api)
    world.run(1)
    for _ in range(CRASHES_MAX):
        world.end(world.process("api"))
        world.run(10)
    assert world.phases("api") == ["crash loop"]
    world.want(replace(WEB, instances=0), api)
    world.run(AGAIN_SECONDS)
    assert world.phases("api") == ["waiting"]


@pytest.mark.parametrize(
    ("code", "starving", "starved"), [(-9, True, 1), (137, True, 1), (-9, False, 0), (-15, True, 0), (1, True, 0)]
)
def test_who_was_killed_as_memory_had_run_out_is_known(code: int, starved: int, *, starving: bool) -> None:
    world = World(WEB)
    process = world.process()
    del world.processes[process]
    world.hear(Ended(process, code, starving=starving))
    assert (world.one().starved, world.one().restarts) == (starved, 1)
    assert ("memory" in world.one().why) == bool(starved)


def test_who_was_killed_by_us_had_not_too_much_memory() -> None:
    one = Instance("web", 1, phase="stopping", run=3, killed_at=5.0)
    after = observed(System((one,)), Ended(one.process, -9, starving=True), {WEB.key: WEB}, 6.0)
    assert [(one.phase, one.starved) for one in after.instances] == [("backing off", 0)]


def test_a_restart_ends_a_crash_loop() -> None:
    world = given_up()
    world.want(replace(WEB, turn=1))
    world.run(1)
    assert world.phases() == ["ready"]


def test_others_go_on_when_one_is_given_up() -> None:
    world = World(WEB, Desired("api", Command(("api",)), probe=PROBE))
    for _ in range(CRASHES_MAX):
        world.run(10)
        world.end(world.process())
    assert (world.phases(), world.phases("api")) == (["crash loop"], ["ready"])


def test_a_service_of_ours_that_says_it_is_misconfigured_is_given_up_at_once() -> None:
    world = World(replace(WEB, own=True))
    world.end(world.process(), MISCONFIGURED)
    world.run(2 * AGAIN_SECONDS)
    assert world.phases() == ["crash loop"]
    world = World(WEB)
    world.end(world.process(), MISCONFIGURED)
    assert world.phases() == ["backing off"]


def test_what_was_ready_for_long_begins_with_the_shortest_wait() -> None:
    world = World(WEB)
    for _ in range(4):
        world.run(100)
        world.end(world.process())
        assert world.one().until - world.now == 0.5


def test_whoever_could_not_be_launched_is_tried_again() -> None:
    world = World(WEB)
    process = world.process()
    del world.processes[process]
    world.hear(Ended(process, None, why="there is no command 'web'"))
    assert (world.one().phase, world.one().why) == ("backing off", "there is no command 'web'")


@pytest.mark.parametrize(
    ("restart", "code", "phase"),
    [("never", 1, "done"), ("on-failure", 0, "done"), ("on-failure", 1, "backing off"), ("always", 0, "backing off")],
)
def test_whether_it_is_started_anew(restart: str, code: int, phase: Phase) -> None:
    world = World(replace(WEB, restart=restart))
    world.end(world.process(), code)
    assert world.phases() == [phase]


def test_what_never_becomes_healthy_is_stopped_and_says_why() -> None:
    world = World()
    world.healthy = False
    world.want(WEB)
    world.run(30)
    assert world.one().why == "never healthy in 30 s: 503"
    assert (world.phases(), world.shown) == (["backing off"], {})


def test_what_is_unhealthy_gets_no_traffic_until_it_is_healthy_again() -> None:
    world = World(WEB)
    world.run(1)
    world.processes[world.process()].healthy = False
    world.run(5)
    assert (world.phases(), world.shown) == (["unhealthy"], {})
    world.processes[world.process()].healthy = True
    world.run(1)
    assert (world.phases(), list(world.shown)) == (["ready"], ["web-1"])
    assert world.one().restarts == 0


def test_what_stays_unhealthy_is_started_anew() -> None:
    world = World(WEB)
    world.run(1)
    process = world.process()
    world.processes[process].healthy = False
    while world.one().is_alive:
        world.run(0.1)
    assert world.one().why == "unhealthy in 30 s: 503"
    world.run(5)
    assert world.phases() == ["ready"]
    assert world.process() != process


def test_one_look_that_fails_costs_nothing() -> None:
    world = World(WEB)
    world.run(1)
    world.hear(Looked(world.process(), "503"))
    assert world.phases() == ["ready"]


def test_what_ends_leaves_the_edge_at_once() -> None:
    world = World(WEB)
    world.run(1)
    assert list(world.shown) == ["web-1"]
    world.end(world.process(), -9)
    assert world.shown == {}
    assert world.one().why == "killed by SIGKILL"


NEEDY = Desired("shop", Command(("shop",)), needs=("web",), probe=PROBE)


def test_whoever_needs_somebody_starts_when_they_are_ready() -> None:
    world = World(NEEDY, WEB)
    assert (world.phases("shop"), world.one("shop").why) == (["waiting"], "for web")
    world.run(1)
    assert world.phases("shop") == ["ready"]


def test_whoever_ends_while_somebody_is_away_waits_for_them_and_is_not_blamed() -> None:
    world = World(NEEDY, WEB)
    world.run(1)
    world.healthy = False
    world.end(world.process())
    for _ in range(10):
        if world.one("shop").is_alive:
            world.end(world.process("shop"))
        world.run(1)
    assert (world.phases("shop"), world.one("shop").exits) == (["waiting"], ())


def test_whoever_is_needed_stops_last() -> None:
    world = World(NEEDY, WEB)
    world.run(1)
    shop = world.processes[world.process("shop")]
    shop.stubborn = True
    world.want(replace(NEEDY, instances=0), replace(WEB, instances=0))
    assert (world.phases("shop"), world.phases()) == (["stopping"], ["ready"])
    world.end(world.process("shop"), 0)
    assert world.system.instances == ()
    assert world.processes == {}


def test_one_who_is_needed_may_be_stopped_alone() -> None:
    world = World(NEEDY, WEB)
    world.run(1)
    world.want(replace(WEB, instances=0))
    assert (world.phases("shop"), world.phases()) == (["ready"], [])


def test_who_needs_a_job_starts_when_it_has_ended_well() -> None:
    job = Desired("job", Command(("job",)), restart="never")
    world = World(job, replace(NEEDY, needs=("job",)))
    world.run(10)
    assert world.phases("shop") == ["waiting"]
    world.end(world.process("job"), 1)
    assert world.phases("shop") == ["waiting"]
    world.want(replace(job, turn=1))
    world.end(world.process("job"), 0)
    world.run(1)
    assert (world.phases("job"), world.phases("shop")) == (["done"], ["ready"])


def test_a_stop_waits_for_the_edge_and_for_what_is_in_flight() -> None:
    world = World(WEB)
    world.run(1)
    world.edge_answers = world.idle = False
    process = world.process()
    world.want(replace(WEB, instances=0))
    assert (world.phases(), world.shown["web-1"].draining) == (["draining"], True)
    world.hear(Seen(world.system.shown))
    assert world.processes[process].told == []
    world.processes[process].stubborn = True
    world.hear(Idle(process))
    assert world.processes[process].told == [signal.SIGTERM]
    assert world.shown["web-1"].draining


def test_an_edge_that_says_nothing_holds_a_stop_up_for_so_long() -> None:
    world = World(WEB)
    world.run(1)
    world.edge_answers = False
    world.want(replace(WEB, instances=0))
    world.run(SEEN_SECONDS - 0.1)
    assert world.phases() == ["draining"]
    world.run(0.2)
    assert world.processes == {}


def test_what_ends_in_order_by_another_signal_is_told_by_that() -> None:
    world = World(replace(WEB, stop_signal=signal.SIGINT))
    world.run(1)
    told = world.processes[world.process()].told
    world.want(replace(WEB, stop_signal=signal.SIGINT, instances=0))
    assert told == [signal.SIGINT]


def test_what_does_not_end_is_killed_and_killed_again() -> None:
    world = World(WEB)
    world.run(1)
    process = world.process()
    told = world.processes[process].told
    world.processes[process].stubborn = True
    world.want(replace(WEB, instances=0))
    world.run(9.9)
    assert told == [signal.SIGTERM]
    world.run(0.2 + KILL_SECONDS)
    assert told == [signal.SIGTERM, signal.SIGKILL]
    assert world.system.instances == ()


def test_what_hangs_in_the_system_is_killed_again_and_stays_in_sight() -> None:
    one = Instance("web", 1, phase="stopping", run=1, until=10.0, leaving=True)
    first = decided(System((one,)), {}, 10.0)
    assert [action for action in first.actions if isinstance(action, Signal)] == [Signal("web-1.1", 9, group=True)]
    assert first.wake == 10.0 + KILL_SECONDS
    assert decided(first.system, {}, 12.0).actions == ()
    assert decided(first.system, {}, 15.0).actions == (Signal("web-1.1", 9, group=True),)


def test_new_ones_take_the_place_of_old_ones_one_by_one() -> None:
    two = replace(WEB, instances=2)
    world = World(two)
    world.run(1)
    world.want(replace(two, turn=1))
    assert world.phases() == ["ready", "ready", "starting"]
    world.run(1)
    assert world.phases() == ["ready", "ready"]
    assert {one.build for one in world.system.instances} == {replace(two, turn=1).build}
    assert world.running("web") == 2


def test_old_ones_serve_on_where_new_ones_do_not_become_healthy() -> None:
    world = World(WEB)
    world.run(1)
    world.healthy = False
    world.want(replace(WEB, turn=1))
    world.run(500)
    assert "ready" in world.phases()
    assert world.running("web") <= 1 + SURGE


def test_what_insists_on_a_port_ends_before_the_next_one_starts() -> None:
    lone = replace(WEB, port=5000)
    world = World(lone)
    world.run(1)
    world.idle = False
    world.want(replace(lone, turn=1))
    assert world.phases() == ["draining"]
    world.hear(Idle(world.process()))
    assert world.phases() == ["starting"]


def test_releases_run_beside_each_other() -> None:
    world = World(replace(WEB, release="1"), replace(WEB, release="2", instances=2))
    world.run(1)
    assert sorted(one.release for one in world.system.of("web")) == ["1", "2", "2"]
    assert len({one.name for one in world.system.of("web")}) == 3


def test_a_service_that_nobody_wants_any_more_goes() -> None:
    world = World(WEB)
    world.run(1)
    del world.desired[WEB.key]
    world.decide()
    assert world.system.instances == ()


def test_news_of_the_past_change_nothing() -> None:
    world = World(WEB)
    before = world.system
    world.hear(Ended("web-1.99", 1))
    world.hear(Seen(0))
    assert world.system == before


def test_whoever_comes_back_goes_on_with_what_lives_and_hears_of_what_does_not() -> None:
    two = replace(WEB, instances=2)
    world = World(two)
    world.run(1)
    first, second = world.system.instances
    system, lost = recovered(world.system, {first.process: 7}, {}, world.now)
    assert lost == [Ended(second.process, None, why="lost")]
    assert system.instances[0] == replace(first, pid=7, look_at=world.now)
    again = decided(system, world.desired, world.now)
    assert [type(action) for action in again.actions] == [Look, Show]
    assert not any(isinstance(action, Start | Signal) for action in again.actions)


@pytest.mark.parametrize("probe", [PROBE, Probe()])
def test_whoever_comes_back_is_told_of_a_launch_that_nobody_has_heard_of(probe: Probe) -> None:
    """Else it would not be looked at until it has taken too long, and be killed for that."""
    web = replace(WEB, probe=probe)
    begun = decided(System(), {web.key: web}, 1.0).system
    system, unheard = recovered(begun, {"web-1.1": 7}, {"web-1": 8_001}, 2.0)
    assert unheard == [Launched("web-1.1", 7, 8_001)]
    for event in unheard:
        system = observed(system, event, {web.key: web}, 2.0)
    (one,) = system.instances
    assert (one.port, one.phase, bool(one.look_at)) == (8_001, "starting" if probe.path else "ready", bool(probe.path))


def test_whoever_comes_back_late_tells_the_edge_before_it_tells_an_instance_to_end() -> None:
    """The one before was killed as it had one drain: the edge has not heard of that, however long ago it was."""
    world = World(WEB)
    world.run(1)
    world.edge_answers = world.idle = False
    drained = decided(world.system, {WEB.key: replace(WEB, instances=0)}, world.now).system
    desired, late = {WEB.key: replace(WEB, instances=0)}, world.now + 1_000.0
    system, _ = recovered(drained, {world.process(): 7}, {}, late)
    first = decided(system, desired, late)
    assert [type(action) for action in first.actions] == [Show]
    assert decided(first.system, desired, late + 0.1).actions == ()
    second = decided(observed(first.system, Seen(first.system.shown), desired, late), desired, late)
    assert [type(action) for action in second.actions] == [Watch]


def test_whoever_comes_back_late_looks_at_one_that_was_starting_before_it_gives_it_up() -> None:
    """Nobody has looked at it meanwhile: what time it had is no fault of its own."""
    begun = decided(System(), {WEB.key: WEB}, 1.0).system
    begun = observed(begun, Launched("web-1.1", 7, 8_001), {WEB.key: WEB}, 1.0)
    late = 1.0 + 2 * WEB.probe.startup
    system, _ = recovered(begun, {"web-1.1": 7}, {}, late)
    assert [type(one) for one in decided(system, {WEB.key: WEB}, late).actions] == [Look, Show]


@pytest.mark.parametrize(
    ("code", "why"), [(-15, "killed by SIGTERM"), (-99, "killed by signal 99"), (2, "exit code 2")]
)
def test_how_it_ended_is_said(code: int, why: str) -> None:
    world = World(WEB)
    world.end(world.process(), code)
    assert world.one().why == why


SERVICES = ("db", "api", "web")
BASE = {
    "db": Desired("db", Command(("db",)), probe=PROBE, stop_grace=5.0),
    "api": Desired("api", Command(("api",)), needs=("db",), probe=PROBE, stop_grace=5.0),
    "web": Desired("web", Command(("web",)), instances=2, needs=("api",), stop_grace=5.0),
}


class Chaos(RuleBasedStateMachine):
    """Whatever dies whenever: the promises hold at every moment, and in the end all runs that should."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(*BASE.values())

    @rule(seconds=st.sampled_from([0.01, 0.5, 3.0, 20.0, 70.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.run(seconds)

    @rule(draw=st.integers(0, 9), code=st.sampled_from([0, 1, -9, 78]))
    def one_dies(self, draw: int, code: int) -> None:
        if self.world.processes:
            self.world.end(sorted(self.world.processes)[draw % len(self.world.processes)], code)

    @rule(draw=st.integers(0, 9), healthy=st.booleans(), stubborn=st.booleans())
    def one_changes(self, draw: int, healthy: bool, stubborn: bool) -> None:
        if self.world.processes:
            one = self.world.processes[sorted(self.world.processes)[draw % len(self.world.processes)]]
            one.healthy, one.stubborn = healthy, stubborn

    @rule(name=st.sampled_from(SERVICES), instances=st.integers(0, 3), turn=st.integers(0, 2))
    def somebody_wants_something_else(self, name: str, instances: int, turn: int) -> None:
        self.world.want(replace(self.world.desired[name, ""], instances=instances, turn=turn))

    @rule(answers=st.booleans(), idle=st.booleans(), healthy=st.booleans())
    def the_world_changes(self, answers: bool, idle: bool, healthy: bool) -> None:
        self.world.edge_answers, self.world.idle, self.world.healthy = answers, idle, healthy

    @rule(lost=st.booleans())
    def the_supervisor_is_killed(self, lost: bool) -> None:
        world = self.world
        if lost and world.processes:
            del world.processes[min(world.processes)]
        held = dict.fromkeys(world.processes, 1)
        world.system, ends = recovered(world.system, held, {}, world.now)
        world.looks = []
        for end in ends:
            world.hear(end)
        world.decide()

    @invariant()
    def no_process_is_out_of_sight(self) -> None:
        known = {one.process for one in self.world.system.instances if one.is_alive}
        assert self.world.processes.keys() == known

    @invariant()
    def traffic_goes_to_what_is_healthy_only(self) -> None:
        ready = {one.name for one in self.world.system.instances if one.phase == "ready"}
        assert {name for name, one in self.world.shown.items() if not one.draining} == ready

    @invariant()
    def names_are_unique(self) -> None:
        names = [one.name for one in self.world.system.instances]
        assert len(names) == len(set(names))

    def teardown(self) -> None:
        world = self.world
        world.edge_answers = world.idle = world.healthy = True
        for one in world.processes.values():
            one.healthy, one.stubborn = True, False
        # What was given up is given up until somebody wants it started anew.
        world.want(*(replace(one, instances=BASE[one.service].instances, turn=9) for one in world.desired.values()))
        world.run(600)
        for name, wanted in BASE.items():
            assert world.phases(name) == ["ready"] * wanted.instances, name
            assert world.running(name) == wanted.instances
        world.want(*(replace(one, instances=0) for one in world.desired.values()))
        world.run(60)
        assert world.processes == {}
        assert world.system.instances == ()


TestChaos = Chaos.TestCase
TestChaos.settings = how(max_examples=25, stateful_step_count=25, deadline=None)
