"""`hanse store` and the shop on a store on a server, as their users meet them: by the URL alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar
from urllib.request import Request, urlopen

from .test_store_command import BREAKING, FIRST, SECOND

EXAMPLES = Path(__file__).parents[2] / "examples"
SHOP, POWER = EXAMPLES / "shop" / "shop.py", EXAMPLES / "power" / "power.py"


def hanse(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command, once it has ended."""
    command = [sys.executable, "-m", "hanse", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def send(url: str, method: str, **body: object) -> None:
    """Ask for something whose answer is not looked at."""
    headers = {"content-type": "application/json"}
    urlopen(Request(url, json.dumps(body).encode(), headers, method=method)).close()


@contextmanager
def running(folder: Path, app: Path, store: str, *options: str) -> Generator[str]:
    """The address of an app, until it is killed."""
    command = [sys.executable, "-m", "hanse", "run", str(app), "--port", "0", "--store", store, *options]
    with subprocess.Popen(command, cwd=folder, text=True, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[-1]
        finally:
            process.kill()


class StoreByUrl:
    """Derive from it beside a fixture `url`, with a password that may not be shown where there is one.

    Attributes:
        away: The URL of a store on a server that is not there.
        place: How that is shown.
    """

    away: ClassVar[str]
    place: ClassVar[str]

    def look(self, folder: Path) -> None:
        """Look at a store that was made."""

    def test_a_store_is_planned_made_changed_and_refused(self, tmp_path: Path, url: str) -> None:
        (tmp_path / "shop.py").write_text(FIRST)
        (tmp_path / "hanse.toml").write_text(f'app = "shop.py"\n[node]\nstore = "{url}"\n')
        planned = hanse(tmp_path, "store", "plan", "-q")
        assert "+ collection orders: sku, total" in planned.stdout, planned.stderr
        assert "secret" not in planned.stdout + planned.stderr
        assert hanse(tmp_path, "store", "apply").returncode == 0
        self.look(tmp_path)
        (tmp_path / "shop.py").write_text(SECOND)
        changed = hanse(tmp_path, "store", "apply")
        assert "orders.note: string; stored rows read as" in changed.stdout
        assert changed.returncode == 0
        (tmp_path / "shop.py").write_text(BREAKING)
        refused = hanse(tmp_path, "store", "apply")
        assert refused.returncode == 1
        assert "orders.total: stored as number, now string" in refused.stdout

    def test_a_server_that_is_away_is_told_without_the_password(self, tmp_path: Path) -> None:
        (tmp_path / "shop.py").write_text(FIRST)
        (tmp_path / "hanse.toml").write_text(f'app = "shop.py"\n[node]\nstore = "{self.away}"\n')
        failed = hanse(tmp_path, "store", "plan")
        assert failed.returncode != 0
        assert f"the store {self.place} is away" in failed.stderr
        assert "secret" not in failed.stdout + failed.stderr


class ShopByUrl(StoreByUrl):
    """The shop as well.

    Attributes:
        part: The option that gives it a part of the database.
    """

    part: ClassVar[str]

    def test_the_shop_runs_on_it_and_finds_what_it_left(self, tmp_path: Path, url: str) -> None:
        found: list[object] = []
        for life in range(2):
            with running(tmp_path, SHOP, f"{url}?{self.part}=example") as base:
                if not life:
                    send(f"{base}/items/tea", "PUT", left=3, price=500)
                    send(f"{base}/rpc/orders/place", "POST", sku="tea", quantity=2)
                with urlopen(f"{base}/orders?quantity[gte]=2") as answer:
                    found.append([row["sku"] for row in json.load(answer)["items"]])
        assert found == [["tea"], ["tea"]]
