"""The release of a request tree, carried by `baggage`; on every engine."""

import pytest

from hanse.control.edge_table import Table

from .conftest import Edge
from .wire import Headers, Upstream, ask, serving


def table(edge: Edge, old: Upstream, new: Upstream, release: str = "2", new_points: int = 0, **more: object) -> Table:
    """Two releases; where both have shares, whoever comes without a cookie gets one."""
    target = edge.target({release: new_points, "1": 10_000 - new_points}, cookie="part")
    return edge.table(edge.pool(old), edge.pool(new, release=release), target=target, **more)


async def got(edge: Edge, *baggage: str, more: Headers = ()) -> str:
    """Who answers a request that carries this."""
    answer = await ask(edge.url, headers=[*(("baggage", one) for one in baggage), *more])
    assert answer.status == 200
    assert answer.cookies == {}
    return answer.body.decode()


@pytest.mark.parametrize(
    ("baggage", "handed"),
    [
        (["hanse-release=2"], "hanse-release=2"),
        (["user=7", "hanse-release=2"], "hanse-release=2,user=7"),
        (["user=7,hanse-release=2;ttl=5, lang=de"], "hanse-release=2,user=7,lang=de"),
        (["a=1,b=2;p=3", "c=4 , hanse-release = 2 ,d=hanse-release", "e=5"], None),
        (["hanse-release=2,hanse-release=1"], "hanse-release=2"),
    ],
)
async def test_a_request_tree_stays_with_its_release(edge: Edge, baggage: list[str], handed: str | None) -> None:
    old, new = Upstream("old"), Upstream("new")
    async with serving(old, new):
        _ = await edge.show(table(edge, old, new, new_points=1))
        assert await got(edge, *baggage) == "new"
    heard = [one.strip() for one in new.asked[0].headers["baggage"].split(",")]
    assert heard == (handed or "hanse-release=2,a=1,b=2;p=3,c=4,d=hanse-release,e=5").split(",")


async def test_a_release_of_any_letters_is_found(edge: Edge) -> None:
    old, new = Upstream("old"), Upstream("new")
    async with serving(old, new):
        _ = await edge.show(table(edge, old, new, "shop:1,5 \u00e9"))
        assert await got(edge, "hanse-release=shop%3A1%2C5%20%C3%A9,user=7") == "new"
        assert await got(edge, more=[("x-hanse-release", "shop:1,5")]) == "old"
    assert new.asked[0].headers["baggage"] == "hanse-release=shop%3A1%2C5%20%C3%A9,user=7"


async def test_whoever_is_asked_first_is_told_its_release_where_there_is_another(edge: Edge) -> None:
    old, new = Upstream("old"), Upstream("new")
    async with serving(old, new):
        _ = await edge.show(table(edge, old, new))
        assert await got(edge) == "old"
        assert await got(edge, "user=7", more=[("x-hanse-release", "2")]) == "new"
        _ = await edge.show_one(old)
        assert await got(edge, "user=7,lang=de") == "old"
        assert await got(edge) == "old"
    assert [one.headers.get("baggage") for one in old.asked] == ["hanse-release=1", "user=7,lang=de", None]
    assert new.asked[0].headers["baggage"] == "hanse-release=2,user=7"


async def test_a_release_that_a_service_does_not_have_is_handed_on(edge: Edge) -> None:
    old, new = Upstream("old"), Upstream("new")
    async with serving(old, new):
        _ = await edge.show(table(edge, old, new))
        assert await got(edge, "user=7,hanse-release=3") == "old"
        _ = await edge.show_one(old)
        assert await got(edge, "hanse-release=3") == "old"
    assert [one.headers["baggage"] for one in old.asked] == ["hanse-release=3,user=7", "hanse-release=3"]


async def test_strangers_choose_no_release_and_pass_on_none(edge: Edge) -> None:
    old, new = Upstream("old"), Upstream("new")
    async with serving(old, new):
        _ = await edge.show(table(edge, old, new, forcing=()))
        assert await got(edge, "hanse-release=2,user=7") == "old"
        _ = await edge.show(edge.table(edge.pool(old), forcing=()))
        assert await got(edge, "hanse-release=2,user=7") == "old"
        assert await got(edge, "hanse-release =2") == "old"
    handed = [one.headers.get("baggage") for one in old.asked]
    assert handed == ["hanse-release=1,user=7", "user=7", None]


async def test_a_session_stays_where_it_is(edge: Edge) -> None:
    old, new = Upstream("old"), Upstream("new")
    async with serving(old, new):
        target = edge.target({"2": 0, "1": 10_000})
        pools = edge.pool(old, sticky="seat"), edge.pool(new, release="2", sticky="seat")
        _ = await edge.show(edge.table(*pools, target=target))
        seat = [("Cookie", f"seat={pools[0].seat(edge.server(old))}")]
        assert await got(edge, "hanse-release=2", more=seat) == "old"
    assert old.asked[0].headers["baggage"] == "hanse-release=2"
