"""Writes what was measured: tables for people, JSON for whoever compares runs."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from plan import Case, Column, Figures, Group, Outcome

Report = dict[str, dict[str, object]]
"""By group: `machine`, `rounds` and `cases`; each case has `rounds`, figures by column, or `skipped`."""

DIGITS = 4
"""Digits after the point that are kept."""

HEAD = """# Figures

Written by `make bench`; a group alone by the command under its title, once `make bench` has made `.venv-bench`.

The cases of a group were measured in turn, round by round, each in a fresh process.
A figure is the median of the rounds, with the least and the most in brackets.
CPU is user and system time of the measured process with all its threads, so that what else runs on the machine matters little; compare ratios within one table, and nothing across tables.
"""  # noqa: E501 - one sentence per line


def machine(python: Path) -> str:
    """The machine and a Python on it, as far as they matter for figures."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    asked = subprocess.run([python, "-V"], capture_output=True, text=True, check=False) if python.exists() else None
    version = asked.stdout.strip() if asked else "without the Python that it needs"
    return f"{os.cpu_count()} x {name}, {platform.system()}, {version}, load average {load}"


def record(path: Path, group: Group, outcomes: Mapping[str, Outcome], machine: str) -> Report:
    """Put the group's figures in place of its earlier ones; the whole report as it is then."""
    report: Report = json.loads(path.read_text()) if path.exists() else {}
    rounds = max((len(outcome.rounds) for outcome in outcomes.values()), default=0)
    cases = {
        name: {"skipped": outcome.skipped}
        if outcome.skipped
        else {"rounds": [_rounded(figures) for figures in outcome.rounds]}
        for name, outcome in outcomes.items()
    }
    report[group.name] = {"machine": machine, "rounds": rounds, "cases": cases}
    path.write_text(json.dumps(report, indent=1) + "\n")
    return report


def _rounded(figures: Figures) -> Figures:
    return {name: round(value, DIGITS) for name, value in figures.items()}


def page(groups: Mapping[str, Group], report: Report) -> str:
    """The report in Markdown."""
    there = [group for name, group in groups.items() if name in report]
    sections = ["\n".join(section(group, report[group.name])) for group in there]
    return HEAD + "\n" + "\n".join(sections)


def section(group: Group, measured: Mapping[str, object]) -> Iterator[str]:
    """The lines of one group's table."""
    cases = measured["cases"]
    assert isinstance(cases, dict)
    yield f"## {group.title}"
    yield f"`.venv-bench/bin/python bench/run.py {group.name} --rounds {measured['rounds']}` on {measured['machine']}."
    yield ""
    titles = [column.title for column in group.columns]
    yield "| case | " + " | ".join(titles) + " | ratio | of | what |"
    yield "|---|" + "---:|" * (len(titles) + 1) + "---|---|"
    for case in group.cases:
        found = cases.get(case.name)
        if found is not None:
            yield _row(case, group, cases)
    yield ""


def _row(case: Case, group: Group, cases: Mapping[str, Mapping[str, object]]) -> str:
    if "skipped" in cases[case.name]:
        return f"| {case.name} |" + " |" * len(group.columns) + f" | | skipped: {cases[case.name]['skipped']} |"
    cells = [_cell(column, case, cases) for column in group.columns]
    base = case.base or group.base
    return f"| {case.name} | " + " | ".join(cells) + f" | {_ratio(group, case, base, cases)} | {base} | {case.about} |"


def _cell(column: Column, case: Case, cases: Mapping[str, Mapping[str, object]]) -> str:
    values = _values(cases[case.name], column.name)
    if not values:
        return ""
    low, middle, high = (
        f"{value:,.{column.digits}f}" for value in (min(values), statistics.median(values), max(values))
    )
    return f"{middle} ({low} to {high}){_kept(column.name, case, statistics.median(values))}"


def _kept(column: str, case: Case, value: float) -> str:
    """Whether a figure is as it has to be, where something is asked of it."""
    most, least = case.limits.get(column), case.least.get(column)
    if most is not None:
        return f", {'within' if value <= most else 'OVER'} {most:,g}"
    if least is not None:
        return f", {'at least' if value >= least else 'UNDER'} {least:,g}"
    return ""


def _ratio(group: Group, case: Case, base: str, cases: Mapping[str, Mapping[str, object]]) -> str:
    """The ratio of the first column that both have."""
    for column in group.columns:
        mine, others = (_values(cases.get(name, {}), column.name) for name in (case.name, base))
        if mine and others:
            return f"{statistics.median(mine) / statistics.median(others):.2f}"
    return ""


def _values(found: Mapping[str, object], column: str) -> list[float]:
    rounds = found.get("rounds", [])
    assert isinstance(rounds, list)
    figures: list[Figures] = rounds
    return [one[column] for one in figures if column in one]
