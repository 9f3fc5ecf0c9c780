"""What a rollout sees of one machine."""

from __future__ import annotations

from hanse.control.edge_figures import Counts, Figures, Key, Line
from hanse.control.edge_window import frozen
from hanse.control.ground import Wanted
from hanse.control.instances import Instance, System
from hanse.control.rollout import Crew
from hanse.control.sighted import Looks, counted, crew_of, sight_of, tally_of, with_ledgers
from hanse.control.window import Both, Condition, Outcomes
from hanse.node.ledger import Calls, Ledger, Messages

WANTED = Wanted(
    rollout="r1",
    service="web",
    old="1",
    new="2",
    old_count=2,
    new_count=1,
    share=500,
    mirrored=0,
    state="stepping",
    step=0,
)


def counts(requests: int, errors: int = 0, milliseconds: float = 4.0) -> Counts:
    found = Counts(requests=requests, errors=errors)
    for _ in range(requests):
        found.took(milliseconds / 1_000)
    return found


def line(service: str, release: str, server: str, found: Counts) -> Line:
    return Line(Key(service, release, server, "/"), found)


def test_a_crew_is_counted_by_what_each_is_at() -> None:
    system = System(
        instances=(
            Instance("web", 1, "1", phase="ready"),
            Instance("web", 2, "1", phase="draining"),
            Instance("web", 3, "2", phase="crash loop", why="exit code 1; 5 times in 60 s"),
            Instance("mail", 1, "1", phase="ready"),
        )
    )
    assert crew_of(system, "web", "1") == Crew(ready=1, running=2)
    assert crew_of(system, "web", "2") == Crew(failed="web-3: exit code 1; 5 times in 60 s")
    assert tally_of(Figures(since=1.0, revision=1), WANTED, system, {}, Looks()).new.crashing == ("web-3",)


def test_requests_are_told_by_release_and_instance() -> None:
    lines = (
        line("web", "1", "web-1", counts(600, 1)),
        line("web", "2", "web-3", counts(10, 5, milliseconds=80.0)),
        line("mail", "2", "mail-1", counts(9, 9)),
    )
    figures = Figures(since=1.0, revision=1, lines=lines)
    slow = frozen(counted(figures), "web", "1")
    both = tally_of(figures, WANTED, System(), slow, Looks()).routes["/"]
    assert both.old == {"web-1": Outcomes(asked=600, failed=1, timed=600)}
    assert both.new == {"web-3": Outcomes(asked=10, failed=5, timed=10, slow=10, slowest=10)}


def test_a_share_that_is_not_in_force_is_not_known() -> None:
    tally = tally_of(Figures(since=1.0, revision=1), WANTED, System(), {}, Looks())
    assert sight_of(WANTED, System(), tally, in_force=False, came="waiting").share is None
    assert sight_of(WANTED, System(), tally, in_force=True, came="waiting").share == WANTED.share


def test_how_instances_are_is_told_by_release() -> None:
    system = System(
        instances=(
            Instance("web", 1, "1", phase="ready", run=1, restarts=1),
            Instance("web", 2, "2", phase="unhealthy", run=2, since=7.0),
            Instance("web", 3, "2", phase="backing off", run=3, restarts=2, starved=1),
            Instance("web", 4, "2", phase="starting", run=4),
        )
    )
    looks = Looks(10.0, memory={"web-1.1": 5.0, "web-4.4": 9.0})
    tally = tally_of(Figures(since=1.0, revision=1), WANTED, system, {}, looks)
    assert tally.old == Condition(restarts=1, memory={"web-1.1": 5.0})
    assert tally.new == Condition(restarts=2, killed=("web-3",), unready={"web-2": 3.0}), "who starts is not looked at"


def test_what_nodes_have_counted_is_told_beside_what_the_edge_has() -> None:
    old, new = Instance("web", 1, "1", phase="ready", run=1), Instance("web", 2, "2", phase="ready", run=2)
    ledgers = {
        "web-1.1": Ledger({"web.get": Calls(asked=9)}, {"web.hear": Messages(handled=5)}),
        "web-2.2": Ledger({"web.get": Calls(asked=4, failed=3, broken=1)}, {"web.hear": Messages(2, 1, 1)}, lag=0.5),
    }
    system, looks = System(instances=(old, new)), Looks(ledgers=ledgers)
    figures = with_ledgers(Figures(since=1.0, revision=1, lines=(line("web", "2", "web-2", counts(7)),)), system, looks)
    tally = tally_of(figures, WANTED, system, {}, looks)
    assert tally.routes == {
        "/": Both(new={"web-2": Outcomes(7)}),
        "web.get": Both(new={"web-2.2": Outcomes(4, 3)}, old={"web-1.1": Outcomes(9)}),
        "on web.hear": Both(new={"web-2.2": Outcomes(3, 1)}, old={"web-1.1": Outcomes(5)}),
    }
    assert (tally.new.contract_broken, tally.new.dead_letters, tally.new.lag) == (1, 1, 0.5)
    assert (tally.old.contract_broken, tally.old.dead_letters, tally.old.lag) == (0, 0, 0.0)
