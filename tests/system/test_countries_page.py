"""The live page in a real browser: it lists, follows, renames, and comes back by itself when the server was killed."""

import json
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.request import Request, urlopen

from . import served
from .browser import Tab

APP = Path(__file__).parents[2] / "examples/countries/app.py"


def open_page(tab: Tab, url: str) -> None:
    tab.open(url)
    tab.wait("document.querySelectorAll('#rows li').length > 100")


def serving(folder: Path, port: str = "0") -> AbstractContextManager[str]:
    return served.serving(folder, APP, "--store", "sqlite:///data", port=port)


def rename(url: str, id: str, name: str) -> None:
    body = json.dumps({"name": name}).encode()
    with urlopen(Request(f"{url}/states/{id}", body, {"Content-Type": "application/json"}, method="PATCH")) as answer:
        assert answer.status == 200


def log_has(text: str) -> str:
    return f"document.getElementById('log').textContent.includes({json.dumps(text)})"


def test_the_page_shows_changes_live_and_resumes_after_its_server_was_killed(tab: Tab, tmp_path: Path) -> None:
    with serving(tmp_path) as url:
        open_page(tab, f"{url}/#FR")
        rename(url, "FR-75C", "Lutetia")
        tab.wait(log_has("Paris → Lutetia"))
    tab.wait("document.getElementById('status').textContent === 'reconnecting'")
    with serving(tmp_path, url.rpartition(":")[2]):
        rename(url, "FR-75C", "Parisii")
        tab.wait(log_has("Lutetia → Parisii"))
        assert tab.run("document.querySelectorAll('#log li').length") == 2


def test_a_state_is_found_as_one_types_and_renamed_in_the_page(tab: Tab, tmp_path: Path) -> None:
    with serving(tmp_path) as url:
        open_page(tab, f"{url}/#FR")
        tab.run("document.getElementById('text').focus()")
        tab.command("Input.insertText", text="girond")
        tab.wait("document.querySelector('.found')?.textContent.includes('Gironde')")
        tab.run("document.querySelector('.found').click()")
        tab.wait("document.getElementById('FR-33')")
        tab.run("document.querySelector('#FR-33 button').click()")
        tab.command("Input.insertText", text="Aquitania")
        tab.command("Input.dispatchKeyEvent", type="keyDown", key="Enter", code="Enter", windowsVirtualKeyCode=13)
        tab.wait(log_has("Gironde → Aquitania"))
        assert tab.run("document.querySelector('#FR-33 .words').firstChild.textContent") == "Aquitania"
