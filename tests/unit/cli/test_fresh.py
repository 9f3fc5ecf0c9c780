"""What lies in the app's folder is read from its source, also where its bytecode says that it is current."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys
from pathlib import Path
from hanse.cli.fresh import read_from_source
if sys.argv[1] == "fresh":
    read_from_source(Path.cwd())
import shop.prices, lib
print(shop.prices.PRICE, lib.NAME)
"""

COMPILING = ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")


def run(folder: Path, how: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, how],
        cwd=folder,
        # These tests are of what Python compiles where nothing tells it not to; an empty value counts as none.
        env={**os.environ, "PYTHONPATH": str(folder / ".venv"), **dict.fromkeys(COMPILING, "")},
        check=True,
        capture_output=True,
        text=True,
    )
    return ran.stdout.strip()


def save(path: Path, text: str) -> None:
    """As an editor does: twice in one second, at the same size."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    os.utime(path, (1_000_000_000, 1_000_000_000))


def test_the_second_of_two_saves_in_a_second_runs(tmp_path: Path) -> None:
    save(tmp_path / "shop" / "__init__.py", "")
    save(tmp_path / "shop" / "prices.py", "PRICE = 1")
    save(tmp_path / ".venv" / "lib.py", "NAME = 'a'")
    assert run(tmp_path, "as usual") == "1 a"
    save(tmp_path / "shop" / "prices.py", "PRICE = 2")
    # Without a difference in size or second Python runs what it had compiled before.
    assert run(tmp_path, "as usual") == "1 a"
    assert run(tmp_path, "fresh") == "2 a"


def test_nothing_is_compiled_into_the_folder_but_what_is_installed_there_is(tmp_path: Path) -> None:
    save(tmp_path / "shop" / "__init__.py", "")
    save(tmp_path / "shop" / "prices.py", "PRICE = 1")
    save(tmp_path / ".venv" / "lib.py", "NAME = 'a'")
    assert run(tmp_path, "fresh") == "1 a"
    assert not (tmp_path / "shop" / "__pycache__").exists()
    assert (tmp_path / ".venv" / "__pycache__").exists()
