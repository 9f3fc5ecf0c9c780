"""The devices apart: a process for each part, and the same story as when they are one, through kills of any of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from .browser import Tab
from .fleet import MEDIUMS, Fleet, fleet, hanse, medium
from .test_power_page import EXAMPLE, SHOWN, ask, click, log_of, open_page, shows

PARTS = ("devices", "worker", "randomizer", "gateway")
UNAVAILABLE = 503
ASKS_MAX = 100
DONE = "[...document.querySelectorAll('.device')].every(one => one.dataset.pending === 'false')"


@pytest.fixture(params=MEDIUMS)
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Fleet, tuple[str, ...]]]:
    options = ("--store", "sqlite:///data", "--set", "services.worker.settings.seconds=0.1")
    with (
        medium(request.param, tmp_path) as wanted,
        fleet(EXAMPLE, PARTS[:-1], tmp_path, *wanted, *options) as parts,
    ):
        yield parts, wanted


def devices_at(url: str) -> list[dict[str, object]]:
    with urlopen(Request(f"{url}/devices")) as answer:
        found: list[dict[str, object]] = json.load(answer)["items"]
    return found


def ask_until_heard(tab: Tab, url: str, id: str, wanted: str) -> None:
    """Ask as a client does: again, where whoever is to answer is on its way back."""
    for _ in range(ASKS_MAX):
        try:
            return ask(url, id, wanted)
        except HTTPError as error:
            if error.code != UNAVAILABLE:
                raise
        tab.run("new Promise(done => setTimeout(done, 100))")
    raise AssertionError("nobody answers")


@pytest.mark.timeout(200)
def test_through_kills_of_any_part_the_page_shows_each_change_once(
    tab: Tab, house: tuple[Fleet, tuple[str, ...]], tmp_path: Path
) -> None:
    parts, _ = house
    url = parts.start("gateway")
    open_page(tab, f"{url}/?via=sse")
    for returns, killed in enumerate(PARTS):
        _ = parts.again(killed)
        tab.wait(shows("status", "live"))
        seen = int(tab.run("document.getElementById('count').textContent"))
        ask_until_heard(tab, url, "bell", "off" if returns % 2 else "on")
        tab.wait(f"Number(document.getElementById('count').textContent) > {seen + 2}")
        click(tab, "lamp")
    parts.kill("randomizer")
    tab.wait(DONE)
    found = devices_at(url)
    begun = tab.run("document.getElementById('log').dataset.after")
    expected = log_of(tmp_path, begun)
    tab.wait(f"document.querySelector('#log li[data-cursor={json.dumps(expected[-1]['cursor'])}]')")
    shown = tab.run(SHOWN)

    assert shown == expected[: len(shown)]
    assert len(shown) > 3 * len(PARTS)
    assert all((one["power"] == "on") == (one["switched"] % 2 == 1) for one in found)  # type: ignore[operator]
    assert tab.complaints == []


def test_commands_reach_parts_that_have_no_gateway(house: tuple[Fleet, tuple[str, ...]], tmp_path: Path) -> None:
    parts, transport = house
    parts.kill("randomizer")
    there = (*transport, "--app", str(EXAMPLE))

    called = hanse(tmp_path, "call", "devices.ask", "id=lamp", "wanted=on", *there)
    followed = hanse(tmp_path, "events", "devices", "--snapshot", "--limit", "3", "--json", *there)
    unknown = hanse(tmp_path, "call", "devices.burn", *there)
    listed = hanse(tmp_path, "services", "--json", *there)

    assert json.loads(called.stdout)["wanted"] == "on"
    assert len(followed.stdout.splitlines()) == 3
    assert unknown.returncode != 0
    assert "devices.burn" in unknown.stderr
    assert "devices" in {one["name"] for one in json.loads(listed.stdout)}
