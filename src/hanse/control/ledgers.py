"""What nodes have counted, as figures beside those of the edge: each operation, and each group, is a route. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from hanse.control.edge_figures import Counts, Key, Line
from hanse.control.instances import Instance
from hanse.node.ledger import Calls, Ledger, Messages


def lines_of(instances: Iterable[Instance], ledgers: Mapping[str, Ledger]) -> Iterator[Line]:
    """The figures of nodes.

    Args:
        instances: Of services of the app, whatever their release.
        ledgers: By name of the process: one that is started anew counts anew, and is another server.

    Example:
        >>> node = Instance("till", 1, "2", run=7)
        >>> (line,) = lines_of([node], {"till-1.7": Ledger({"till.price": Calls(asked=3, failed=1)})})
        >>> line.key.server, line.key.route, line.counts.requests, line.counts.errors
        ('till-1.7', 'till.price', 3, 1)
    """
    for one in instances:
        ledger = ledgers.get(one.process, Ledger())
        for address, calls in ledger.calls.items():
            yield Line(Key(one.service, one.release, one.process, address), _of_calls(calls))
        for group, messages in ledger.messages.items():
            yield Line(Key(one.service, one.release, one.process, f"on {group}"), _of_messages(messages))


def _of_calls(calls: Calls) -> Counts:
    return Counts(requests=calls.asked, errors=calls.failed, buckets=list(calls.buckets))


def _of_messages(messages: Messages) -> Counts:
    return Counts(requests=messages.handled + messages.failed, errors=messages.failed)
