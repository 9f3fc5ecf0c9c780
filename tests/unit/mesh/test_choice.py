import random  # noqa: TID251 - draws from a seed

from hypothesis import given, strategies as st

from hanse.mesh.choice import TABLES_MAX, Chooser, asked, is_here, why_out
from hanse.mesh.directory import Directory
from hanse.mesh.routes import ANY, Way
from hanse.mesh.standing import State
from hanse.transport.discovery import Announcement

INSTANCES = st.lists(
    st.tuples(
        st.sampled_from(["", "1.4", "1.5"]),
        st.sampled_from(["a", "b"]),
        st.sampled_from([0, 50, 100]),
        st.sampled_from(State),
        st.integers(0, 100),
    ),
    max_size=8,
)
WAYS = st.builds(Way, st.sampled_from(["", "1.4", "1.6"]), st.sampled_from(["", "key"]))


def chooser(*said: Announcement) -> Chooser:
    directory = Directory()
    for one in said:
        directory.told(one, 0.0)
    return Chooser(directory, zone="a")


def serving(name: str, **values: str) -> Announcement:
    return Announcement(name, f"local:{name}", ("orders",), **values)  # type: ignore[arg-type]


@given(INSTANCES, WAYS, st.randoms(use_true_random=False), st.sets(st.integers(0, 7)))
def test_somebody_is_chosen_where_somebody_can_be_and_the_right_one_where_there_is_one(
    instances: list[tuple[str, str, int, State, int]], way: Way, chance: random.Random, avoided: set[int]
) -> None:
    choosing = chooser(
        *(
            Announcement(str(number), "", ("orders",), release=release, zone=zone, weight=weight)
            for number, (release, zone, weight, _, _) in enumerate(instances)
        )
    )
    every = list(choosing.directory)
    for one, (*_, state, in_flight) in zip(every, instances, strict=True):
        one.in_flight = in_flight
        if state.out:
            one.standing.leave(state, 0.0)
    without = [every[number] for number in avoided if number < len(every)]
    chosen = choosing.choose("orders", way, 0.0, chance.random, without)
    possible = [one for one in every if asked(one)]
    wanted = [one for one in possible if one.said.release == way.release] if way.release else possible
    free = [one for one in wanted if one not in without]
    best = free or wanted or possible
    assert chosen in best if best else chosen is None
    assert [bool(why_out(one)) for one in every] == [not asked(one) for one in every]


def test_who_is_out_is_asked_again_when_its_time_is_over() -> None:
    choosing = chooser(serving("one"))
    (one,) = choosing.directory
    choosing.lost(one, 0.0)
    until = one.standing.until
    assert choosing.choose("orders", ANY, until / 2, random.random) is None
    assert choosing.choose("orders", ANY, until, random.random) is one


def test_releases_that_nobody_has_fill_no_memory() -> None:
    choosing = chooser(serving("one"))
    for number in range(TABLES_MAX + 10):
        assert choosing.choose("orders", Way(str(number)), 0.0, random.random) is not None
    assert len(choosing._tables) <= TABLES_MAX


def test_a_key_belongs_to_one_of_all_zones() -> None:
    choosing = chooser(serving("near", zone="a"), serving("far", zone="b"))
    owners = {choosing.choose("orders", Way(key=str(number)), 0.0, random.random) for number in range(50)}
    assert owners == set(choosing.directory)


def test_this_process_answers_unless_the_route_says_otherwise() -> None:
    here = serving("here", release="1.4")
    (new,) = chooser(serving("new", release="1.5")).directory
    assert is_here(here, ANY, new)
    assert is_here(here, Way("1.4"), new)
    assert not is_here(here, Way("1.5"), new)
    assert is_here(here, Way("1.5"), None)
    assert is_here(here, Way("1.6"), new)  # which nobody has
    owners = {is_here(here, Way(key=str(number)), new) for number in range(50)}
    assert owners == {True, False}
