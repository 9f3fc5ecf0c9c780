"""What goes where: hosts, paths, prefixes, releases; on every engine."""

import pytest

from hanse.control.edge_choice import bucket
from hanse.control.edge_table import EdgeRoute, Table

from .conftest import Edge
from .wire import Exchange, Upstream, ask, connected, serving


async def test_the_longest_path_by_whole_segments_wins(edge: Edge) -> None:
    api, users = Upstream("api"), Upstream("users")
    other = Edge(edge.engine, edge.url)
    async with serving(api, users):
        _ = await edge.show(
            Table(
                routes=(
                    EdgeRoute(service=edge.service, path="/api"),
                    EdgeRoute(service=other.service, path="/api/users"),
                ),
                targets=(edge.target(), other.target()),
                pools=(edge.pool(api), other.pool(users)),
            )
        )
        async with connected(edge.url) as connection:
            paths = ["/api", "/api/users", "/api/users/7?x=1", "/api/users7", "/api/u%73ers", "/apis", "/"]
            got = [await connection.ask("GET", path) for path in paths]
    assert [one.body.decode() for one in got[:5]] == ["api", "users", "users", "api", "users"]
    assert [one.status for one in got[5:]] == [404, 404]
    assert [one.target for one in users.asked] == ["/api/users", "/api/users/7?x=1", "/api/u%73ers"]


async def test_the_most_exact_host_wins(edge: Edge) -> None:
    shop, below, anybody = Upstream("shop"), Upstream("below"), Upstream("any")
    second, third = Edge(edge.engine, edge.url), Edge(edge.engine, edge.url)
    async with serving(shop, below, anybody):
        _ = await edge.show(
            Table(
                routes=(
                    EdgeRoute(service=edge.service, host="shop.example"),
                    EdgeRoute(service=second.service, host="*.shop.example"),
                    EdgeRoute(service=third.service),
                ),
                targets=(edge.target(), second.target(), third.target()),
                pools=(edge.pool(shop), second.pool(below), third.pool(anybody)),
            )
        )
        hosts = [
            "shop.example",
            "SHOP.example:8000",
            "a.shop.example",
            "a.b.shop.example",
            "myshop.example",
            "[::1]:80",
        ]
        got = [(await ask(edge.url, headers=[("Host", host)])).body.decode() for host in hosts]
    assert got == ["shop", "shop", "below", "below", "any", "any"]


async def test_a_service_may_get_paths_without_its_prefix(edge: Edge) -> None:
    users = Upstream("users")
    async with serving(users):
        routes = (EdgeRoute(service=edge.service, path="/api/users", strip_prefix=True),)
        _ = await edge.show_one(users, routes=routes)
        for path in ("/api/users/7?x=%20", "/api/users", "/api/users/"):
            assert (await ask(edge.url, target=path)).status == 200
    assert [one.target for one in users.asked] == ["/7?x=%20", "/", "/"]
    assert {one.headers["x-forwarded-prefix"] for one in users.asked} == {"/api/users"}


async def test_servers_share_by_weight(edge: Edge) -> None:
    asked = 40 if edge.features.exact else 800
    light, heavy, none = Upstream("light"), Upstream("heavy"), Upstream("none")
    async with serving(light, heavy, none):
        pool = edge.pool()
        servers = (edge.server(light, weight=50), edge.server(heavy, weight=150), edge.server(none, weight=0))
        table = edge.table(type(pool)(service=edge.service, release="1", servers=servers))
        _ = await edge.show(table)
        async with connected(edge.url) as connection:
            for _ in range(asked):
                _ = await connection.ask("GET", "/")
    # Where weights came one after the other, the first turn, of a hundred requests or more, may not be whole.
    assert abs(len(light.asked) - asked / 4) <= (0 if edge.features.exact else asked / 8)
    assert (len(light.asked) + len(heavy.asked), len(none.asked)) == (asked, 0)


async def test_who_is_busy_gets_less(edge: Edge) -> None:
    one, other = Upstream("one"), Upstream("other")
    async with serving(one, other):
        _ = await edge.show(edge.table(edge.pool(one, other, balance="least_request")))
        async with connected(edge.url) as held:
            # A request that is not whole keeps one of them busy.
            await held.send_head("POST", "/", [("Content-Length", "9")])
            while not one.asked and not other.asked:
                _ = await ask(edge.url, target="/")
            before = len(one.asked), len(other.asked)
            for _ in range(10):
                _ = await ask(edge.url, target="/")
            after = len(one.asked), len(other.asked)
    assert 10 in {after[0] - before[0], after[1] - before[1]}


async def test_an_address_stays_with_its_server(edge: Edge) -> None:
    servers = [Upstream(name) for name in "abc"]
    async with serving(*servers):
        _ = await edge.show(edge.table(edge.pool(*servers, balance="source"), proxies=("127.0.0.0/8",)))
        for address in ("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4") * 3:
            _ = await ask(edge.url, headers=[("X-Forwarded-For", address)])
    homes = {
        one.headers["x-forwarded-for"].partition(",")[0]: server.name for server in servers for one in server.asked
    }
    assert sum(len({one.headers["x-forwarded-for"] for one in server.asked}) for server in servers) == len(homes) == 4


async def test_a_visitor_stays_with_its_server_by_cookie(edge: Edge) -> None:
    servers = [Upstream(name) for name in "abc"]
    async with serving(*servers):
        _ = await edge.show(edge.table(edge.pool(*servers, sticky="seat")))
        first = await ask(edge.url)
        seat = first.cookies["seat"]
        got = {(await ask(edge.url, headers=[("Cookie", f"a=b; seat={seat}")])).body for _ in range(6)}
        again = await ask(edge.url, headers=[("Cookie", f"seat={seat}")])
    assert got == {first.body}
    assert again.cookies == {}


