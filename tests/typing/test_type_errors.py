"""What must not type-check does not, and all that surrounds it does: each checker reports the marked lines only.

Of the right uses in tests/typing/right they report none. A line of tests/typing/wrong ends in `# error: why` where both
checkers have to object, in `# error(mypy): why` or `# error(pyright): why` where one of them is known not to see it.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = sorted(file for name in ("right", "wrong") for file in Path(__file__).with_name(name).glob("*.py"))

# A file and a line in it.
Place = tuple[str, int]


def marked(checker: str) -> set[Place]:
    pattern = re.compile(rf"# error(\({checker}\))?: ")
    return {
        (file.name, number)
        for file in FILES
        for number, line in enumerate(file.read_text().splitlines(), start=1)
        if pattern.search(line)
    }


def run(*command: str | Path) -> str:
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout


def reported_by_mypy() -> set[Place]:
    printed = run("mypy", "--no-error-summary", "--no-pretty", *FILES)
    found = re.findall(r"^(.+\.py):(\d+): error: ", printed, re.MULTILINE)
    return {(Path(file).name, int(line)) for file, line in found}


def reported_by_pyright(folder: Path) -> set[Place]:
    project = folder / "pyrightconfig.json"
    project.write_text(
        json.dumps({"include": [str(file) for file in FILES], "typeCheckingMode": "strict", "pythonVersion": "3.11"})
    )
    printed = run("basedpyright", "--outputjson", "--project", project, "--pythonpath", sys.executable)
    found = json.loads(printed)["generalDiagnostics"]
    return {(Path(d["file"]).name, d["range"]["start"]["line"] + 1) for d in found if d["severity"] == "error"}


def test_mypy_reports_the_marked_lines_only() -> None:
    assert reported_by_mypy() == marked("mypy")


def test_pyright_reports_the_marked_lines_only(tmp_path: Path) -> None:
    assert reported_by_pyright(tmp_path) == marked("pyright")
