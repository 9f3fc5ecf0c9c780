"""The page about an error in a real browser: it shows the lines, and goes by itself when they are mended."""

import subprocess
import sys
from pathlib import Path

from .browser import Tab

LOOKS_MAX = 300
APP = """
from hanse import App, Gateway

gateway = Gateway()

@gateway.get("/tea")
async def tea() -> str:
    return f"tea at {12 / 4}"

app = App("tea", gateway=gateway)
"""


def wait_for_page(tab: Tab, part: str) -> str:
    """The text of the first page from now on that has this in it; pages come and go meanwhile."""
    for _ in range(LOOKS_MAX):
        script = "new Promise(told => setTimeout(() => told(document.body ? document.body.innerText : ''), 100))"
        answer = tab.command("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        text = str(answer.get("result", {}).get("value", ""))
        if part in text:
            return text
    raise AssertionError(text)


def test_an_error_is_shown_and_goes_when_it_is_mended(tab: Tab, tmp_path: Path) -> None:
    file = tmp_path / "tea.py"
    file.write_text(APP.replace("12 / 4", "12 / 0"))
    command = [sys.executable, "-m", "hanse", "dev", "tea.py", "--port", "0"]
    with subprocess.Popen(
        command, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().split()[-1]
            tab.command("Page.navigate", url=f"{url}/tea")
            assert "tea.py, line 8, in tea" in wait_for_page(tab, "ZeroDivisionError: division by zero")
            file.write_text(APP.replace("async def tea", "asyn def tea"))
            assert "tea.py, line 7" in wait_for_page(tab, "SyntaxError: invalid syntax")
            file.write_text(APP)
            wait_for_page(tab, "tea at 3.0")
            assert tab.complaints == []
        finally:
            process.terminate()
            process.stdout.read()


NOTES = """
from hanse import App, Collection, Gateway, Resource, Service

class Note(Resource):
    text: str

class Notes(Service):
    notes: Collection[Note]

app = App("notes", Notes, gateway=Gateway().resources(Note, live=True, write=True))
"""
FOLLOW = """
const told = document.body.dataset;
const source = new EventSource("/notes");
source.onopen = () => { told.opened = 1 + Number(told.opened || 0); };
source.addEventListener("created", () => { told.heard = "yes"; });
"""
POST = """
fetch("/notes", {method: "POST", headers: {"content-type": "application/json"}, body: '{"text": "mended"}'});
"""


def test_a_page_that_follows_goes_on_by_itself_when_the_app_is_mended(tab: Tab, tmp_path: Path) -> None:
    file = tmp_path / "notes.py"
    file.write_text(NOTES)
    command = [sys.executable, "-m", "hanse", "dev", "notes.py", "--port", "0"]
    with subprocess.Popen(
        command, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().split()[-1]
            tab.command("Page.navigate", url=f"{url}/livez")
            wait_for_page(tab, "ok")
            tab.run(FOLLOW)
            tab.wait("document.body.dataset.opened === '1'")
            file.write_text(NOTES.replace("class Notes", "clas Notes"))
            # By whoever stands in; an answer of 503 would be the end of it.
            tab.wait("document.body.dataset.opened === '2'")
            file.write_text(NOTES)
            tab.wait("document.body.dataset.opened === '3'")
            tab.run(POST)
            tab.wait("document.body.dataset.heard === 'yes'")
        finally:
            process.terminate()
            process.stdout.read()
