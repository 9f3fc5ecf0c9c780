"""A run as a test: a file for pytest that makes exactly this run, and fails as long as it does not hold."""

from __future__ import annotations

import re

from hanse.sim.diverge import flat
from hanse.sim.explain import Diagnosis
from hanse.sim.origin import Origin
from hanse.sim.report import plan_words

NAME_MAX = 60
"""Characters of a test's name."""


def exported(diagnosis: Diagnosis, origin: Origin) -> str:
    """The text of a test file, to be saved beside the world's or pasted into another one.

    Args:
        diagnosis: What failed.
        origin: Where the simulation is declared.
    """
    failure = diagnosis.failure
    run = failure if diagnosis.smallest is None else diagnosis.smallest
    first = run.violations[0]
    plan = () if diagnosis.smallest is None else diagnosis.smallest.plan
    options = ", shuffle=True" if failure.shuffle else ""
    # The module and not the simulation: pytest would take one that it finds by its name for a test of this file.
    package, _, module = origin.module.rpartition(".")
    lines = [
        f'"""A run of {origin.name} that failed once."""',
        "",
        "from hanse.sim.as_test import replay",
        "",
        f"from {package} import {module}" if package else f"import {module}",
        "",
        "",
        f"def {name_of_test(origin.name, first.check)}() -> None:",
        *(f"    # {line}" for line in [_short(flat(f"{first.check}: {first.detail}")), *plan_words(plan)]),
        f'    replay({module}.{origin.name}, "{run.token}"{options})',
    ]
    return "\n".join([*lines, ""])


def name_of_test(simulation: str, check: str) -> str:
    """A name for a test.

    Example:
        >>> name_of_test("checkout", "nothing lost: 1")
        'test_checkout_keeps_nothing_lost_1'
    """
    text = re.sub(r"\W+", "_", f"test_{simulation.removeprefix('test_')}_keeps_{check.lower()}", flags=re.ASCII)
    return text[:NAME_MAX].rstrip("_")


def _short(text: str) -> str:
    return text if len(text) <= NAME_MAX * 2 - 10 else f"{text[: NAME_MAX * 2 - 10]}..."
