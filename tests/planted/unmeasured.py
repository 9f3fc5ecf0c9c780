"""Simulations, and processes that are killed, are not what coverage is measured by."""

import os


def unmeasured() -> dict[str, str]:
    """The environment of a process whose lines are not counted: it takes half the time then.

    Other tests, which run the same lines once, count them; and who is killed cannot tell of its lines anyhow.
    """
    return {name: value for name, value in os.environ.items() if not name.startswith("COV")}
