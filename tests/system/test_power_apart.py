"""The devices apart: a process for each part, and the same story as when they are one, through kills of any of them."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from .browser import Tab
from .fleet import MEDIUMS, Fleet, fleet, hanse, keys_in, medium
from .network import NEEDED, Network
from .test_power_page import EXAMPLE, SHOWN, ask, click, log_of, open_page, shows

PARTS = ("devices", "worker", "worker#2", "randomizer", "gateway")
"""Of two workers one has the duty, and the other takes it over."""

ELSEWHERE = ("devices", "worker", "worker#2")
"""Those on the second host, where there are two."""

TWO_HOSTS = "zmq on two hosts"
UNAVAILABLE = 503
ASKS_MAX = 100
DONE = "[...document.querySelectorAll('.device')].every(one => one.dataset.pending === 'false')"


House = tuple[Fleet, tuple[str, ...]]


@pytest.fixture(params=[*MEDIUMS, pytest.param(TWO_HOSTS, marks=NEEDED)])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    with two_hosts(tmp_path) if request.param == TWO_HOSTS else one_host(request.param, tmp_path) as found:
        yield found


OPTIONS = ("--store", "sqlite:///data", "--set", "services.worker.settings.seconds=0.1")


@contextmanager
def one_host(name: str, folder: Path) -> Generator[House]:
    with medium(name, folder) as wanted, fleet(EXAMPLE, PARTS[:-1], folder, *wanted, *OPTIONS) as parts:
        yield parts, wanted


@contextmanager
def two_hosts(folder: Path) -> Generator[House]:
    """The gateway, the randomizer and the browser on one; they prove their keys to the others, who are on another."""
    settings = {"transport": "zmq://", "interface": "eth0", **keys_in(folder)}
    wanted = tuple(part for name, value in settings.items() for part in ("--set", f"node.{name}={value}"))
    with closing(Network()) as network:
        network.build()
        within = {part: network.within("h2") for part in ELSEWHERE}
        with network.inside("h1"), fleet(EXAMPLE, PARTS[:-1], folder, *wanted, *OPTIONS, within=within) as parts:
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
def test_through_kills_of_any_part_the_page_shows_each_change_once(house: House, tab: Tab, tmp_path: Path) -> None:
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


def test_commands_reach_parts_that_have_no_gateway(house: House, tmp_path: Path) -> None:
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
