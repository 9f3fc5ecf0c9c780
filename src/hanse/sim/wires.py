"""The network of a world, as a story changes it by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from hanse.kernel.duration import Duration, seconds
from hanse.kernel.faults import Misconfigured
from hanse.sim.network import Link, Network
from hanse.sim.setup import Where


@final
class Wires:
    """The ways between services."""

    def __init__(self, network: Network, machine_of: Callable[[Where], str]) -> None:
        self._network = network
        self._machine_of = machine_of

    def between(self, one: Where, other: Where, *, drop: float = 0.0, delay: Duration | None = None) -> None:
        """Make the way between two services worse, in both directions, until it is told otherwise.

        Args:
            one: A service, or a contract that it keeps, or the name of a machine.
            other: Another one.
            drop: Share of packets that get lost, from 0 to 1.
            delay: How much longer they take at most.

        Raises:
            Misconfigured: `drop` is no share, or both are on one machine.
        """
        if not 0.0 <= drop <= 1.0:
            raise Misconfigured(f"expected drop to be a share from 0 to 1, got {drop!r}")
        for link in self._links(one, other):
            link.spoil(drop, 0.0 if delay is None else seconds(delay))

    def cut(self, one: Where, other: Where) -> None:
        """Let nothing through between two services, until as many times `mend` was called.

        Raises:
            Misconfigured: Both are on one machine.
        """
        self._network.cut(self._links(one, other))

    def mend(self, one: Where, other: Where) -> None:
        """Take back a `cut`; where there is none, nothing happens."""
        self._network.mend(self._links(one, other))

    def _links(self, one: Where, other: Where) -> list[Link]:
        a, b = self._machine_of(one), self._machine_of(other)
        if a == b:
            names = [where if isinstance(where, str) else where.__name__ for where in (one, other)]
            raise Misconfigured(f"{names[0]} and {names[1]} are both on {a}: no network is between them")
        return [self._network.link(a, b), self._network.link(b, a)]
