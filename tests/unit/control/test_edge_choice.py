from collections import Counter
from collections.abc import Mapping

from hypothesis import given, strategies as st

from hanse.control.edge_choice import Asking, Choices, Turns, bucket
from hanse.control.edge_table import Balance, EdgeRoute, Pool, Server, Share, Split, Table, Target


def asking(user: str = "", cookies: Mapping[str, str] | None = None, address: str = "192.0.2.1") -> Asking:
    return Asking(lambda name: user if name == "x-user" else "", cookies or {}, address)


def servers(*weights: int) -> tuple[Server, ...]:
    return tuple(Server(id=f"s{index}", port=4000 + index, weight=weight) for index, weight in enumerate(weights))


def turns(*weights: int, balance: Balance = "round_robin") -> Turns:
    return Turns(Pool(service="users", servers=servers(*weights), balance=balance))


def choices(*shares: tuple[str, int], salt: str = "r") -> tuple[Choices, Target]:
    split = Split(shares=tuple(Share(release=name, points=points) for name, points in shares), salt=salt)
    target = Target(service="users", split=Split(shares=split.shares, salt=salt, sticks_to=("header.x-user",)))
    pools = tuple(Pool(service="users", release=name, servers=()) for name, _ in shares)
    return Choices(Table(targets=(target,), pools=pools)), target


@given(st.lists(st.integers(0, 256), min_size=1, max_size=8))
def test_in_turn_each_has_its_share_of_requests(weights: list[int]) -> None:
    pool = turns(*weights)
    whole = len(pool.order)
    got = Counter(
        server.id for turn in range(whole) if (server := pool.pick(turn, asking(), {}, lambda: 0.5, set())) is not None
    )
    for server in pool.pool.servers:
        assert abs(got[server.id] - whole * server.weight / max(1, sum(weights))) <= 1


@given(st.lists(st.integers(1, 5), min_size=2, max_size=6), st.integers(0, 100))
def test_whoever_is_out_is_passed_over(weights: list[int], turn: int) -> None:
    pool = turns(*weights)
    out = {server.id for server in pool.up[1:]}
    for balance in ("round_robin", "least_request", "source"):
        chosen = turns(*weights, balance=balance).pick(turn, asking(), {}, lambda: 0.9, out)
        assert chosen == pool.up[0]
    assert pool.pick(turn, asking(), {}, lambda: 0.9, {"s0", *out}) is None


@given(st.integers(0, 20), st.integers(0, 20), st.floats(0, 1, exclude_max=True))
def test_of_two_the_less_busy_is_asked(one: int, other: int, drawn: float) -> None:
    chosen = turns(1, 1, balance="least_request").pick(0, asking(), {"s0": one, "s1": other}, lambda: drawn, set())
    assert chosen is not None
    if one != other:
        assert chosen.id == ("s0" if one < other else "s1")


@given(st.text(max_size=40), st.integers(0, 10_000), st.integers(0, 10_000))
def test_whoever_is_in_a_share_stays_in_it_while_it_grows(user: str, one: int, other: int) -> None:
    small, large = sorted((one, other))
    place = bucket("r", user)
    assert not (place < small and place >= large)
    before, target = choices(("2", small), ("1", 10_000 - small))
    after, grown = choices(("2", large), ("1", 10_000 - large))
    if user and before.release(target, asking(user), lambda: 0.0).release == "2":
        assert after.release(grown, asking(user), lambda: 0.0).release == "2"


def test_a_share_gets_as_many_as_it_says() -> None:
    for points in (100, 500, 5_000):
        found, target = choices(("2", points), ("1", 10_000 - points))
        got = sum(
            found.release(target, asking(f"user-{number}"), lambda: 0.0).release == "2" for number in range(20_000)
        )
        # Five standard deviations of a binomial draw.
        expected, share = 2 * points, points / 10_000
        assert abs(got - expected) <= 5 * (20_000 * share * (1 - share)) ** 0.5


def test_another_rollout_begins_with_others() -> None:
    first, target = choices(("2", 500), ("1", 9_500), salt="a")
    second, again = choices(("2", 500), ("1", 9_500), salt="b")
    names = [f"user-{number}" for number in range(10_000)]
    one = {name for name in names if first.release(target, asking(name), lambda: 0.0).release == "2"}
    other = {name for name in names if second.release(again, asking(name), lambda: 0.0).release == "2"}
    assert len(one & other) < 60  # of 500, 25 are expected to be in both


def test_a_session_outlives_a_change_of_shares_and_ends_when_its_server_drains() -> None:
    shares = (Share(release="2", points=10_000), Share(release="1", points=0))
    target = Target(service="chat", split=Split(shares=shares))
    blue = Pool(service="chat", release="1", sticky="seat", servers=(Server(id="b", port=1),))
    green = Pool(service="chat", release="2", sticky="seat", servers=(Server(id="g", port=2),))
    seated = asking(cookies={"seat": "b@1"})
    assert Choices(Table(targets=(target,), pools=(blue, green))).release(target, seated, lambda: 0.0).release == "1"
    drained = Pool(service="chat", release="1", sticky="seat", servers=(Server(id="b", port=1, state="draining"),))
    assert Choices(Table(targets=(target,), pools=(drained, green))).release(target, seated, lambda: 0.0).release == "2"


@given(
    st.lists(st.sampled_from(["", "/a", "/a/b", "/a/b/c", "/ab"]), unique=True),
    st.sampled_from(["/a/b/c/d", "/abc", "/"]),
)
def test_the_longest_prefix_by_segments_wins(prefixes: list[str], path: str) -> None:
    routes = tuple(EdgeRoute(service=prefix or "root", path=prefix or "/") for prefix in prefixes)
    found = Choices(Table(routes=routes)).route("any", path)
    fitting = [prefix for prefix in prefixes if path == prefix or path.startswith(prefix + "/")]
    assert (found.service if found else None) == ((max(fitting, key=len) or "root") if fitting else None)
