"""Runs of simulations are not what coverage is measured by."""

import os


def unmeasured() -> dict[str, str]:
    """The environment of a process whose lines are not counted: a simulation takes half the time then.

    Other tests, which run the same lines once, count them.
    """
    return {name: value for name, value in os.environ.items() if not name.startswith("COV")}
