"""What stands around each run: no way out of the world, and no state that nodes or runs could share."""

from __future__ import annotations

import functools
import sys
from types import ModuleType, TracebackType
from typing import Protocol, Self, final

from hanse.kernel.faults import Misdeclared
from hanse.node.app import App
from hanse.sim.check import Violation
from hanse.sim.clocks import find_clocks
from hanse.sim.fence import Fence
from hanse.sim.picture import is_own
from hanse.sim.setup import Setup
from hanse.sim.shared import ModuleState, reached

FENCE = "fence"
"""The check that a run breaks in which something real was tried."""

SHARED = "shared"
"""The check that a run breaks which leaves module state behind."""

CLOCKS_SHOWN = 10
"""Places that are told at which an app reads real clocks."""


class Clocks(Protocol):
    """The clocks of a world, whoever asks."""

    def now(self) -> float:
        """The wall clock, in seconds since 1970."""
        ...

    def monotonic(self) -> float:
        """A clock that never goes back, in seconds."""
        ...


@final
class Enclosure:
    """A fence, and a look at what modules hold before a run and after it.

    Attributes:
        fence: What refuses, and remembers what it refused.
    """

    def __init__(self, setup: Setup, seed: int, clocks: Clocks) -> None:
        """Make one for a run.

        Args:
            setup: What the world consists of.
            seed: What libraries draw is drawn from it.
            clocks: What libraries are to take for the time.
        """
        self.fence: Fence = Fence(clocks.now, clocks.monotonic, seed)
        self._setup = setup

    def __enter__(self) -> Self:
        """Put it up.

        Raises:
            Misconfigured: There is one already.
        """
        self._state: ModuleState = ModuleState(reached(modules_of(self._setup)))
        _ = self.fence.__enter__()
        return self

    def __exit__(self, cls: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.fence.__exit__(cls, error, at)

    def left(self, at: float) -> tuple[Violation, ...]:
        """What module state a run has changed, once it is over; it is put back as far as that can be done.

        Args:
            at: Second of the world's clock at which it was over.
        """
        changed = self._state.changed()
        if changed:
            _ = self._state.restore()
        return tuple(Violation(SHARED, line, at) for line in changed)


def require_virtual_clocks(setup: Setup) -> None:
    """Refuse an app that reads real clocks where no fence could see it.

    Raises:
        Misdeclared: It does; tells where, and what to do instead.
    """
    found = _clocks_in(modules_of(setup))
    if found:
        more = f"\nand {len(found) - CLOCKS_SHOWN} more" if len(found) > CLOCKS_SHOWN else ""
        shown = "\n".join(found[:CLOCKS_SHOWN])
        raise Misdeclared(
            f"the app {setup.app.name!r} cannot be simulated, as time would be real in it:\n{shown}{more}"
        )


def modules_of(setup: Setup) -> tuple[ModuleType, ...]:
    """The modules that the services of a world are declared in, as far as they are the app's own."""
    apps: list[App] = [setup.app] if setup.upgrade is None else [setup.app, setup.upgrade]
    names = dict.fromkeys(cls.__module__ for app in apps for part in app.parts for cls in part.cls.__mro__)
    found = (sys.modules.get(name) for name in names)
    return tuple(module for module in found if module is not None and is_own(module))


@functools.lru_cache(maxsize=64)
def _clocks_in(modules: tuple[ModuleType, ...]) -> list[str]:
    """Looked for once: what a module is made of does not change."""
    return find_clocks(modules)
