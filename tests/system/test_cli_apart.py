"""`hanse run --services`: some of an app in a process of its own, as operators meet it."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import IO, cast

import httpx2 as httpx
import pytest

from .test_cli_run import GREET, HANSE, hanse, running

FOUND = ("--transport", "unix:run")
SHOP = """
from hanse import App, Gateway, Service, rpc

class Till(Service):
    @rpc
    async def price(self) -> int:
        return 2

class Cafe(Service):
    till: Till

app = App("shop", Cafe, Till, gateway=Gateway())
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "greet.py").write_text(GREET)
    return tmp_path


def test_a_node_without_the_gateway_answers_only_who_asks_how_it_is(folder: Path) -> None:
    with running(folder, "greet.py", "--services", "greeter") as node:
        url = node.url()
        alive = httpx.get(f"{url}/livez")
        called = httpx.post(f"{url}/rpc/greeter/hello", json={"name": "Ada"})
        listed = httpx.get(f"{url}/openapi.json")

    assert (alive.status_code, called.status_code) == (200, 404)
    assert listed.status_code == 404 or not listed.json()["paths"]


def test_a_service_that_is_not_there_is_told_with_those_that_are(folder: Path) -> None:
    refused = hanse(folder, "run", "greet.py", "--services", "greter")

    assert refused.returncode == 78
    assert "has no service 'greter'; it has greeter, gateway" in refused.stderr


def test_services_are_watched_as_they_come_and_go(folder: Path) -> None:
    (folder / "shop.py").write_text(SHOP)
    command = [*HANSE, "services", "--watch", *FOUND, "--app", "shop.py"]
    with (
        running(
            folder, "shop.py", "--services", "till", "--transport", "unix:run", "--set", "node.release=1.4"
        ) as till,
        (folder / "watch.txt").open("w") as errors,
    ):
        assert till.url()
        with subprocess.Popen(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=errors) as watching:
            out = cast("IO[str]", watching.stdout)
            sign, service, _, release, state, _ = out.readline().split()
            assert (sign, service, release, state) == ("+", "till", "1.4", "in")
            # A service by its name is its app's part, and finds the others under the name of the app.
            with running(folder, "shop.py:Cafe", *FOUND) as cafe:
                assert cafe.url()
                assert out.readline().startswith("+ cafe ")
                assert cafe.end(signal.SIGTERM) == 0
            assert next(line for line in out if not line.startswith("~")).startswith("- cafe ")
            watching.send_signal(signal.SIGINT)
            assert watching.wait() == 130
    assert "Traceback" not in (folder / "watch.txt").read_text()


def test_who_watches_a_node_that_stops_is_told_and_goes_on_asking(folder: Path) -> None:
    (folder / "shop.py").write_text(SHOP)
    with running(folder, "shop.py", "--services", "till,gateway") as node:
        command = [*HANSE, "services", "--watch", "--json", "--url", node.url()]
        with subprocess.Popen(
            command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as watching:
            told = json.loads(cast("IO[str]", watching.stdout).readline())
            assert (told["change"], told["service"]) == ("+", "till")
            assert node.end(signal.SIGTERM) == 0
            assert any("it is asked again" in line for line in cast("IO[str]", watching.stderr))
            watching.send_signal(signal.SIGINT)
            assert watching.wait() == 130
