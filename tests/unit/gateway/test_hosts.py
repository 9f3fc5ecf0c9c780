"""Under a name of somebody else's nothing is answered, whatever it leads to."""

from typing import Any

import pytest

from hanse.cli.run import for_this_machine
from hanse.gateway.gateway import Gateway
from hanse.gateway.hosts import Hosts
from hanse.kernel.faults import Misconfigured
from hanse.kernel.settings import GatewaySettings, Settings
from hanse.node.app import App
from hanse.node.node import Node

Door = Any
Value = Any


@pytest.mark.parametrize("name", ["", "shop.example:8000", "https://shop.example", "*", "*shop.example", "a..b", "a b"])
def test_what_is_no_name_is_told(name: str) -> None:
    with pytest.raises(Misconfigured, match=r"gateway\.hosts"):
        _ = Hosts([name])


@pytest.mark.parametrize(
    "header",
    [
        "rebound.example",
        "shop.example.evil",
        "evilshop.example",
        "partner.example",
        "127.0.0.1.evil",
        "localhost.evil",
        "",
    ],
)
def test_other_names_are_none_of_ours(header: str) -> None:
    assert not Hosts(["shop.example", "*.partner.example"]).has(header)


@pytest.mark.parametrize(
    "header",
    ["shop.example", "SHOP.example:443", "shop.example.", "a.b.partner.example", "shop.localhost:8000", "10.0.0.7"],
)
def test_ours_are(header: str) -> None:
    assert Hosts(["shop.example", "*.partner.example"]).has(header)


@pytest.fixture
async def rebound(tasks: Value, door: Door, shop: type[Any], order: type[Any]) -> Value:
    """Asks a gateway that is for this machine only."""
    node = Node(App("shop", shop), for_this_machine(Settings()))
    await node.start()
    yield type(door)(Gateway().resources(order).rpc(shop).asgi(node), tasks)
    await node.stop()


@pytest.mark.parametrize(("method", "path"), [("GET", "/orders"), ("POST", "/orders"), ("GET", "/openapi.json")])
async def test_a_page_that_was_led_here_reads_and_does_nothing(rebound: Value, method: str, path: str) -> None:
    body = {"sku": "tea"} if method == "POST" else None
    led = await rebound(method, path, body, host="rebound.example:8000", origin="http://rebound.example:8000")
    own = await rebound(method, path, body, host="localhost:8000")

    assert (led.status, led.json["code"]) == (421, "misdirected")
    assert "rebound.example" in led.json["detail"]
    assert own.status < 300


async def test_health_is_answered_under_any_name(rebound: Value) -> None:
    assert (await rebound("GET", "/livez", None, host="rebound.example")).status == 200


def test_names_of_the_settings_win_over_those_of_this_machine() -> None:
    settings = Settings(gateway=GatewaySettings(hosts=("box.example",)))
    assert for_this_machine(settings).gateway.hosts == ("box.example",)
