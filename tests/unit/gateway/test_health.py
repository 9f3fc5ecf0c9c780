"""What supervisors and balancers ask."""

import asyncio
from typing import Any

import pytest

from hanse.gateway.gateway import Gateway
from hanse.kernel.host import Host
from hanse.kernel.tasks import Tasks
from hanse.node.app import App
from hanse.node.node import Node, State
from hanse.service.service import Service

# What the fixtures give is defined in conftest.py, which cannot be imported.
Door = Any

pytestmark = pytest.mark.virtual_time


@pytest.mark.parametrize(
    ("state", "answers"),
    [
        ("new", {"/livez": 200, "/startupz": 503, "/readyz": 503}),
        ("starting", {"/livez": 200, "/startupz": 503, "/readyz": 503}),
        ("ready", {"/livez": 200, "/startupz": 200, "/readyz": 200}),
        ("draining", {"/livez": 200, "/startupz": 200, "/readyz": 503}),
        ("stopped", {"/livez": 200, "/startupz": 200, "/readyz": 503}),
    ],
)
async def test_each_state_of_a_node_has_its_answers(
    state: State, answers: dict[str, int], door: Door, host: Host, tasks: Tasks, shop: type[Service]
) -> None:
    node = Node(App("shop", shop), host=host)
    node.state = state
    ask = type(door)(Gateway.everything([shop]).asgi(node), tasks)

    for method in ("GET", "HEAD"):
        assert {path: (await ask(method, path)).status for path in answers} == answers


async def test_a_head_has_no_body(door: Door) -> None:
    answer = await door("HEAD", "/livez")

    assert (answer.body, answer.headers["content-length"]) == (b"", "15")


async def test_a_stranger_does_not_hear_of_dependencies(door: Door) -> None:
    assert (await door("GET", "/readyz?verbose")).json["checks"].keys() == {"transport", "store:shop"}
    assert (await door("GET", "/readyz?verbose", x_forwarded_for="1.2.3.4")).json == {"status": "ready"}


@pytest.mark.parametrize("accept", ["text/plain", "text/html,application/xhtml+xml"])
async def test_people_may_read_it(door: Door, node: Node, accept: str) -> None:
    await node.hosted[0].store.close()
    answer = await door("GET", "/readyz?verbose", accept=accept)

    assert (answer.status, answer.headers["content-type"]) == (503, "text/plain; charset=utf-8")
    assert answer.body.decode().splitlines() == [
        "degraded",
        "ok       transport   since 2023-11-14T22:13:20+00:00",
        "failing  store:shop  since 2023-11-14T22:13:20+00:00  the store is closed: open it first",
    ]
    assert (await door("GET", "/readyz?verbose", accept="application/json")).json["status"] == "degraded"


async def test_dependencies_are_asked_once_for_all_who_ask_at_about_the_same_time(host: Host, door: Door) -> None:
    asked: list[float] = []

    class Bank(Service):
        async def unready(self) -> str:
            asked.append(host.monotonic())
            await asyncio.sleep(0.5)
            return "away"

    async with Node(App("bank", Bank), host=host) as node:
        door.app = Gateway().asgi(node)
        answers = await asyncio.gather(*(door("GET", "/readyz") for _ in range(5)))
        await asyncio.sleep(1)
        answers.append(await door("GET", "/readyz"))

    assert [answer.status for answer in answers] == [503] * 6
    assert len(asked) == 2


async def test_health_is_only_read(door: Door) -> None:
    refused, asked = await door("POST", "/livez"), await door("OPTIONS", "/metrics")

    assert (refused.status, refused.json["code"], refused.headers["allow"]) == (
        405,
        "method_not_allowed",
        "GET, HEAD, OPTIONS",
    )
    assert (asked.status, asked.body, asked.headers["allow"]) == (204, b"", "GET, HEAD, OPTIONS")
