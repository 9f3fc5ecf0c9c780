"""`hanse run --services`: some of an app in a process of its own, as operators meet it."""

from __future__ import annotations

from pathlib import Path

import httpx2 as httpx
import pytest

from .test_cli_run import GREET, hanse, running


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
