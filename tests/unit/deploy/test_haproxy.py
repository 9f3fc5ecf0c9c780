"""What HAProxy is told, decided: its configuration and its commands, for any table; no process is started here."""

from __future__ import annotations

import string
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from hanse.control.edge_figures import Counts
from hanse.control.edge_table import WHOLE, EdgeRoute, Pool, Server, Share, Split, State, Table, Target, Timeouts
from hanse.deploy.edge.base import Place
from hanse.deploy.edge.counted import SOMEBODY
from hanse.deploy.edge.haproxy.config import config, files, quoted
from hanse.deploy.edge.haproxy.layout import Layout, Placement, fitted
from hanse.deploy.edge.haproxy.lines import count, read
from hanse.deploy.edge.haproxy.program import HAPROXY, found
from hanse.deploy.edge.haproxy.runtime import read_standings, wrong
from hanse.deploy.edge.haproxy.shown import Shown, commands, encoded, service_of, shown
from hanse.kernel.faults import CouldNotStart, Misconfigured

PLACE = Place(folder=Path("/nowhere"))

STATES: tuple[State, ...] = ("up", "draining", "down")

nasty = st.text(st.sampled_from(string.printable + "é\0\x7f" + '"'), min_size=1, max_size=12)
"""Names that would like to be more than names."""

names = st.sampled_from(
    ["a", "b", "users-1", "x\nserver evil 10.0.0.1:80", "; shutdown", "a b", "%[src]", "'", "\\", "é"]
)


