"""Every snippet of the README and of the guides does what its page says."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.planted.unmeasured import unmeasured

ROOT = Path(__file__).parents[2]
RUNNER = Path(__file__).with_name("run_page.py")
PAGE_SECONDS_MAX = 200
PAGES = [page for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))] if page.exists()]


def run_page(page: Path, folder: Path, *options: str) -> tuple[int, str]:
    environment = {**unmeasured(), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    runner = subprocess.Popen(
        [sys.executable, RUNNER, page, *options],
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        printed, _ = runner.communicate(timeout=PAGE_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        os.killpg(runner.pid, signal.SIGKILL)
        printed = f"{page} took longer than {PAGE_SECONDS_MAX} s; it printed:\n{runner.communicate()[0]}"
    return runner.returncode, printed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_snippet_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    status, printed = run_page(page, tmp_path)
    assert status == 0, printed


GOOD = """
<!-- file: tea.py -->
```python
leaves = 3
```
```python
import asyncio
await asyncio.sleep(0)
assert leaves == 3
```
<!-- run -->
```console
$ cat tea.py
leaves = ...
$ python -c "print('ready', flush=True); input()" < /dev/zero &
ready
$ kill -9 %1
$ python -c "print('ready again', flush=True); input()" < /dev/zero &
ready again
$ kill %1
```
<!-- change: tea.py -->
```diff
-leaves = 3
+leaves = 4
```
<!-- run: numbers may differ | head -1 -->
```console
$ cat tea.py tea.py
leaves = 1,000
```
"""

BAD = {
    "a failing block": "```python\nassert False\n```\n",
    "another output": "<!-- run -->\n```console\n$ echo tea\ncoffee\n```\n",
    "a program that ends": "<!-- run -->\n```console\n$ echo tea &\ncoffee\n```\n",
    "another word beside numbers": "<!-- run: numbers may differ -->\n```console\n$ echo 3 cups\n2 pots\n```\n",
    "a change of what is not there": (
        "<!-- file: tea.py -->\n```python\nleaves = 3\n```\n<!-- change: tea.py -->\n```diff\n-leaves = 2\n```\n"
    ),
}

OUTDATED = """
<!-- run: numbers may differ | head -1 -->
```console
$ printf 'found hostile-8\\nand more\\n'
found flaky-2-c
```
<!-- run: numbers may differ -->
```console
$ echo again flaky-2-c
nothing
```
"""


def test_a_page_may_write_files_await_and_run_commands(tmp_path: Path) -> None:
    page = tmp_path / "good.md"
    page.write_text(GOOD)
    status, printed = run_page(page, tmp_path)
    assert status == 0, printed


def test_a_page_goes_on_with_the_files_of_the_page_before_it(tmp_path: Path) -> None:
    (tmp_path / "one.md").write_text("<!-- file: pot.py -->\n```python\ncups = 1\n```\n")
    change = "<!-- change: pot.py -->\n```diff\n-cups = 1\n+cups = 2\n```\n"
    (tmp_path / "two.md").write_text(f"<!-- after: one.md -->\n{change}")
    look = "```python\nfrom pot import cups\nassert cups == 2\n```\n"
    (tmp_path / "three.md").write_text(f"<!-- after: two.md -->\n{look}")
    status, printed = run_page(tmp_path / "three.md", tmp_path)
    assert status == 0, printed


@pytest.mark.parametrize("text", BAD.values(), ids=list(BAD))
def test_a_page_that_is_wrong_is_noticed(text: str, tmp_path: Path) -> None:
    page = tmp_path / "bad.md"
    page.write_text(text)
    assert run_page(page, tmp_path)[0] != 0


def test_a_page_is_rewritten_with_what_its_commands_print(tmp_path: Path) -> None:
    page = tmp_path / "old.md"
    page.write_text(OUTDATED)
    assert run_page(page, tmp_path, "--write")[0] == 0
    written = page.read_text()
    assert "\nfound hostile-8\n```" in written
    assert "$ echo again hostile-8\nagain hostile-8\n" in written
    assert run_page(page, tmp_path)[0] == 0
