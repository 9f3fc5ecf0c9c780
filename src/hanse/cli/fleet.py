"""The nodes of a running system as commands show them: asked of one of them, as rows, and as what has changed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec

from hanse.cli.net import COMMAND
from hanse.cli.problem import problem_in
from hanse.cli.remote import Remote
from hanse.kernel.faults import Forbidden, Malformed
from hanse.mesh.known import Known

HEARING_SECONDS = 0.25
"""Between looks of a node that has just come, as long as it hears of others."""

HEARING_LOOKS_MAX = 12
"""Looks after which it is taken to have heard of all."""

HEARING_LOOKS_MIN = 4
"""Looks of the same that it takes at the least."""

HEADINGS = ("service", "operations", "node", "release", "zone", "up", "state", "address")
NODE_HEADINGS = ("node", "services", "release", "zone", "up", "state", "address")


class Serving(msgspec.Struct, frozen=True):
    """A service on one node.

    Attributes:
        service: Its name.
        node: What is known of the node.
    """

    service: str
    node: Known

    def line(self, sign: str) -> str:
        """A line that tells of a change: `+`, `-`, or `~` for another state."""
        words = (sign, self.service, self.node.instance, self.node.release, self.node.state, self.node.address)
        return " ".join(word for word in words if word)


def nodes_at(remote: Remote, *, again: bool = False) -> list[Known]:
    """The nodes of a running system; of one that the command has joined itself, once it has heard of them.

    Args:
        remote: Where it answers.
        again: Whether that has been waited for before.

    Raises:
        Unavailable: Nobody answers there, or the transport cannot tell.
        Forbidden: It does not say so to whoever asks.
        Malformed: Who answers is no node of Hanse's.
    """
    if again or not remote.own:
        return _asked(remote)
    never = threading.Event()
    return settled(lambda: _asked(remote), lambda: never.wait(HEARING_SECONDS))


def settled(look: Callable[[], list[Known]], rest: Callable[[], object]) -> list[Known]:
    """What is seen once nobody new comes, or after `HEARING_LOOKS_MAX` looks."""
    found, same = look(), 1
    for _ in range(HEARING_LOOKS_MAX - 1):
        if same >= HEARING_LOOKS_MIN:
            break
        _ = rest()
        again = look()
        same = same + 1 if again == found else 1
        found = again
    return found


def serving_in(nodes: Iterable[Known]) -> dict[tuple[str, str], Serving]:
    """Every service on every node, by the names of the two, in their order."""
    found = {(service, node.instance): Serving(service, node) for node in nodes for service in node.services}
    return dict(sorted(found.items()))


def changes(
    before: Mapping[tuple[str, str], Serving], after: Mapping[tuple[str, str], Serving]
) -> Iterator[tuple[str, Serving]]:
    """What has changed: who came (`+`), who went (`-`), and whose state is another (`~`).

    Example:
        >>> one, out = (serving_in([Known("a-1", ("orders",), state=state)]) for state in ("in", "drains"))
        >>> [sign for old, new in [({}, one), (one, out), (out, {})] for sign, _ in changes(old, new)]
        ['+', '~', '-']
    """
    for key, one in before.items():
        if key not in after:
            yield "-", one
    for key, one in after.items():
        if key not in before:
            yield "+", one
        elif before[key].node.state != one.node.state:
            yield "~", one


def service_rows(serving: Iterable[Serving], operations: Mapping[str, int], now: float) -> list[list[str]]:
    """A row for each service on each node; the service stands in its first.

    Args:
        serving: In the order of their services.
        operations: How many each service has, as far as that is known.
        now: Second of the clock.
    """
    rows: list[list[str]] = []
    last = ""
    for one in serving:
        new = one.service != last
        name, count = (one.service, str(operations.get(one.service, "-"))) if new else ("", "")
        last = one.service
        node = one.node
        rows.append([name, count, node.instance, *_told(node, now)])
    return rows


def node_rows(nodes: Iterable[Known], now: float) -> list[list[str]]:
    """A row for each node."""
    return [[node.instance, " ".join(node.services) or "-", *_told(node, now)] for node in nodes]


def up_text(seconds: float) -> str:
    """For how long something has been there, in its largest unit.

    Example:
        >>> up_text(4.2), up_text(150), up_text(7300), up_text(200_000)
        ('4s', '2m', '2h', '2d')
    """
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(0, int(seconds))}s"


def _told(node: Known, now: float) -> Sequence[str]:
    up = up_text(now - node.since) if node.since else "-"
    return node.release or "-", node.zone or "-", up, node.state, node.address or "-"


def _asked(remote: Remote) -> list[Known]:
    with remote.ask_directly("/nodez") as answer:
        problem = problem_in(answer)
        said = answer.json() if problem is None else None
    if problem is not None:
        raise Forbidden(f"{remote.base} does not say which nodes there are: {problem.detail or problem.title}")
    try:
        found = msgspec.convert(said, list[Known])
    except msgspec.ValidationError:
        raise Malformed(f"expected a list of nodes from {remote.base}/nodez, got something else") from None
    return [node for node in found if not node.instance.startswith(COMMAND)]
