"""A site that moves piece by piece: what is new beside what was there."""

from collections.abc import AsyncIterator, Callable
from types import ModuleType
from typing import Any

import httpx2 as httpx
import pytest

from hanse import Node

Value = Any


@pytest.fixture
async def site(example: Callable[[str], ModuleType]) -> AsyncIterator[httpx.AsyncClient]:
    moving = example("moving/moving.py")
    async with Node(moving.app) as node:
        transport = httpx.ASGITransport(moving.gateway.asgi(node))
        async with httpx.AsyncClient(transport=transport, base_url="http://books") as client:
            yield client


async def test_what_does_not_fit_is_refused(site: httpx.AsyncClient) -> None:
    refused = await site.get("/quotes/Faust?copies=0&colour=red")
    missing = await site.get("/quotes/Faust")

    assert [flaw["pointer"] for flaw in refused.json()["errors"]] == ["/colour", "/copies"]
    assert (missing.status_code, missing.json()["detail"]) == (404, "there is no book 'Faust'")


async def test_the_old_site_answers_where_it_did(site: httpx.AsyncClient) -> None:
    assert "since 1898" in (await site.get("/")).text
    assert (await site.get("/imprint")).text.startswith("Buddenbrook")
    assert (await site.get("/gone")).status_code == 404


@pytest.mark.parametrize(("copies", "total"), [(1, "9.50"), (10, "85.5000")])
async def test_a_quote_asks_the_shelf_and_the_old_prices(site: httpx.AsyncClient, copies: int, total: str) -> None:
    await site.post("/books", json={"title": "Faust", "price": "9.50"})
    told: Value = (await site.get(f"/quotes/Faust?copies={copies}")).json()

    assert told == {"title": "Faust", "copies": copies, "total": total}


async def test_prices_are_a_service_of_their_own(site: httpx.AsyncClient) -> None:
    answer = await site.post("/rpc/prices/total", json={"price": "2", "copies": 20})

    assert answer.json() == "36.00"
    assert (await site.post("/rpc/prices/set_discount", json={"discount": "1"})).status_code in {404, 405}
