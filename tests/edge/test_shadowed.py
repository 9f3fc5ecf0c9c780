"""Copies that reach a service of ours: answered as their originals, and nothing of them lasts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.system.served import serving

from hanse.control.edge_mirror import Pair
from hanse.control.edge_table import EdgeRoute, Mirror, Pool, Server, Share, Split, Table, Target

from .conftest import Edge
from .wire import PATIENCE, ask

APP = """
from hanse import App, Collection, Gateway, Resource, Service


class Book(Resource):
    title: str


class Books(Service):
    books: Collection[Book]


app = App("books", Books, gateway=Gateway().resources(Book))
"""


@pytest.fixture
def releases(tmp_path: Path) -> Iterator[dict[str, int]]:
    """Two processes of one service over one store, as releases of it are: their ports."""
    (tmp_path / "books.py").write_text(APP)
    (tmp_path / "hanse.toml").write_text(
        '[node]\nstore = "sqlite:///books.db"\n[gateway]\ntrusted_proxies = ["127.0.0.1"]\n'
    )
    with ExitStack() as stack:
        urls = {name: stack.enter_context(serving(tmp_path, "books:app")) for name in ("1", "2")}
        yield {name: int(url.rpartition(":")[2].strip("/")) for name, url in urls.items()}


async def test_a_write_that_is_mirrored_is_done_once(edge: Edge, releases: dict[str, int]) -> None:
    if not edge.features.mirrors:
        pytest.skip("it mirrors nothing")
    pools = tuple(
        Pool(service=edge.service, release=name, servers=(Server(id=f"{edge.service}-{name}", port=port),))
        for name, port in releases.items()
    )
    shares = (Share(release="1", points=10_000), Share(release="2", points=0))
    target = Target(
        service=edge.service, split=Split(shares=shares), mirror=Mirror(release="2", methods=("GET", "POST"))
    )
    _ = await edge.show(Table(routes=(EdgeRoute(service=edge.service),), targets=(target,), pools=pools))
    _ = await edge.engine.pairs()

    body, typed = b'{"title": "Buddenbrooks"}', [("Content-Type", "application/json")]
    told = [await ask(edge.url, "POST", "/books", headers=typed, body=body) for _ in range(5)]
    pairs: list[Pair] = []
    async with asyncio.timeout(PATIENCE):
        while len(pairs) < len(told):
            pairs += [pair for pair in (await edge.engine.pairs()).pairs if pair.service == edge.service]

    assert {(pair.told.status, pair.copied.status, pair.copied.problem) for pair in pairs} == {(201, 201, "")}
    assert {json.loads(pair.copied.body)["title"] for pair in pairs} == {"Buddenbrooks"}
    kept = json.loads((await ask(edge.url, target="/books")).body)["items"]
    assert {one["id"] for one in kept} == {json.loads(answer.body)["id"] for answer in told}
