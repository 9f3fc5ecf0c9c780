"""Callers ask as often as they may: not more, not less, whoever else asks how often."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, strategies as st

from hanse.gateway.gateway import Gateway
from hanse.gateway.limits import Limits
from hanse.gateway.rates import Meters, Rate, Refused, decide, network_of
from hanse.kernel.faults import Misdeclared, Unauthenticated
from hanse.kernel.message import Identity

Door = Any
Opened = Callable[[Gateway], Door]


@pytest.mark.parametrize("text", ["", "100", "100/x", "0/m", "-1/m", "1/0s", "1.5/s", "100 / m", "9999999999/s"])
def test_what_is_no_rate_is_misdeclared(text: str) -> None:
    with pytest.raises(Misdeclared, match="expected a rate"):
        Rate(text)


@pytest.mark.parametrize("burst", [0, -1, 11])
def test_a_burst_is_at_most_the_quota(burst: int) -> None:
    with pytest.raises(Misdeclared, match="expected a burst"):
        Rate("10/s", burst=burst)


def test_names_are_distinct_and_names() -> None:
    with pytest.raises(Misdeclared, match="called 'default'"):
        Gateway(rates=(Rate("1/s"), Rate("9/m")))
    with pytest.raises(Misdeclared, match="expected a name"):
        Rate("1/s", name='a";q=9')


RATES = st.builds(
    lambda quota, window, share: Rate(f"{quota}/{window}s", burst=max(1, round(quota * share))),
    st.integers(1, 200),
    st.integers(1, 100),
    st.floats(0, 1),
)
GAPS = st.lists(st.sampled_from([0.0, 0.0, 0.001, 0.1, 1.0, 7.5, 100.0]) | st.floats(0, 50), max_size=60)


@given(rate=RATES, gaps=GAPS)
def test_no_window_lets_in_more_than_the_burst_and_the_share_of_its_time(rate: Rate, gaps: list[float]) -> None:
    now, full_at, let_in = 1000.0, 0.0, list[float]()
    for gap in gaps:
        now += gap
        verdict = decide(rate, full_at, now)
        full_at = verdict.full_at
        if verdict.allowed:
            let_in.append(now)

    for first, begin in enumerate(let_in):
        for last, end in enumerate(let_in[first:], first):
            assert last - first + 1 <= rate.burst + (end - begin) / rate.share + 1e-3


@given(rate=RATES, gaps=GAPS)
def test_whoever_waits_as_told_is_let_in(rate: Rate, gaps: list[float]) -> None:
    now, full_at = 1000.0, 0.0
    for gap in gaps:
        now += gap
        verdict = decide(rate, full_at, now)
        if not verdict.allowed:
            assert verdict.full_at == full_at
            assert decide(rate, full_at, now + verdict.after + 1e-6 * rate.share).allowed
        full_at = verdict.full_at
        assert 0 <= verdict.remaining < rate.burst or (verdict.remaining == 0 and rate.burst == 1)
        # What is said to remain is let in at once, and no more.
        ahead = full_at
        for _ in range(verdict.remaining):
            more = decide(rate, ahead, now)
            assert more.allowed
            ahead = more.full_at
        assert not decide(rate, ahead, now).allowed


@given(callers=st.lists(st.integers(0, 30), max_size=200), most=st.integers(1, 8))
def test_memory_is_bounded_and_floods_are_remembered(callers: list[int], most: int) -> None:
    meters = Meters((Rate("3/h"),), most)
    flood = 0
    for number, caller in enumerate(callers):
        try:
            meters.charge("GET", "/", str(caller), "", float(number))
            flood += caller == 0
        except Refused:
            pass
        assert len(meters) <= most
    if most > 1 and len(set(callers)) <= most:
        assert flood <= 3


def test_whoever_has_all_back_is_forgotten_first() -> None:
    meters = Meters((Rate("2/s"),), 2)
    meters.charge("GET", "/", "a", "", 0.0)
    meters.charge("GET", "/", "b", "", 100.0)
    meters.charge("GET", "/", "b", "", 100.0)
    meters.charge("GET", "/", "c", "", 100.0)
    with pytest.raises(Refused):
        meters.charge("GET", "/", "b", "", 100.0)


def test_who_is_refused_by_one_rate_uses_nothing_of_the_others() -> None:
    meters = Meters((Rate("1/m", name="few"), Rate("3/m", name="many")), 10)
    meters.charge("GET", "/", "a", "", 0.0)
    for _ in range(5):
        with pytest.raises(Refused) as refused:
            meters.charge("GET", "/", "a", "", 0.0)

    assert dict(refused.value.headers)[b"ratelimit"].startswith(b'"few";r=0;t=60, "many";r=1')


def test_an_address_of_ipv6_stands_for_its_network() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") != network_of("2001:db8:0:1::1")
    assert network_of("::ffff:192.0.2.1") == "192.0.2.1"
    assert network_of("unix") == "unix"


pages = pytest.mark.virtual_time


@pages
async def test_one_too_many_is_429_and_says_when(opened: Opened, order: type[Any]) -> None:
    door = opened(Gateway(rates=Rate("2/m")).resources(order))
    first, second, third = [await door("GET", "/orders") for _ in range(3)]
    await asyncio.sleep(30)
    later = await door("GET", "/orders")

    assert [answer.status for answer in (first, second, third, later)] == [200, 200, 429, 200]
    assert first.headers["ratelimit-policy"] == '"default";q=2;w=60'
    assert [first.headers["ratelimit"], third.headers["ratelimit"]] == ['"default";r=1;t=30', '"default";r=0;t=30']
    assert (third.headers["retry-after"], third.json["code"]) == ("30", "rate_exceeded")


@pages
async def test_a_rate_is_each_callers_own(opened: Opened, order: type[Any]) -> None:
    async def identify(headers: Mapping[str, str]) -> Identity:
        if headers.get("authorization") == "wrong":
            raise Unauthenticated
        return Identity(subject=headers.get("authorization", ""))

    door = opened(Gateway(rates=Rate("1/m"), identify=identify).resources(order))
    asked = ["anna", "bob", "anna", "", "", "wrong"]

    assert [(await door("GET", "/orders", authorization=who)).status for who in asked] == [200, 200, 429, 200, 429, 429]


@pages
async def test_a_rate_counts_for_its_paths_and_methods(opened: Opened, order: type[Any], shop: type[Any]) -> None:
    rates = (Rate("1/m", name="calls", paths=["/rpc/"]), Rate("1/m", name="writes", methods=["PUT"]))
    door = opened(Gateway(rates=rates).resources(order).rpc(shop))
    asked = [
        ("POST", "/rpc/shop/who", {}),
        ("POST", "/rpc/shop/who", {}),
        ("PUT", "/orders/1", {"sku": "tea"}),
        ("PUT", "/orders/1", {"sku": "tea"}),
        ("GET", "/orders", None),
    ]

    assert [(await door(*one)).status for one in asked] == [200, 429, 201, 429, 200]
    assert "ratelimit" not in (await door("GET", "/orders")).headers


@pages
async def test_health_is_not_counted(opened: Opened, order: type[Any]) -> None:
    door = opened(Gateway(rates=Rate("1/d"), limits=Limits(callers=1)).resources(order))
    assert [(await door("GET", "/readyz")).status for _ in range(3)] == [200] * 3


@pages
async def test_what_a_socket_asks_counts_too(opened: Opened, order: type[Any], shop: type[Any]) -> None:
    rates = (Rate("2/m", name="calls", paths=["/rpc/"]), Rate("1/m", name="writes", methods=["PUT"]))
    door = opened(Gateway(rates=rates, limits=Limits(asks=1)).resources(order).rpc(shop))
    wire = await door.socket()
    call = {"op": "call", "service": "shop", "operation": "who", "arguments": {}}
    put = {"op": "put", "collection": "orders", "key": "1", "value": {"sku": "tea"}}
    follow = {"op": "call", "service": "shop", "operation": "counting", "arguments": {"upto": 0}}
    read = {"op": "get", "collection": "orders", "key": "1"}
    asks: list[dict[str, Any]] = [call, call, call, put, put, follow, read]
    told: list[int] = []
    for number, ask in enumerate(asks):
        await wire.say({**ask, "id": number})
        told.append((await wire.hear()).get("error", {}).get("status", 200))

    wire.leave("websocket")
    assert told == [200, 200, 429, 200, 429, 429, 200]
    assert (await door("POST", "/rpc/shop/who", {})).status == 429
