from collections.abc import Sequence

import msgspec
import pytest

from hanse.control.edge_figures import Counts, Figures, Key, Line, since, total
from hanse.control.edge_table import EdgeRoute, Mirror, Pool, Server, Share, Split, Table, Target, checked, problems_of
from hanse.kernel.faults import Misconfigured
from hanse.kernel.latency import BOUNDS_MS


def split(*shares: tuple[str, int]) -> Split:
    return Split(shares=tuple(Share(release=release, points=points) for release, points in shares))


def table(*targets: Target, pools: Sequence[Pool] = (), routes: Sequence[EdgeRoute] = ()) -> Table:
    return Table(revision=1, targets=targets, pools=tuple(pools), routes=tuple(routes))


OLD = Pool(service="users", release="1.4", servers=(Server(id="a", port=4001),))
USERS = Target(service="users", split=split(("1.4", 10_000)))


def test_a_table_is_the_same_after_it_was_sent() -> None:
    whole = table(USERS, pools=[OLD], routes=[EdgeRoute(service="users", path="/users", host="shop.example")])
    assert msgspec.json.decode(msgspec.json.encode(whole), type=Table) == whole


def test_a_table_whose_parts_fit_is_taken() -> None:
    whole = table(USERS, pools=[OLD], routes=[EdgeRoute(service="users")])
    assert checked(whole) is whole


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (table(routes=[EdgeRoute(service="users", path="/u")]), "the route /u leads to 'users', which is no target"),
        (table(USERS), "users has no pool of its release '1.4'"),
        (
            table(Target(service="users", split=split(("1.4", 9_000))), pools=[OLD]),
            "the shares of users make 9000; expected 10000 basis points together",
        ),
        (table(USERS, USERS, pools=[OLD]), "the target 'users' is there 2 times"),
        (table(USERS, pools=[OLD, OLD]), "the pool 'users 1.4' is there 2 times"),
        (
            table(
                USERS,
                pools=[OLD],
                routes=[EdgeRoute(service="users", path="/u"), EdgeRoute(service="users", path="/u/")],
            ),
            "the route '/u/' is there 2 times",
        ),
        (
            table(
                Target(service="users", split=USERS.split, mirror=Mirror(release="1.5")),
                pools=[OLD],
            ),
            "users has no pool of its release '1.5'",
        ),
    ],
)
def test_what_does_not_fit_is_told(wrong: Table, told: str) -> None:
    assert told in list(problems_of(wrong))
    with pytest.raises(Misconfigured, match="the edge cannot show revision 1"):
        _ = checked(wrong)


def test_figures_are_what_came_since_the_last_look() -> None:
    key = Key("users", "1.5", "a", "/")
    before = Figures(since=7.0, revision=1, lines=(Line(key, Counts(requests=2, errors=1)),))
    after = Figures(since=7.0, revision=2, lines=(Line(key, Counts(requests=5, errors=1)),))
    assert since(before, after)[key].requests == 3
    assert since(before, after)[key].errors == 0


def test_figures_of_an_engine_that_began_anew_are_taken_whole() -> None:
    key = Key("users", "1.5", "a", "/")
    before = Figures(since=7.0, revision=1, lines=(Line(key, Counts(requests=9)),))
    after = Figures(since=8.0, revision=1, lines=(Line(key, Counts(requests=5)),))
    assert since(before, after)[key].requests == 5


def test_latencies_fall_into_buckets_up_to_their_bounds() -> None:
    counts = Counts()
    for seconds in (0.0, 0.001, 0.0011, 1_000.0):
        counts.took(seconds)
    assert counts.buckets[:2] == [2, 1]
    assert counts.buckets[len(BOUNDS_MS)] == 1
    assert total([Line(Key("", "", "", ""), counts)] * 2).buckets[0] == 4
