"""The page that the tutorial has its reader write, in a real browser."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from pathlib import Path

from . import served
from .browser import Tab

START = Path(__file__).parents[2] / "docs/start"
PARTS = [START / "tutorial.md", START / "tutorial-page.md"]
FILE = re.compile(r"<!-- file: (\S+) -->\n```\w+\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def write_files(folder: Path) -> None:
    """Save what the tutorial says to save, as it first says so; and serve the page, as it says next."""
    for name, text in FILE.findall("".join(part.read_text() for part in PARTS)):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    app = folder / "cafe.py"
    app.write_text(app.read_text().replace(".rpc(Cafe)\n", '.rpc(Cafe).static("/", "page")\n'))


def serving(folder: Path, port: str = "0") -> AbstractContextManager[str]:
    return served.serving(folder, "cafe.py", "--store", "sqlite:///data", port=port)


def test_what_is_ordered_appears_and_the_page_comes_back_by_itself(tab: Tab, tmp_path: Path) -> None:
    write_files(tmp_path)
    with serving(tmp_path) as url:
        tab.open(url)
        tab.wait("document.querySelector('[role=status]').textContent === 'live'")
        tab.run("document.querySelectorAll('button')[1].click()")
        tab.wait("document.querySelector('li')?.textContent === '1 tea: new'")
    tab.wait("document.querySelector('[role=status]').textContent === 'away'")
    with serving(tmp_path, url.rpartition(":")[2]):
        tab.wait("document.querySelector('[role=status]').textContent === 'live'")
        tab.run("document.querySelectorAll('button')[2].click()")
        tab.wait("document.querySelectorAll('li')[1]?.textContent === '1 cocoa: new'")
        assert tab.run("document.querySelectorAll('li').length") == 2
    assert tab.complaints == []
