"""A client made from our document by a generator that others use, against a server that runs."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from .served import serving

APP = """
from hanse import App, Collection, Fault, Gateway, Resource, Service, rpc


class SoldOut(Fault, detail="only {left} left"):
    left: int


class Item(Resource):
    name: str
    left: int = 1


class Shop(Service):
    items: Collection[Item]

    @rpc(faults=(SoldOut,))
    async def buy(self, id: str, count: int = 1) -> Item:
        item = await self.items.get(id)
        if item.left < count:
            raise SoldOut(left=item.left)
        return await self.items.patch(id, left=item.left - count)


app = App("shop", Shop, gateway=Gateway("/api").resources(Item).rpc(Shop))
"""


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "app.py").write_text(APP)
    with serving(tmp_path, "app.py") as url:
        yield url


def generated(url: str, folder: Path) -> None:
    with urlopen(f"{url}/api/openapi.json") as answer:
        (folder / "openapi.json").write_bytes(answer.read())
    # Its own hooks would look for linters.
    (folder / "config.json").write_text(json.dumps({"post_hooks": []}))
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--path", "openapi.json"]
    options = ["--meta", "none", "--output-path", "shop_client", "--config", "config.json", "--fail-on-warning"]
    made = subprocess.run([*command, *options], cwd=folder, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr


USE = """
import json
import sys

from shop_client import Client, models
from shop_client.api.items import create_item
from shop_client.api.shop import rpc_shop_buy

with Client(sys.argv[1]) as client:
    item = create_item.sync(client=client, body=models.Item(name="tea", left=3))
    wanted = models.ShopBuyArguments(id=item.id, count=2)
    bought = rpc_shop_buy.sync(client=client, body=wanted)
    refused = rpc_shop_buy.sync(client=client, body=wanted)
    print(json.dumps([item.name, bought.left, type(refused).__name__, refused.code, refused.fields.left]))
"""


def test_a_generated_client_calls_a_served_app(url: str, tmp_path: Path) -> None:
    generated(url, tmp_path)
    command = [sys.executable, "-c", USE, f"{url}/api"]
    used = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert used.stderr == ""
    assert json.loads(used.stdout) == ["tea", 1, "SoldOutProblem", "sold_out", 1]
