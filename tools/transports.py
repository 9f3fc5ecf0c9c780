"""Runs the suite of transports on all that we have, and writes docs/reference/transports.md: who keeps what.

    python tools/transports.py            runs every suite in tests, against the real things
    python tools/transports.py --check    runs nothing; fails where the page does not show what the suite has

Fails, and writes nothing, where a transport breaks a promise.
"""

import argparse
import inspect
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from hanse.testing.transport import TransportSuite

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "transports.md"
YES = "yes"
LETTERS = "abcdefghijklmnopqrstuvwxyz"

INTRODUCTION = """<!-- Written by `make transports` from runs of the suite; change the names of its tests there. -->

# Transports

What every transport promises, and who keeps it: {count} behaviours, each a test of [the public suite]\
(../testing/transports.md).
All of it comes from runs: against the real server where there is one.
Where a letter stands, the list at the end says why the test does not apply.
"""


class Recorder:
    """Keeps what became of each test of a suite, by the title of its transport; other tests are not run."""

    def __init__(self) -> None:
        self.results: dict[str, dict[str, str]] = {}
        self.failed: list[str] = []

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep the tests of suites."""
        items[:] = [item for item in items if suite_of(item) is not None]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Note how a test ended; a test that was skipped says why."""
        report = yield
        suite = suite_of(item)
        assert suite is not None
        behaviour = item.name.partition("[")[0]
        results = self.results.setdefault(suite.title or suite.__name__, {})
        if report.failed:
            self.failed.append(item.nodeid)
        elif report.skipped:
            results[behaviour] = reason_of(report)
        else:
            results.setdefault(behaviour, YES)
        return report


def suite_of(item: pytest.Item) -> type[TransportSuite] | None:
    """The suite that a test is of."""
    cls = item.cls if isinstance(item, pytest.Function) else None
    return cls if inspect.isclass(cls) and issubclass(cls, TransportSuite) else None


def reason_of(report: pytest.TestReport) -> str:
    """Why a test was skipped."""
    assert isinstance(report.longrepr, tuple)
    return report.longrepr[2].removeprefix("Skipped: ")


def main() -> int:
    """Run, tell, write."""
    parser = argparse.ArgumentParser(description="Run the suite of transports, and write docs/reference/transports.md.")
    parser.add_argument("--check", action="store_true", help="run nothing, fail where the page lacks a behaviour")
    checking: bool = parser.parse_args().check
    if checking:
        return check(PAGE.read_text(encoding="utf-8") if PAGE.exists() else "")
    recorder = Recorder()
    files = [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if "Suite)" in path.read_text()]
    status = pytest.main(["-q", "-p", "no:randomly", "--assert=plain", *map(str, files)], plugins=[recorder])
    if status or recorder.failed:
        print("nothing is written: a transport breaks a promise, or a test could not be run")
        return 1
    PAGE.write_text(page(recorder.results), encoding="utf-8")
    return 0


def check(text: str) -> int:
    """Whether a page has each behaviour of the suite, and no other."""
    shown = {line.partition(" | ")[0].removeprefix("| ") for line in text.splitlines() if line.startswith("| ")}
    known = {sentence(name) for _, names in groups() for name in names} | {"behaviour"}
    for what, names in (("lacks", known - shown), ("still has", shown - known)):
        for name in sorted(names):
            print(f"docs/reference/transports.md {what} {name!r}; run python tools/transports.py")
    return int(shown != known)


def groups() -> Iterator[tuple[str, list[str]]]:
    """The behaviours, by what they are about, in the order in which they are written."""
    for part in TransportSuite.__bases__:
        yield inspect.cleandoc(part.__doc__ or "").splitlines()[0], [name for name in vars(part) if name[:5] == "test_"]


def sentence(name: str) -> str:
    """The behaviour that a test is named for."""
    return name.removeprefix("test_").replace("_", " ")


def page(results: Mapping[str, Mapping[str, str]]) -> str:
    """The page of all transports."""
    behaviours = [name for _, names in groups() for name in names]
    reasons = sorted({result for found in results.values() for result in found.values()} - {YES})
    letters = {YES: YES} | dict(zip(reasons, LETTERS, strict=False))
    parts = [INTRODUCTION.format(count=len(behaviours))]
    for title, names in groups():
        parts += [f"\n## {title.rstrip('.')}\n\n", *table(names, results, letters)]
    parts += ["\n## What does not apply\n\n", *(f"- {letters[reason]}: {reason}.\n" for reason in reasons)]
    return "".join(parts)


def table(names: Sequence[str], results: Mapping[str, Mapping[str, str]], letters: Mapping[str, str]) -> Iterator[str]:
    """Some behaviours, a line each."""
    yield f"| behaviour | {' | '.join(f'`{title}`' for title in results)} |\n"
    yield f"|---|{'---|' * len(results)}\n"
    for name in names:
        cells = (letters[found[name]] for found in results.values())
        yield f"| {sentence(name)} | {' | '.join(cells)} |\n"


if __name__ == "__main__":
    sys.exit(main())
