"""People instead of requests, counted as they come."""

from __future__ import annotations

from hypothesis import given, strategies as st

from hanse.control.edge_choice import Asking, asker_of
from hanse.control.edge_figures import Counts, Key
from hanse.control.edge_people import FORGOTTEN, SEEN_MAX, People
from hanse.control.edge_table import Share, Split
from hanse.control.edge_window import told
from hanse.control.stories import WHO_MAX, Stories, Told
from hanse.control.window import Outcomes

ASKED = st.lists(
    st.tuples(st.sampled_from(["/", "/x"]), st.sampled_from(["web-1", "web-2"]), st.sampled_from("abcd"), st.booleans())
)
SPLIT = Split(
    shares=(Share(release="1", points=10_000),),
    sticks_to=("address", "header.x-user-id", "cookie.shop"),
    cookie="visitor",
)


@given(st.lists(ASKED, max_size=8))
def test_people_are_counted_as_stories_are(windows: list[list[tuple[str, str, str, bool]]]) -> None:
    """What a judge who looks at each request by itself counts, an edge counts by and by."""
    people, stories = People(), Stories()
    counts, sums = dict[tuple[str, str], Counts](), dict[tuple[str, str], Outcomes]()
    for second, window in enumerate(windows):
        for number, (route, server, who, failed) in enumerate(window):
            at = second + number / (len(window) + 1)
            place = counts.setdefault((server, route), Counts())
            people.count(place, (server, route), "r1", who, at, failed=failed)
            stories.add(Told(route, server, is_new=True, who=who, failed=failed, seconds=0.1), at)
        for route, both in stories.cut(second + 1.0).routes.items():
            for server, outcomes in both.new.items():
                sums[server, route] = sums.get((server, route), Outcomes()) + outcomes
    assert {place: Outcomes(one.people, one.people_failed) for place, one in counts.items() if one.people} == sums


def test_who_fails_at_everything_has_failed_once_in_a_rollout_and_anew_in_the_next() -> None:
    people, counts = People(), Counts()
    for salt in ("r1", "r1", "r1", "r2"):
        people.count(counts, ("web-1", "/"), salt, "ann", 1.0, failed=True)
    assert (counts.whose, counts.people, counts.people_failed) == (4, 2, 2)


def test_whom_nobody_knows_counts_each_time() -> None:
    people, counts = People(), Counts()
    for failed in (True, True, False):
        people.count(counts, ("web-1", "/"), "r1", "", 1.0, failed=failed)
    assert (counts.whose, counts.people, counts.people_failed) == (3, 3, 2)


def test_whose_answer_breaks_off_has_failed_and_asked_once() -> None:
    people, counts = People(), Counts()
    for who in ("ann", "ann", ""):
        people.count(counts, ("web-1", "/"), "r1", who, 1.0, failed=False)
        people.failed(counts, "r1", who)
    assert (counts.people, counts.people_failed) == (2, 2)


def test_only_so_many_are_remembered() -> None:
    people, counts = People(), Counts()
    for number in range(WHO_MAX + 1):
        people.count(counts, ("web-1", "/"), "r1", f"who-{number}", 1.0, failed=True)
    before = counts.people_failed
    people.count(counts, ("web-1", "/"), "r1", f"who-{WHO_MAX}", 1.0, failed=True)
    assert counts.people_failed == before
    people.count(counts, ("web-1", "/"), "r1", f"who-{FORGOTTEN - 1}", 1.0, failed=True)
    assert counts.people_failed == before + 1, "the oldest are forgotten, and count again"
    for number in range(SEEN_MAX + 1):
        people.count(counts, ("web-1", "/"), "r1", f"well-{number}", 2.0, failed=False)
    assert counts.people == before + 1 + SEEN_MAX + 1


def test_a_judge_is_told_of_people_where_they_were_looked_at() -> None:
    key, old = Key("web", "2", "web-2", "/"), Key("web", "1", "web-1", "/")
    counted = {key: Counts(requests=90, errors=40, whose=90, people=7, people_failed=1), old: Counts(requests=5)}
    both = told(counted, "web", new="2", old="1", slow={})["/"]
    assert (both.new, both.old) == ({"web-2": Outcomes(7, 1)}, {"web-1": Outcomes(5)})


def test_who_asks_is_read_from_what_a_visitor_sticks_to() -> None:
    def asking(headers: dict[str, str], cookies: dict[str, str]) -> str:
        return asker_of(SPLIT, Asking(header=lambda name: headers.get(name, ""), cookies=cookies, address="10.0.0.7"))

    assert asking({"x-user-id": "ann"}, {"shop": "s1", "visitor": "v1"}) == "ann"
    assert asking({}, {"shop": "s1", "visitor": "v1"}) == "s1"
    assert asking({}, {"visitor": "v1"}) == "v1"
    assert asking({}, {}) == "", "behind one address there may be many"
