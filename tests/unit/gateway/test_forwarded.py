"""Behind trusted proxies the client is known; what others say of themselves is not believed."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, strategies as st

from hanse.gateway.forwarded import Proxies, Seen
from hanse.gateway.gateway import Gateway
from hanse.gateway.rates import Rate
from hanse.kernel.faults import Misconfigured
from hanse.kernel.settings import GatewaySettings, NodeSettings, Settings
from hanse.node.app import App
from hanse.node.node import Node

Door = Any
Value = Any


def seen(peer: str, style: Value = "x-forwarded", **headers: str) -> Seen:
    named = {name.replace("_", "-").encode(): value for name, value in headers.items()}
    return Proxies(["10.0.0.0/8", "2001:db8::1"], style).seen(peer, lambda name: named.get(name, ""))


@pytest.mark.parametrize("text", ["", "proxy", "10.0.0.0/99", "10.0.0"])
def test_what_is_no_address_is_misconfigured(text: str) -> None:
    with pytest.raises(Misconfigured, match=r"gateway\.trusted_proxies"):
        Proxies([text])


@pytest.mark.parametrize("peer", ["6.6.6.6", "", "unix", "2001:db8::2"])
def test_what_strangers_say_is_ignored(peer: str) -> None:
    said = seen(
        peer, x_forwarded_for="1.1.1.1", x_forwarded_proto="https", x_forwarded_host="a", x_forwarded_prefix="/a"
    )
    assert said == Seen(peer)


@pytest.mark.parametrize(
    ("chain", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("6.6.6.6, 192.0.2.7", "192.0.2.7"),
        ("6.6.6.6, 192.0.2.7, 10.0.0.2", "192.0.2.7"),
        ("10.0.0.9, 10.0.0.2", "10.0.0.9"),
        ("192.0.2.7, nonsense", "10.0.0.1"),
        ("nonsense, 192.0.2.7", "192.0.2.7"),
        ("192.0.2.7:4711", "192.0.2.7"),
        ('"[2001:db8::7]:4711"', "2001:db8::7"),
        ("2001:db8::7", "2001:db8::7"),
        ("", "10.0.0.1"),
        (",,,", "10.0.0.1"),
    ],
)
def test_the_walk_goes_from_the_right_and_ends_at_the_first_stranger(chain: str, client: str) -> None:
    assert seen("10.0.0.1", x_forwarded_for=chain).address == client
    parts = ", ".join(f'for="{part.strip()}"' for part in chain.replace('"', "").split(",") if part.strip())
    assert seen("10.0.0.1", "forwarded", forwarded=parts).address == client


def test_an_address_of_ipv4_may_come_as_one_of_ipv6() -> None:
    assert seen("::ffff:10.0.0.1", x_forwarded_for="192.0.2.7").address == "192.0.2.7"


def test_scheme_and_host_are_those_that_the_last_trusted_proxy_saw() -> None:
    chain = "6.6.6.6, 192.0.2.7, 10.0.0.2"
    two = seen("10.0.0.1", x_forwarded_for=chain, x_forwarded_proto="ftp, https, http", x_forwarded_host="x, shop, in")
    one = seen("10.0.0.1", x_forwarded_for=chain, x_forwarded_proto="https", x_forwarded_host="shop:8443")
    element = 'for=6.6.6.6;proto=ftp, for=192.0.2.7;proto=https;host="shop:8443", for=10.0.0.2;proto=http'

    assert (two.scheme, two.host) == ("https", "shop")
    assert (one.scheme, one.host) == ("https", "shop:8443")
    assert seen("10.0.0.1", "forwarded", forwarded=element) == Seen("192.0.2.7", "https", "shop:8443")


def test_only_the_configured_style_is_read() -> None:
    assert seen("10.0.0.1", forwarded="for=1.1.1.1").address == "10.0.0.1"
    assert seen("10.0.0.1", "forwarded", x_forwarded_for="1.1.1.1").address == "10.0.0.1"


@pytest.mark.parametrize("prefix", ["//evil", "evil", "/a b", "/a\r\nb", "/a//b", "https://evil", "/a?b", "/"])
def test_a_prefix_that_is_no_path_is_none(prefix: str) -> None:
    assert seen("10.0.0.1", x_forwarded_prefix=prefix).prefix == ""


@pytest.mark.parametrize("host", ["a b", "a/b", "a@b", "", "a:b", "a\r\nb"])
def test_a_host_that_is_none_is_none(host: str) -> None:
    assert seen("10.0.0.1", x_forwarded_for="1.1.1.1", x_forwarded_host=host).host == ""


@given(
    text=st.text(st.sampled_from('for=proto;host",\\[]: 1.2a'), max_size=60),
    style=st.sampled_from(["x-forwarded", "forwarded"]),
)
def test_no_header_fails(text: str, style: str) -> None:
    said = seen("10.0.0.1", style, x_forwarded_for=text, x_forwarded_proto=text, x_forwarded_host=text, forwarded=text)
    assert said.scheme in {"", "http", "https"}


@pytest.fixture
def behind(tasks: Value, door: Door, shop: type[Any], order: type[Any]) -> Callable[..., Any]:
    """Asks a gateway from an address; proxies of 10.0.0.0/8 are trusted."""
    settings = Settings(gateway=GatewaySettings(trusted_proxies=("10.0.0.0/8",)), node=NodeSettings())
    node = Node(App("shop", shop), settings)
    gateway = Gateway(rates=Rate("2/m")).resources(order).rpc(shop)

    async def ask(peer: str, method: str, path: str, value: Value = None, **headers: str) -> Value:
        if node.state != "ready":
            await node.start()
        inner = gateway.asgi(node) if not asked else asked[0]
        asked[:] = [inner]

        async def app(scope: dict[str, Any], receive: Value, send: Value) -> None:
            await inner({**scope, "client": (peer, 1)}, receive, send)

        return await type(door)(app, tasks)(method, path, value, **headers)

    asked: list[Any] = []
    return ask


async def test_links_lead_through_the_proxy(behind: Callable[..., Any]) -> None:
    created = await behind("10.0.0.1", "POST", "/orders", {"sku": "tea", "id": "1"}, x_forwarded_prefix="/shop")
    spoofed = await behind("6.6.6.6", "POST", "/orders", {"sku": "tea", "id": "2"}, x_forwarded_prefix="/shop")

    assert (created.headers["location"], spoofed.headers["location"]) == ("/shop/orders/1", "/orders/2")


async def test_rates_are_the_clients_behind_the_proxy(behind: Callable[..., Any]) -> None:
    asked = [("10.0.0.1", "1.1.1.1"), ("10.0.0.2", "1.1.1.1"), ("10.0.0.1", "1.1.1.1"), ("10.0.0.1", "2.2.2.2")]
    spoofed = [("6.6.6.6", f"9.9.9.{number}") for number in range(3)]
    statuses = [
        (await behind(peer, "GET", "/orders", x_forwarded_for=client)).status for peer, client in (*asked, *spoofed)
    ]

    assert statuses == [200, 200, 429, 200, 200, 200, 429]


async def test_a_page_of_the_outer_host_is_our_own(behind: Callable[..., Any]) -> None:
    asked = {"host": "inner:8000", "origin": "https://shop.example", "x_forwarded_host": "shop.example"}
    assert (await behind("10.0.0.1", "POST", "/orders", {"sku": "a"}, **asked)).status == 201
    assert (await behind("6.6.6.6", "POST", "/orders", {"sku": "a"}, **asked)).status == 403


async def test_a_copy_that_an_edge_marks_is_answered_and_leaves_nothing(behind: Callable[..., Any]) -> None:
    copied = await behind("10.0.0.1", "POST", "/orders", {"sku": "tea"}, x_hanse_shadow="1")

    assert (copied.status, copied.json["sku"]) == (201, "tea")
    assert (await behind("10.0.0.1", "GET", "/orders")).json["items"] == []


async def test_a_mark_of_a_stranger_is_refused_rather_than_left_out(behind: Callable[..., Any]) -> None:
    """Where an edge is not known as one, to leave the mark out would do everything twice."""
    refused = await behind("6.6.6.6", "POST", "/orders", {"sku": "tea"}, x_hanse_shadow="1")

    assert (refused.status, "add it to gateway.trusted_proxies" in refused.json["detail"]) == (403, True)
    assert (await behind("10.0.0.1", "GET", "/orders")).json["items"] == []