def table(service: str = "users", *, path: str = "/", servers: tuple[Server, ...] = (), sticky: str = "") -> Table:
    target = Target(service=service, split=Split(shares=(Share(release="1", points=WHOLE),)))
    pool = Pool(service=service, release="1", servers=servers, sticky=sticky)
    return Table(routes=(EdgeRoute(service=service, path=path),), targets=(target,), pools=(pool,))


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Tables of up to three services with any names."""
    services = draw(st.lists(names | nasty, min_size=1, max_size=3, unique=True))
    routes = [EdgeRoute(service=one, path=f"/{number}", host=draw(names)) for number, one in enumerate(services)]
    targets, pools, port = list[Target](), list[Pool](), 4000
    for service in services:
        releases = draw(st.lists(names | nasty, min_size=1, max_size=3, unique=True))
        shares = [Share(release=one, points=0) for one in releases]
        shares[0] = Share(release=releases[0], points=WHOLE)
        split = Split(shares=tuple(shares), salt=draw(nasty), sticks_to=("header.x-user", "address"))
        targets.append(Target(service=service, split=split))
        for release in releases:
            servers = list[Server]()
            for number in range(draw(st.integers(0, 3))):
                port += 1
                state = draw(st.sampled_from(STATES))
                servers.append(Server(id=f"{draw(nasty)}{port}", port=port + number, state=state))
            pools.append(Pool(service=service, release=release, servers=tuple(servers), sticky="seat"))
    return Table(routes=tuple(routes), targets=tuple(targets), pools=tuple(pools))


def carried_out(before: Shown, orders: list[str]) -> tuple[dict[str, dict[str, str]], dict[str, tuple[str, str, bool]]]:
    """What commands come to, as whoever reads them one word after the other has it."""
    maps = {name: dict(entries) for name, entries in before.maps.items()}
    seats = dict[str, tuple[str, str, bool]]()
    for order in orders:
        match order.split(" "):
            case ["add" | "set", "map", name, key, value]:
                maps.setdefault(name.removesuffix(".map"), {})[key] = value
            case ["del", "map", name, key]:
                del maps[name.removesuffix(".map")][key]
            case ["set", "server", slot, "addr", host, "port", port]:
                seats[slot] = (host, port, seats.get(slot, ("", "", False))[2])
            case ["set", "server", slot, "state", ("ready" | "maint") as state]:
                host, port, _ = seats.get(slot, ("", "", False))
                seats[slot] = (host, port, state == "ready")
            case ["set", "server", _, "weight" | "health", _]:
                pass
            case other:
                raise AssertionError(other)
    return maps, seats


@settings(deadline=None, max_examples=50)
@given(tables(), tables())
def test_commands_lead_from_one_table_to_the_other_whatever_its_names_are(first: Table, second: Table) -> None:
    layout, placed = fitted(Layout(), Placement(), first)
    before = shown(first, layout, placed)
    layout, placed = fitted(layout, placed, second)
    after = shown(second, layout, placed)
    orders = commands(before, after)
    assert all(order.isascii() and order.isprintable() for order in orders)
    maps, _ = carried_out(before, orders)
    assert maps == {name: dict(entries) for name, entries in after.maps.items()}
    assert commands(after, after) == []


@settings(deadline=None, max_examples=50)
@given(tables())
def test_no_name_breaks_out_of_a_line_of_the_configuration(one: Table) -> None:
    layout, placed = fitted(Layout(), Placement(), one)
    text = config(PLACE, layout, shown(one, layout, placed), listener=5, told=6, socket="a.sock")
    assert text.isascii()
    # As many backends and servers as there is room for, and no line that begins with what nobody here wrote.
    assert text.count("\nbackend ") == len(layout.backends) + 1
    assert text.count("\n  server ") == sum(backend.slots for backend in layout.backends)
    assert {line.split(" ")[0] for line in text.splitlines() if not line.startswith(" ")} <= {
        "global",
        "defaults",
        "frontend",
        "backend",
    }
    told = files(PLACE, layout, shown(one, layout, placed), listener=5, told=6, socket="a.sock").texts
    for name, lines in told.items():
        if name.endswith(".map"):
            assert all(len(line.split(" ")) == 2 for line in lines.splitlines())


@settings(deadline=None, max_examples=50)
@given(tables(), tables(), st.lists(st.tuples(st.integers(0, 6), st.integers(0, 7)), max_size=4))
def test_who_is_busy_keeps_its_slot_and_two_servers_never_share_one(
    first: Table, second: Table, busy: list[tuple[int, int]]
) -> None:
    layout, placed = fitted(Layout(), Placement(), first)
    grown, again = fitted(layout, placed, second, busy)
    slots = list(again.servers.values())
    assert len(slots) == len(set(slots))
    assert all(slot not in busy for name, slot in again.servers.items() if placed.servers.get(name) != slot)
    assert grown.backends[: len(layout.backends)] == layout.backends
    assert all(slot < grown.backends[backend].slots for backend, slot in slots)
    assert len(set(again.pools.values())) == len(again.pools)


def test_a_table_like_the_last_one_needs_no_other_layout() -> None:
    layout, placed = fitted(Layout(), Placement(), table(servers=(Server(id="a", port=1),)))
    for number in range(20):
        changed = table(servers=(Server(id=f"a{number}", port=number + 1),))
        again, placed = fitted(layout, placed, changed)
        assert again == layout


def test_whoever_comes_is_there_before_rules_name_it_and_whoever_goes_leaves_last() -> None:
    old, new = table(servers=(Server(id="a", port=1),)), table("other", servers=(Server(id="b", port=2),))
    layout, placed = fitted(Layout(), Placement(), old)
    before = shown(old, layout, placed)
    layout, placed = fitted(layout, placed, new)
    orders = commands(before, shown(new, layout, placed))
    kinds = ["ready" if order.endswith("ready") else "maint" if order.endswith("maint") else order for order in orders]
    ready, maint = kinds.index("ready"), kinds.index("maint")
    maps = [number for number, order in enumerate(orders) if " map " in order]
    assert ready < min(maps)
    assert max(maps) < maint == len(orders) - 1


def test_other_timeouts_need_another_backend() -> None:
    one = table(servers=(Server(id="a", port=1),))
    slow = msgspec.structs.replace(one.targets[0], timeouts=Timeouts(head=60.0))
    layout, placed = fitted(Layout(), Placement(), one)
    grown, again = fitted(layout, placed, msgspec.structs.replace(one, targets=(slow,)))
    assert len(grown.backends) > len(layout.backends)
    assert again.pools != placed.pools


WRONG = {
    "no IP address": table(servers=(Server(id="a", host="a;b", port=1),)),
    "a zone": table(servers=(Server(id="a", host="fe80::1%x y", port=1),)),
    "a cookie of two lines": table(sticky="a\nb"),
    "a path of two lines": table(path="/a\nb"),
    "a prefix that is too long": Table(
        routes=(EdgeRoute(service="users", path="/a" * 13, strip_prefix=True),),
        targets=table().targets,
        pools=table().pools,
    ),
    "a header of two words": Table(
        targets=(Target(service="u", split=Split(shares=(), sticks_to=("header.a b",))),),
    ),
    "a health path with a space": Table(pools=(Pool(service="u", health="/a b"),)),
    "too many shares": Table(
        targets=(Target(service="u", split=Split(shares=tuple(Share(release=str(n), points=1) for n in range(9)))),)
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_said_to_haproxy_is_refused(what: str) -> None:
    with pytest.raises(Misconfigured, match="HAProxy cannot show revision 0"):
        _ = fitted(Layout(), Placement(), WRONG[what])


def test_networks_that_are_none_are_refused() -> None:
    one = msgspec.structs.replace(table(), forcing=("everybody",))
    with pytest.raises(Misconfigured, match="forcing: expected addresses"):
        _ = shown(one, *fitted(Layout(), Placement(), one))


@given(nasty)
def test_texts_are_one_word(text: str) -> None:
    for word in (quoted(text), encoded(text)):
        assert word.isascii()
        assert word.isprintable()
        assert not set(word) & set(" \"'#;$")


def test_a_reply_that_is_not_known_is_an_error() -> None:
    moved = "no need to change the addr, port changed from '1' to '4101' by 'stats socket command'"
    assert not wrong("set server b0/s0 addr 127.0.0.1 port 4101", f"{moved}\n")
    assert not wrong("set server b0/s0 state ready", "\n")
    assert wrong("set server b0/s0 addr 127.0.0.1 port 4101", "Invalid addr format")
    assert wrong("set map routes.map a b", "entry not found.")
    assert wrong("set server b0/s0 state ready", moved)


STAT = """# pxname,svname,scur,status,wretr,wredis,
edge,FRONTEND,3,OPEN,,,
b0,s0,2,UP,1,0,
b0,s1,0,DOWN (agent),2,4,
b0,BACKEND,2,UP,1,0,
"""


def test_slots_are_read_from_what_haproxy_tells() -> None:
    got = {slot: (one.busy, one.down, one.retried) for slot, one in read_standings(STAT)}
    assert got == {(0, 0): (2, False, 1), (0, 1): (0, True, 4)}


def counted(line: str) -> Counts:
    over, counts = read(line), Counts()
    assert over is not None
    count(counts, over)
    return counts


def test_requests_that_are_over_are_counted_by_how_they_ended() -> None:
    route = "7573657273:0:%2Fusers%2F7"
    well = read(f"{route} b3 s0 200 0/1/12 -- 0 1 -")
    assert well is not None
    assert (well.service, well.route, well.slot, well.seconds) == ("users", "/users/7", (3, 0), 0.013)
    assert counted(f"{route} b3 s0 200 0/1/12 -- +1 1 -").retried == 1
    failed = counted(f"{route} b3 s0 502 0/1/-1 SH 0 - -")
    assert (failed.errors, failed.unknown, failed.failed) == (1, 1, 1)
    assert counted(f"{route} b3 s0 502 0/1/-1 SH 2 1 -").unknown == 0
    left = counted(f"{route} b3 s0 -1 0/1/-1 CH 0 1 -")
    assert (left.gone, left.errors) == (1, 0)
    nobody = counted(f"{route} b3 <NOSRV> 503 -1/-1/-1 SC 0 1 -")
    assert (nobody.errors, nobody.failed) == (1, 0)
    assert read("- edge <NOSRV> 400 -1/-1/-1 PR 0 - -") is None


def test_who_asked_is_told_by_a_hash_or_as_somebody_or_not_at_all() -> None:
    told = [read(f"75:0:%2F b3 s0 200 0/1/12 -- 0 1 {who}") for who in ("557e2c1d9f86d081", "?", "-")]
    assert [one.who for one in told if one is not None] == ["557e2c1d9f86d081", SOMEBODY, ""]


@given(nasty)
def test_names_come_back_from_the_log(name: str) -> None:
    layout, placed = fitted(Layout(), Placement(), table(name))
    value = next(iter(shown(table(name), layout, placed).maps["routes"].values()))
    assert service_of(value.split(":")[0]) == name


def test_versions_are_read_from_what_the_program_says() -> None:
    assert found(lambda _: "/opt/haproxy") == "/opt/haproxy"
    assert HAPROXY.version_of("HA-Proxy version 1.8.8") == (1, 8)
    assert HAPROXY.version_of("Docker version 20") is None


async def test_what_is_no_haproxy_is_told_with_what_to_install() -> None:
    for program in ("/bin/true", "/nowhere/haproxy"):
        with pytest.raises(CouldNotStart, match="apt install haproxy"):
            _ = await HAPROXY.usable(program)
