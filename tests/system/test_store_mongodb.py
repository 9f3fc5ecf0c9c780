"""`hanse store` and the devices on MongoDB, as their users meet them: by the URL alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar
from urllib.request import Request, urlopen

import pytest
from tests.store.mongodb.server import started, why_not

from .store_suite import POWER, StoreByUrl, running

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    if why := why_not():
        pytest.skip(why)
    server = started()
    try:
        yield server.store()
    finally:
        server.remove()


class TestMongodb(StoreByUrl):
    away: ClassVar[str] = "mongodb://hanse:secret@127.0.0.1:1/shop?serverSelectionTimeoutMS=100"
    place: ClassVar[str] = "mongodb://127.0.0.1:1/shop prefix orders"


def test_the_devices_are_switched_on_it_and_are_there_after_a_kill(tmp_path: Path, url: str) -> None:
    switched = dict[str, int]()
    for life in range(2):
        with running(tmp_path, POWER, f"{url}?prefix=power") as base:
            if not life:
                switched = _switched(base)
            else:
                with urlopen(f"{base}/devices") as answer:
                    devices = {one["id"]: one["switched"] for one in json.load(answer)["items"]}
    assert len(devices) == 8
    assert all(devices[id] >= count for id, count in switched.items())


def _switched(base: str) -> dict[str, int]:
    """A device that was switched, as the live feed tells of it."""
    request = Request(f"{base}/devices", headers={"accept": "text/event-stream"})
    with urlopen(request, timeout=60) as lines:
        for line in lines:
            if line.startswith(b"data:") and b'"switched":1' in line.replace(b" ", b""):
                told: dict[str, Any] = json.loads(line.removeprefix(b"data:"))
                device: dict[str, Any] = told.get("value") or told.get("after") or told
                assert (device["power"], device["switched"]) == ("on", 1)
                return {str(device["id"]): 1}
    raise AssertionError("the feed ended")
