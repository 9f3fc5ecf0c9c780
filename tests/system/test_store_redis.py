"""`hanse store`, the shop and its doctor on Redis, as their users meet them: by the URL alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from tests.planted.unmeasured import unmeasured
from tests.store.redis.server import Server, running, why_not

from .test_store_command import BREAKING, FIRST, SECOND

pytestmark = pytest.mark.timeout(180)

SHOP = Path(__file__).parents[2] / "examples" / "shop" / "shop.py"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if why := why_not():
        pytest.skip(why)
    with running(tmp_path_factory.mktemp("redis"), "--appendonly", "yes", "--requirepass", "secret") as one:
        yield one


@pytest.fixture
def url(server: Server) -> str:
    return server.store().replace("redis://", "redis://default:secret@")


def hanse(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hanse", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def send(url: str, method: str, **body: object) -> None:
    headers = {"content-type": "application/json"}
    urlopen(Request(url, json.dumps(body).encode(), headers, method=method)).close()


def test_a_store_is_planned_made_looked_at_changed_and_refused(tmp_path: Path, url: str) -> None:
    (tmp_path / "shop.py").write_text(FIRST)
    (tmp_path / "hanse.toml").write_text(f'app = "shop.py"\n[node]\nstore = "{url}"\n')
    planned = hanse(tmp_path, "store", "plan", "-q")
    assert "+ collection orders: sku, total" in planned.stdout, planned.stderr
    assert "secret" not in planned.stdout + planned.stderr
    assert hanse(tmp_path, "store", "apply").returncode == 0
    doctor = hanse(tmp_path, "doctor")
    assert "flushes commits to its disk later (appendfsync everysec)" in doctor.stdout
    assert "Set appendfsync always" in doctor.stdout
    assert "secret" not in doctor.stdout + doctor.stderr
    (tmp_path / "shop.py").write_text(SECOND)
    changed = hanse(tmp_path, "store", "apply")
    assert "orders.note: string; stored rows read as" in changed.stdout
    assert changed.returncode == 0
    (tmp_path / "shop.py").write_text(BREAKING)
    refused = hanse(tmp_path, "store", "apply")
    assert refused.returncode == 1
    assert "orders.total: stored as number, now string" in refused.stdout


def test_the_shop_runs_on_it_and_finds_what_it_left(tmp_path: Path, url: str) -> None:
    command = [sys.executable, "-m", "hanse", "run", str(SHOP), "--port", "0", "--store", f"{url}?prefix=example"]
    found: list[object] = []
    for life in range(2):
        with subprocess.Popen(
            command, cwd=tmp_path, env=unmeasured(), text=True, stdout=subprocess.PIPE
        ) as running_shop:
            try:
                assert running_shop.stdout is not None
                base = running_shop.stdout.readline().split()[-1]
                if not life:
                    send(f"{base}/items/tea", "PUT", left=3, price=500)
                    send(f"{base}/rpc/orders/place", "POST", sku="tea", quantity=2)
                with urlopen(f"{base}/orders?quantity[gte]=2") as answer:
                    found.append([row["sku"] for row in json.load(answer)["items"]])
            finally:
                running_shop.kill()
    assert found == [["tea"], ["tea"]]
