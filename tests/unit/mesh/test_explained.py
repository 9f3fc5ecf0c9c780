"""What is told of a decision: who would be asked, and why not others."""

import asyncio

import pytest

from hanse.kernel.message import Headers
from hanse.kernel.route import Condition, Route, Rule
from hanse.mesh.explained import Explained, explained_by
from hanse.mesh.standing import State
from hanse.transport.base import Features
from hanse.transport.memory import MemoryTransport

from .apart import Shop, Shops

pytestmark = pytest.mark.virtual_time


def told(
    shop: Shop, address: str = "orders.place", *, tags: dict[str, str] | None = None
) -> tuple[Explained, dict[str, str]]:
    found = explained_by(shop.routed, address, Headers(tags=tags or {}))
    return found, {one.instance: one.why for one in found.candidates}


async def test_one_is_taken_and_the_others_are_said_to_share(shops: Shops) -> None:
    caller = await shops.open("caller")
    for name in ("one", "two"):
        await shops.open(name, "orders", zone="" if name == "one" else "b")
    found, why = told(caller)
    assert found.summary == "one would be asked, of 2 that are given calls and 2 that serve orders"
    assert why == {
        "one": "taken: is drawn by its weight, and asked if it is the lighter of two",
        "two": "is of another zone: asked where no near one is, or the near ones are busy",
    }


async def test_who_is_out_is_said_to_be_and_why(shops: Shops) -> None:
    caller = await shops.open("caller")
    for name in ("lost", "silent", "outlier", "trial"):
        await shops.open(name, "orders")
    drains = await shops.open("drains", "orders")
    drains.routed.drain()
    for one in caller.routed.chooser.directory:
        if one.name != "drains":
            one.standing.leave(State.OUTLIER if one.name == "trial" else State(one.name), 0.0)
    caller.routed.chooser.changed()
    _, why = told(caller)
    assert why == {
        "lost": "cannot be reached",
        "silent": "has not answered several times in a row",
        "outlier": "fails where others do not",
        "trial": "fails where others do not",
        "drains": "takes no more calls, as it drains",
    }
    next(one for one in caller.routed.chooser.directory if one.name == "trial").standing.look(1_000.0)
    caller.routed.chooser.changed()
    found, why = told(caller)
    assert why["trial"] == "taken: is on trial: one call at a time"
    assert [one.calls for one in found.candidates] == [True, False, False, False, False]


async def test_that_nobody_can_be_asked_is_said_in_one_way_or_another(shops: Shops) -> None:
    caller, one = await shops.open("caller"), await shops.open("one", "orders")
    assert told(caller, "mail.send")[0].summary == "nobody serves mail"
    one.routed.drain()
    assert told(caller)[0].summary == "nobody who serves orders can be asked at the moment"
    await one.routed.close()
    assert told(caller)[0].summary == "whoever served orders has gone"


async def test_what_runs_here_is_taken_here(shops: Shops) -> None:
    one, _ = await shops.open("one", "orders"), await shops.open("two", "orders")
    found, why = told(one)
    assert found.candidates[0].instance == "one"
    assert why["one"] == "taken: it runs in this process"


async def test_a_route_is_told_of(shops: Shops) -> None:
    caller, _ = await shops.open("caller"), await shops.open("old", "orders", release="1.4")
    await shops.open("new", "orders", release="1.5")
    caller.routed.route({"orders": Route((Rule({"1.5": 1}, (Condition("tag.beta", "yes"),)),), belongs_to="tag.room")})
    found, why = told(caller, tags={"beta": "yes"})
    assert (found.release, why["old"]) == ("1.5", "is of another release than 1.5")
    assert told(caller, tags={"room": "1"})[1]["old"].endswith("is asked for the keys that belong to it")


async def test_a_node_that_stops_tells_others_before_it_has(shops: Shops) -> None:
    caller, one = await shops.open("caller"), await shops.open("one", "orders")
    one.routed.drain()
    await asyncio.sleep(0)
    assert told(caller)[1] == {"one": "takes no more calls, as it drains"}


@pytest.mark.parametrize(
    ("local", "said"),
    [
        (True, "messages stay within this process: whoever serves orders in it is asked"),
        (False, "the transport chooses by itself among all that serve orders"),
    ],
)
def test_where_nothing_is_chosen_here_that_is_said(*, local: bool, said: str) -> None:
    transport = MemoryTransport()
    transport.features = Features(durable=False, balances=True, local=local)
    found = explained_by(transport, "orders.place")
    assert (found.summary, found.candidates) == (said, ())
