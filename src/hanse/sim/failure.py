"""A run in which something did not hold, and the error that a test ends with because of it."""

from __future__ import annotations

import msgspec

from hanse.sim.check import Violation

DIED = "worker"
"""The check that a run breaks whose process did not survive it."""

DIFFERS = "differs"
"""The check that a run breaks which does something else in another process."""


class Failure(msgspec.Struct, frozen=True):
    """A run in which something did not hold.

    Attributes:
        token: Names it.
        violations: What did not hold.
        shuffle: Whether the steps within a process were mixed.
    """

    token: str
    violations: tuple[Violation, ...]
    shuffle: bool = False

    @property
    def is_apart(self) -> bool:
        """Whether it takes other processes to see it."""
        return self.violations[0].check in {DIED, DIFFERS}


class DoesNotHold(AssertionError):
    """A simulation does not hold; the text is the whole report."""
