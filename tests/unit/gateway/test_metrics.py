"""`/metrics`: whom it answers, what it tells, and that Prometheus' own parsers read it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any, cast

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_open_metrics
from prometheus_client.parser import text_string_to_metric_families as read_prometheus

from hanse.contract.model import Resource
from hanse.gateway.asgi import Request, Scope
from hanse.gateway.exposition import OPEN_METRICS, PROMETHEUS, Family, exposition
from hanse.gateway.figures import Requests
from hanse.gateway.gateway import Gateway
from hanse.gateway.private import why_not_local
from hanse.gateway.process import TICK_SECONDS, WATCHED_SECONDS, LoopLag
from hanse.kernel.faults import Unavailable
from hanse.kernel.host import Host
from hanse.kernel.settings import GatewaySettings, Settings
from hanse.kernel.tasks import Tasks
from hanse.node.app import App
from hanse.node.node import Node
from hanse.service.service import Service
from hanse.store.base import Store
from hanse.store.memory import MemoryStore

# What the fixtures give is defined in conftest.py, which cannot be imported.
Answer = Any
Door = Any
Opened = Any

pytestmark = pytest.mark.virtual_time


def read_text(text: str, *, open_metrics: bool = False) -> list[Metric]:
    read: Callable[[str], Iterable[Metric]] = read_open_metrics if open_metrics else read_prometheus
    return list(read(text))


def families(answer: Answer) -> dict[str, Metric]:
    open_metrics = "openmetrics" in answer.headers["content-type"]
    return {family.name: family for family in read_text(answer.body.decode(), open_metrics=open_metrics)}


def value(answer: Answer, sample: str, **labels: str) -> float:
    found = [
        one.value
        for family in families(answer).values()
        for one in family.samples
        if one.name == sample and labels.items() <= one.labels.items()
    ]
    assert len(found) == 1, (sample, labels, found)
    return float(found[0])


@pytest.fixture
async def shop_door(
    host: Host, tasks: Tasks, shop: type[Service], door: Door, request: pytest.FixtureRequest
) -> AsyncIterator[Door]:
    """The door of a node under a setting of `gateway.metrics`."""
    settings = Settings(gateway=GatewaySettings(**request.param))
    async with Node(App("shop", shop), settings, host=host) as node:
        yield type(door)(Gateway.everything([shop]).asgi(node), tasks)


@pytest.mark.parametrize("shop_door", [{"metrics": "off"}], indirect=True)
async def test_there_are_no_figures_where_they_are_switched_off(shop_door: Door) -> None:
    assert (await shop_door("GET", "/metrics")).status == 404


async def test_to_a_stranger_it_is_as_if_there_were_no_figures(door: Door) -> None:
    scope = door.scope("GET", "/metrics", {}) | {"client": ("192.0.2.7", 1)}
    sent: list[dict[str, Any]] = []

    async def send(event: dict[str, Any]) -> None:
        sent.append(event)

    await door.app(scope, nothing, send)

    assert sent[0]["status"] == 404


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"x_forwarded_for": "1.2.3.4"}, "ask without x-forwarded-for"),
        ({"forwarded": "for=1.2.3.4"}, "ask without forwarded"),
        ({"connection": "close"}, "ask without Connection: close"),
        ({"host": "rebound.example:8000"}, "ask for localhost"),
        ({"host": "10.0.0.1:8000"}, "ask for localhost"),
    ],
)
async def test_what_a_proxy_of_this_machine_may_have_asked_is_refused_and_told_what_to_do(
    door: Door, headers: dict[str, str], why: str
) -> None:
    answer = await door("GET", "/metrics", **headers)

    assert (answer.status, answer.json["code"]) == (403, "private")
    assert answer.json["detail"].startswith(f"/metrics is the operator's: {why}")
    assert "or set gateway.metrics_token" in answer.json["detail"]


@pytest.mark.parametrize(
    "shop_door", [{"metrics_token": "s3cret"}, {"metrics_token": "s3cret", "metrics": "open"}], indirect=True
)
async def test_where_there_is_a_token_who_sends_it_gets_figures_and_nobody_else(shop_door: Door) -> None:
    right = {"authorization": "Bearer s3cret"}
    for path, shown in (("/metrics", "hanse_store_up"), ("/readyz?verbose", "store:shop")):
        assert shown in (await shop_door("GET", path, x_forwarded_for="1.2.3.4", **right)).body.decode()
        for wrong in ({}, {"authorization": "Bearer s3cre"}, {"authorization": "Basic s3cret"}):
            assert shown not in (await shop_door("GET", path, **wrong)).body.decode()
    refused = await shop_door("GET", "/metrics")

    assert (refused.status, "s3cret" in refused.body.decode()) == (403, False)


@pytest.mark.parametrize("shop_door", [{"metrics": "off", "metrics_token": "s3cret"}], indirect=True)
async def test_a_token_opens_nothing_that_is_switched_off(shop_door: Door) -> None:
    answer = await shop_door("GET", "/readyz?verbose", authorization="Bearer s3cret")

    assert "checks" not in answer.json


@pytest.mark.parametrize("shop_door", [{"metrics": "open"}], indirect=True)
async def test_everybody_gets_figures_that_are_open(shop_door: Door) -> None:
    assert (await shop_door("GET", "/metrics", x_forwarded_for="1.2.3.4")).status == 200


@pytest.mark.parametrize(
    ("client", "host", "local"),
    [
        (None, "", False),
        (("203.0.113.7", 1), "localhost", False),
        (("unix", 0), "localhost", False),
        (("127.0.0.1", 1), "localhost:8000", True),
        (("127.0.0.1", 1), "shop.example", False),
        (("127.0.0.1", 1), "127.0.0.1:8000", True),
        (("127.0.0.1", 1), "203.0.113.7:8000", False),
        (("::1", 1), "[::1]:8000", True),
        (("::ffff:127.0.0.1", 1), "", True),
    ],
)
def test_local_is_who_asks_from_this_machine_for_this_machine(
    client: tuple[str, int] | None, host: str, *, local: bool
) -> None:
    scope: Scope = {"type": "http", "path": "/metrics", "client": client, "headers": [(b"host", host.encode())]}

    assert (why_not_local(Request(scope, receive=nothing, send=nowhere)) == "") is local


@pytest.mark.parametrize(
    "proxied",
    [
        {"http_version": "1.0"},
        *({"headers": [(name, b"x")]} for name in (b"via", b"forwarded", b"x-forwarded-for", b"x-real-ip", b"cf-ray")),
        {"headers": [(b"connection", b"Close")]},
    ],
)
def test_what_a_proxy_of_this_machine_asks_is_not_local(proxied: dict[str, object]) -> None:
    scope: Scope = {
        "type": "http",
        "path": "/metrics",
        "client": ("127.0.0.1", 1),
        "http_version": "1.1",
        "headers": [],
    }

    assert not why_not_local(Request(scope, receive=nothing, send=nowhere))
    assert why_not_local(Request({**scope, **proxied}, receive=nothing, send=nowhere))


async def nothing() -> dict[str, object]:
    return {}


async def nowhere(_: object) -> None: ...


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0,text/plain;q=0.5"])
async def test_requests_are_counted_by_route_never_by_id(door: Door, accept: str) -> None:
    created = await door("POST", "/orders", {"sku": "tea"})
    for _ in range(3):
        await door("GET", created.headers["location"])
    await door("GET", "/orders/none")
    await door("GET", "/nowhere")

    answer = await door("GET", "/metrics", accept=accept)

    assert answer.headers["content-type"] == (OPEN_METRICS if accept else PROMETHEUS)
    count, read = "http_server_request_duration_seconds_count", {"http_request_method": "GET"}
    assert value(answer, count, **read, http_route="/orders/{id}", http_response_status_code="200") == 3
    assert value(answer, count, **read, http_route="/orders/{id}", http_response_status_code="404") == 1
    assert created.json["id"] not in answer.body.decode()
    assert "/nowhere" not in answer.body.decode()


async def test_calls_are_counted_by_how_they_ended(door: Door) -> None:
    await door("POST", "/rpc/shop/reserve", {"sku": "tea"})
    await door("POST", "/rpc/shop/reserve", {"sku": "ink"})
    await door("POST", "/rpc/shop/close")
    await door("GET", "/count/2")
    await door("GET", "/count/3")

    answer = await door("GET", "/metrics")

    for operation, outcome in {
        ("shop.reserve", "out_of_stock"),
        ("shop.reserve", "ok"),
        ("shop.close", "unauthenticated"),
        ("shop.counting", "ok"),
        ("shop.counting", "out_of_stock"),
    }:
        assert value(answer, "hanse_calls_total", operation=operation, outcome=outcome) == 1


async def test_what_anybody_may_make_up_is_no_label(door: Door) -> None:
    await door("POST", "/rpc/shop/" + "x" * 20)
    await door("BREW", "/orders")

    text = (await door("GET", "/metrics")).body.decode()

    assert "xxxx" not in text
    assert "BREW" not in text
    assert 'http_request_method="_OTHER"' in text


async def test_stores_breakers_and_streams_are_told_of(door: Door) -> None:
    await door("POST", "/orders", {"sku": "tea"})
    stream = door.open("/orders")
    assert (await stream.event())["event"] == "snapshot"

    answer = await door("GET", "/metrics")

    assert value(answer, "hanse_store_up", service="shop") == 1
    assert value(answer, "hanse_store_entries_total", service="shop") == 1
    assert value(answer, "hanse_store_commits_total", service="shop") == 1
    assert value(answer, "hanse_store_late_total", service="shop") == 0
    assert value(answer, "hanse_dead_letters", service="shop") == 0
    assert value(answer, "hanse_streams_open") == 1
    assert value(answer, "http_server_active_requests") == 0
    assert value(answer, "hanse_breaker_state", operation="rows/orders.create", state="closed") == 1
    assert value(answer, "hanse_breaker_state", operation="rows/orders.create", state="open") == 0
    stream.leave()


async def test_the_process_and_the_build_are_told_of(door: Door) -> None:
    answer = await door("GET", "/metrics")

    assert value(answer, "hanse_build_info", app="shop") == 1
    assert value(answer, "process_cpu_seconds_total") > 0
    assert value(answer, "process_resident_memory_bytes") > 1_000_000
    assert value(answer, "process_open_fds") > 2
    assert value(answer, "process_start_time_seconds") > 1_600_000_000


async def test_a_route_of_the_apps_own_wins(opened: Opened, order: type[Resource]) -> None:
    door = opened(Gateway().resources(order, "/metrics"))

    assert (await door("GET", "/metrics")).json["items"] == []


async def test_a_loop_is_watched_only_while_somebody_asks() -> None:
    lag, loop = LoopLag(), asyncio.get_running_loop()
    assert lag.take() == 0
    await asyncio.sleep(TICK_SECONDS * 2)
    assert lag.take() >= 0
    begun = loop.time()
    await asyncio.sleep(WATCHED_SECONDS * 2)

    assert loop.time() - begun >= WATCHED_SECONDS
    assert lag.take() >= 0


def test_labels_are_escaped() -> None:
    family = Family("x", "gauge", "X.", [({"name": 'a"b\\c\nd'}, 1.5)])

    [read] = read_text(exposition([family]).decode())

    assert read.samples[0].labels == {"name": 'a"b\\c\nd'}
    assert read.samples[0].value == 1.5


def test_a_histogram_is_cumulative() -> None:
    requests = Requests()
    for seconds in (0.001, 0.2, 99.0):
        requests.add("GET", "/x", 200, seconds)
    family = Family("x_seconds", "histogram", "X.", histograms=[({}, one) for one in requests.figures.values()])

    [read] = read_text(exposition([family], open_metrics=True).decode(), open_metrics=True)
    buckets = {one.labels["le"]: one.value for one in read.samples if one.name == "x_seconds_bucket"}

    assert (buckets["0.005"], buckets["0.25"], buckets["10.0"], buckets["+Inf"]) == (1, 2, 2, 3)


async def test_files_are_counted_by_their_folder(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "page.txt").write_text("hello")
    door = opened(Gateway().static("/files", tmp_path))
    await door("GET", "/files/page.txt")
    await door("GET", "/files/none.txt")

    answer = await door("GET", "/metrics")

    count = "http_server_request_duration_seconds_count"
    assert value(answer, count, http_route="/files/*", http_response_status_code="200") == 1
    assert value(answer, count, http_route="/files/*", http_response_status_code="404") == 1


class Broken:
    """A store that does not say any more how far its log has come."""

    def __init__(self) -> None:
        self._store = MemoryStore()

    async def head(self) -> int:
        raise Unavailable("the disk is gone")

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


async def test_a_store_that_does_not_answer_is_told_of(
    host: Host, tasks: Tasks, shop: type[Service], door: Door
) -> None:
    node = Node(App("shop", shop), host=host, stores=lambda url: cast("Store", Broken()))
    async with node:
        answer = await type(door)(Gateway.everything([shop]).asgi(node), tasks)("GET", "/metrics")
        node.state = "stopped"

    assert value(answer, "hanse_store_up", service="shop") == 0
    assert "hanse_dead_letters{" not in answer.body.decode()
