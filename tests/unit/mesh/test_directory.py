from hypothesis import given, strategies as st

from hanse.mesh.directory import INSTANCES_MAX, Directory
from hanse.mesh.standing import State
from hanse.transport.discovery import Announcement

SAID = st.builds(
    Announcement,
    instance=st.sampled_from("abcd"),
    address=st.sampled_from(["tcp://1", "tcp://2"]),
    names=st.lists(st.sampled_from(["orders", "rows/orders", "mail"]), unique=True).map(tuple),
    app=st.sampled_from(["shop", "other"]),
    weight=st.sampled_from([0, 100]),
    version=st.integers(1, 5),
)
ORDERS = Announcement("a", "tcp://1", ("orders", "rows/orders"), "shop")


def changed(said: Announcement, **values: object) -> Announcement:
    fields = {name: getattr(said, name) for name in said.__struct_fields__}
    return Announcement(**{**fields, **values})


@given(st.lists(st.one_of(SAID, st.sampled_from("abcd")), max_size=30))
def test_it_holds_what_was_last_said_by_those_who_are_there(heard: list[Announcement | str]) -> None:
    directory, there = Directory("shop", here="d"), dict[str, Announcement]()
    for one in heard:
        if isinstance(one, str):
            assert directory.gone(one) == (there.pop(one, None) is not None)
        else:
            known = there.get(one.instance)
            news = directory.told(one, 0.0)
            if one.app == "shop" and one.instance != "d" and (known is None or one.version >= known.version):
                there[one.instance] = one
                assert news == (known != one)
            else:
                assert not news
    for name in ("orders", "rows/orders", "mail"):
        serving = {one.name: one.said for one in directory.serving(name)}
        assert serving == {key: said for key, said in there.items() if name in said.names}
        assert not serving or directory.knows(name)
    assert directory.names == sorted({name for said in there.values() for name in said.names})
    assert {one.name for one in directory.at("tcp://1")} == {k for k, v in there.items() if v.address == "tcp://1"}
    assert len(directory) == len(there)


def test_what_was_served_once_is_remembered() -> None:
    directory = Directory("shop")
    directory.told(ORDERS, 0.0)
    directory.gone("a")
    assert directory.knows("orders")
    assert not directory.knows("mail")


def test_that_a_lost_one_lives_is_news() -> None:
    directory = Directory("shop")
    directory.told(ORDERS, 0.0)
    (one,) = directory
    one.standing.leave(State.LOST, 0.0)
    assert directory.told(ORDERS, 0.0)
    assert one.standing.state is State.TRIAL


def test_a_newcomer_is_thought_to_be_as_fast_as_its_like() -> None:
    directory = Directory("shop")
    for name, latency in (("a", 0.1), ("b", 0.2), ("c", 0.9)):
        directory.told(changed(ORDERS, instance=name), 0.0)
        next(one for one in directory if one.name == name).latency = latency
    directory.told(changed(ORDERS, instance="d"), 0.0)
    assert next(one for one in directory if one.name == "d").latency == 0.2


def test_more_than_the_limit_are_not_listened_to() -> None:
    directory = Directory("shop")
    for number in range(INSTANCES_MAX + 1):
        directory.told(changed(ORDERS, instance=str(number), names=()), 0.0)
    assert len(directory) == INSTANCES_MAX


def test_who_leaves_as_an_outlier_must_leave_enough_in_each_of_its_services() -> None:
    directory = Directory("shop")
    directory.told(ORDERS, 0.0)
    directory.told(changed(ORDERS, instance="b", names=("orders",)), 0.0)
    a, b = directory
    assert directory.may_leave(b)
    assert not directory.may_leave(a)  # nobody else has its rows
    assert [one.name for one in directory.like(a)] == ["b"]