async def test_a_seat_is_no_seat_at_another_release_that_took_over_its_name(edge: Edge) -> None:
    before, after, other = Upstream("one"), Upstream("one"), Upstream("other")
    async with serving(before, after, other):
        _ = await edge.show(edge.table(edge.pool(before, sticky="seat")))
        seat = (await ask(edge.url)).cookies["seat"]
        target = edge.target({"2": 0, "1": 10_000})
        pools = edge.pool(other, sticky="seat"), edge.pool(after, release="2", sticky="seat")
        _ = await edge.show(edge.table(*pools, target=target))
        answer = await ask(edge.url, headers=[("Cookie", f"seat={seat}")])
    assert answer.body == b"other"
    assert answer.cookies["seat"] != seat


def people(count: int) -> list[str]:
    return [f"user-{number}" for number in range(count)]


async def shares(edge: Edge, new: int, old: Upstream, fresh: Upstream, names: list[str]) -> set[str]:
    """Who gets the new release at this share of it."""
    target = edge.target({"2": new, "1": 10_000 - new}, salt="r7", sticks_to=("header.x-user",))
    _ = await edge.show(edge.table(edge.pool(old), edge.pool(fresh, release="2"), target=target))
    got: set[str] = set()
    async with connected(edge.url) as connection:
        for name in names:
            if (await connection.ask("GET", "/", headers=[("X-User", name)])).body == b"new":
                got.add(name)
    return got


async def test_whoever_got_a_release_keeps_it_while_its_share_grows(edge: Edge) -> None:
    old, new = Upstream("old"), Upstream("new")
    # Which numbers may come is five standard deviations of a binomial draw; the unit tests draw more often.
    names, before = people(300), set[str]()
    async with serving(old, new):
        for points, least, most in ((0, 0, 0), (100, 0, 11), (500, 1, 33), (5_000, 107, 193), (10_000, 300, 300)):
            got = await shares(edge, points, old, new, names)
            assert before <= got
            assert least <= len(got) <= most
            before = got
        assert await shares(edge, 0, old, new, names[:50]) == set()


async def test_all_engines_agree_on_who_gets_a_release(edge: Edge) -> None:
    old, new = Upstream("old"), Upstream("new")
    names = [*people(40), "a" * 50, "b" * 51, "c" * 60, "d" * 120, "J=e,+'"]
    async with serving(old, new):
        got = await shares(edge, 3_000, old, new, names)
    assert got == {name for name in names if bucket("r7", name) < 3_000}


async def test_a_visitor_without_a_name_is_given_one(edge: Edge) -> None:
    if not edge.features.cookies:
        pytest.skip("it sets no cookies for a split")
    old, new = Upstream("old"), Upstream("new")
    async with serving(old, new):
        target = edge.target({"2": 5_000, "1": 5_000}, salt="r", sticks_to=("header.x-user",), cookie="hanse_seat")
        _ = await edge.show(edge.table(edge.pool(old), edge.pool(new, release="2"), target=target))
        for _ in range(5):
            first = await ask(edge.url)
            cookie = [("Cookie", f"hanse_seat={first.cookies['hanse_seat']}")]
            assert {(await ask(edge.url, headers=cookie)).body for _ in range(3)} == {first.body}


async def test_who_fails_at_everything_is_counted_once(edge: Edge) -> None:
    async def sick(exchange: Exchange) -> None:
        request = await exchange.whole()
        await exchange.answer(500 if request.headers.get("x-user") == "ann" else 200)

    old, new = Upstream("old", sick), Upstream("new", sick)
    target = edge.target({"2": 10_000, "1": 0}, salt="r", sticks_to=("header.x-user",), cookie="seat")
    async with serving(old, new):
        _ = await edge.show(edge.table(edge.pool(old), edge.pool(new, release="2"), target=target))
        for name in ("ann", "ann", "bob", "ann"):
            _ = await ask(edge.url, headers=[("X-User", name)])
        for _ in range(3):
            _ = await ask(edge.url)
    counts = await edge.counted()
    assert (counts.requests, counts.errors) == (7, 3)
    assert (counts.whose, counts.people, counts.people_failed) == (7, 5, 1)


async def test_only_whoever_is_trusted_may_choose_a_release(edge: Edge) -> None:
    old, new = Upstream("old"), Upstream("new")
    wish = [("X-Hanse-Release", "2")]
    async with serving(old, new):
        target = edge.target({"2": 0, "1": 10_000})
        table = edge.table(edge.pool(old), edge.pool(new, release="2"), target=target)
        _ = await edge.show(table)
        assert (await ask(edge.url, headers=wish)).body == b"new"
        _ = await edge.show(edge.table(*table.pools, target=target, forcing=("192.0.2.0/24",)))
        assert (await ask(edge.url, headers=wish)).body == b"old"
    assert "x-hanse-release" not in old.asked[0].headers


async def test_a_release_that_has_nobody_left_is_answered_for_by_another(edge: Edge) -> None:
    old, new = Upstream("old"), Upstream("new")
    async with serving(old):
        new.port = old.port
        target = edge.target({"2": 9_999, "1": 1}, salt="r", sticks_to=("header.x-user",))
        empty = type(edge.pool())(service=edge.service, release="2", servers=(edge.server(new, "down"),))
        _ = await edge.show(edge.table(edge.pool(old), empty, target=target))
        assert {(await ask(edge.url, headers=[("X-User", name)])).body for name in people(5)} == {b"old"}


async def test_where_nobody_is_a_problem_says_when_to_come_back(edge: Edge) -> None:
    _ = await edge.show(edge.table(edge.pool()))
    answer = await ask(edge.url)
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert b'"code":"unavailable"' in answer.body
