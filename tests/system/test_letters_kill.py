"""A replay of many dead letters, killed with -9 midway: it goes on, each takes effect once, and counts add up."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast
from urllib.request import Request, urlopen

import pytest
from tests.faults.amount import Amount, tell
from tests.faults.letters import STORES
from tests.store.postgresql.server import started, why_not

from .served import serving

pytestmark = pytest.mark.timeout(300)

LETTERS = int(os.environ.get("HANSE_LETTERS", "160"))
"""How many are replayed; the long form has 1,000."""

KILLED_AT = (4, 3, 2) if LETTERS >= 1_000 else ()
"""Shares of the letters after which it is killed again."""

KEYS = 20
TOKEN = "only-operators-know-this"
LOOKS_MAX = 6_000
OFFICE = """
from pathlib import Path
from hanse import App, Collection, Event, Gateway, Resource, Service, Terminal, on, rpc

MENDED = Path(__file__).with_name("mended")

class Post(Event):
    number: int

class Slip(Resource):
    number: int

class Office(Service, events=(Post,)):
    @rpc(route="POST /send/{count}")
    async def send(self, count: int) -> None:
        await self.emit(*(Post(number=number) for number in range(count)))

class Desk(Service):
    slips: Collection[Slip]

    @on(Post, key=lambda post: str(post.number % 20))
    async def read(self, post: Post) -> None:
        if not MENDED.exists():
            raise Terminal("nobody can read this")
        await self.slips.create(Slip(number=post.number))

gateway = Gateway().resources(Slip).rpc(Office)
app = App("office", Office, Desk, gateway=gateway)
"""


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> str:
    """Which one the office has."""
    return cast("str", request.param)


@pytest.fixture
def folder(store: str, tmp_path: Path) -> Iterator[Path]:
    """Where the office is, and its settings."""
    url, server = "sqlite:///data", None
    if store == "postgresql":
        if why := why_not():
            pytest.skip(why)
        server = started()
        url = server.store()
    _ = (tmp_path / "office.py").write_text(OFFICE)
    settings = f'app = "office.py"\n[node]\nstore = "{url}"\n[gateway]\nmetrics_token = "{TOKEN}"\n'
    _ = (tmp_path / "hanse.toml").write_text(settings)
    try:
        yield tmp_path
    finally:
        if server is not None:
            server.remove()


def post(url: str, body: object = None) -> object:
    data = json.dumps(body or {}).encode()
    headers = {"content-type": "application/json", "hanse-operator": "ada", "authorization": f"Bearer {TOKEN}"}
    with urlopen(Request(url, data, headers), timeout=60) as answer:
        return json.loads(answer.read() or b"null")


def ask(url: str, operation: str, **arguments: object) -> dict[str, object]:
    asked = post(f"{url}/deadletterz", {"service": "desk", "operation": operation, "arguments": arguments})
    return cast("dict[str, object]", asked)


def count(url: str) -> int:
    return cast("int", ask(url, "count", which={}))


def until(reached: Callable[[], bool]) -> None:
    """Wait for another process; it says nothing by itself, so that it is asked."""
    never = threading.Event()
    for _ in range(LOOKS_MAX):
        if reached():
            return
        _ = never.wait(0.01)
    raise AssertionError("it was not so in time")


def succeeded(url: str, action: object) -> int:
    return cast("int", ask(url, "action", id=action)["succeeded"])


def slips(url: str) -> list[int]:
    """The numbers that were read, in the order in which they were."""
    rows: list[dict[str, int]] = []
    query = f"{url}/slips?limit=1000"
    with urlopen(query, timeout=60) as answer:
        rows = json.loads(answer.read())["items"]
    return [row["number"] for row in sorted(rows, key=lambda row: row["rev"])]


def test_a_replay_that_is_killed_goes_on_and_each_letter_takes_effect_once(store: str, folder: Path) -> None:
    with serving(folder, "office.py") as url:
        _ = post(f"{url}/send/{LETTERS}")
        until(lambda: count(url) == LETTERS)
        (folder / "mended").touch()
        action = ask(url, "replay", which={}, rate=400.0)["id"]
        until(lambda: succeeded(url, action) >= LETTERS // 8)
    for share in KILLED_AT:
        with serving(folder, "office.py") as url:
            until(lambda at=LETTERS // share: succeeded(url, action) >= at)  # type: ignore[misc]
    with serving(folder, "office.py") as url:
        until(lambda: ask(url, "action", id=action)["state"] != "running")
        found = ask(url, "action", id=action)
        assert (found["state"], found["asked"], found["succeeded"], found["failed"]) == ("done", LETTERS, LETTERS, 0)
        assert (found["who"], count(url), ask(url, "groups")["items"]) == ("ada", 0, [])
        read = slips(url)
    assert sorted(read) == list(range(LETTERS))
    for key in range(KEYS):
        assert [number for number in read if number % KEYS == key] == list(range(key, LETTERS, KEYS))
    tell(Amount("replay", store, {"letters": LETTERS, "kills": 1 + len(KILLED_AT), "once": len(read)}))
