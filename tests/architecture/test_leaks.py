"""No file of the project mentions the machine that it was written on, or a thing left undone."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]

# Put together here, so that this file does not hold what it looks for.
FORBIDDEN = {
    "/wo" + "rk/": "a path of one machine",
    "/ro" + "ot/": "a path of one machine",
    "/opt/py" + "pi": "a path of one machine",
    "pypi" + ".org": "a registry: which one to use is the reader's choice",
    "python" + "hosted": "a registry: which one to use is the reader's choice",
    "TO" + "DO": "something left undone",
    "FIX" + "ME": "something left undone",
}


def project_files() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [path for name in listing.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def leaks_in(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return []
    pattern = "|".join(re.escape(word) for word in FORBIDDEN)
    return [f"{path.relative_to(ROOT)}: {word} is {FORBIDDEN[word]}" for word in re.findall(pattern, text)]


def test_no_file_leaks_where_it_was_written() -> None:
    assert [leak for path in project_files() for leak in leaks_in(path)] == []
