"""Prometheus itself reads `/metrics`: its linter, and a server that scrapes."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote
from urllib.request import urlopen

import pytest

from .served import serving

APP = Path(__file__).parents[2] / "examples/shop/shop.py"
PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")

CONFIG = """
global:
  scrape_interval: 100ms
  scrape_timeout: 100ms
scrape_configs:
  - job_name: shop
    static_configs:
      - targets: ["{address}"]
"""


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with serving(tmp_path, APP) as url:
        yield url.removeprefix("http://")


@contextmanager
def scraping(address: str, folder: Path) -> Iterator[str]:
    """A Prometheus that reads what is served at an address; where it answers itself."""
    config = folder / "prometheus.yml"
    config.write_text(CONFIG.format(address=address))
    options = [f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}", "--web.listen-address=127.0.0.1:0"]
    with subprocess.Popen([str(PROMETHEUS), *options], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            # In either order: its server and its storage start beside each other.
            awaited, told = {"Listening on", "ready to receive"}, dict[str, str]()
            while awaited - set(told):
                line = process.stderr.readline()
                assert line, f"it ended with {process.wait()} before it was ready"
                told |= {words: line for words in awaited if words in line}
            yield told["Listening on"].partition("address=")[2].split()[0]
        finally:
            process.kill()


def test_the_linter_of_prometheus_has_nothing_to_say(address: str) -> None:
    if PROMTOOL is None:
        pytest.skip("no promtool is installed here")
    # urlopen says Connection: close, as proxies do.
    with closing(HTTPConnection(address, timeout=10)) as connection:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read()

    linted = subprocess.run([PROMTOOL, "check", "metrics"], input=text, capture_output=True, check=False)

    assert (linted.returncode, linted.stderr) == (0, b"")


def test_prometheus_scrapes_a_served_app(address: str, tmp_path: Path) -> None:
    if PROMETHEUS is None:
        pytest.skip("no prometheus is installed here")
    with scraping(address, tmp_path) as prometheus:
        query = f"http://{prometheus}/api/v1/query?query={quote('hanse_build_info')}"
        found: list[dict[str, dict[str, str]]] = []
        while not found:
            with urlopen(query) as answer:
                found = json.load(answer)["data"]["result"]

        assert found[0]["metric"]["app"] == "shop"
