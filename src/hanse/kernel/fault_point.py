"""Named places in the code at which a crash makes a difference, so that a simulated world can have one there.

In production a fault point is one look at a global that is None. A world arms a hook; at each point it may count, or
kill the machine that the code runs as. It may raise nothing but a `BaseException` of its own, which no handler catches:
what comes after the point is not prepared for a failure, only for never being reached. The hook is called where the
code runs, which for `store.*` is the thread of the writer, if it has one.

The points stand before and after whatever makes an effect lasting or known to others. Wherever two of them have no
such effect between them, one is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

Hook = Callable[[str], None]
"""What happens at a point, given its name."""

POINTS: Mapping[str, str] = MappingProxyType(
    {
        "store.before_commit": "a group of batches is written, its transaction is not committed",
        "store.after_commit": "the transaction is committed, and nobody has been told",
        "unit.before_commit": "a handler is done, and nothing that it wrote is stored",
        "unit.after_commit": "what a handler wrote is stored, and its caller knows nothing",
        "relay.taken": "an entry was taken from the log",
        "relay.before_delivery": "an event is about to be sent to a subscriber",
        "relay.acknowledged": "a subscriber has acknowledged, and the position has not moved",
        "relay.before_save": "a position has moved, and is not stored",
        "relay.after_save": "a position is stored",
        "inbox.before_handler": "a message is new here, and its handler has not begun",
        "inbox.after_handler": "a message was handled, and is not acknowledged",
        "inbox.before_park": "a message cannot be handled, and is not parked yet",
        "inbox.after_park": "a message is parked, and is not acknowledged",
        "replay.before_handler": "a dead letter is about to be handled again",
        "replay.after_commit": "a dead letter was handled, and is gone, and nothing comes after it yet",
        "rule.leased": "a rule holds a row that it has not read",
        "rule.before_run": "a rule has read a row that it is to run for",
        "rule.after_commit": "a rule has run and its effects are stored, but the row is still held",
        "lease.before_grant": "a lease is free, or over, and is about to be taken",
        "lease.after_grant": "a lease is taken, and nothing has been done under it",
        "replica.before_commit": "a piece of a feed was read into a replica, and nothing of it is stored",
        "replica.after_commit": "a replica has stored a piece with its place in the feed, and goes on",
        "feed.piece_read": "a feed has read a piece of the log, and told nothing of it",
        "feed.before_item": "a feed is about to tell of a change",
        "feed.after_item": "a feed has told of a change, and its reader wants the next",
        "key.after_answer": "a call with an idempotency key took effect, and its answer is kept, and not sent",
        "schedule.before_run": "a run of a schedule is due",
        "schedule.after_run": "a run of a schedule has ended, well or not",
        "saga.begun": "a saga is stored, and nothing of it is done",
        "saga.step_before": "a step of a saga is about to be done",
        "saga.step_committed": "a step of a saga took effect and is in its journal, and its code knows nothing",
        "saga.turned": "a saga is on its way back, and nothing of it is undone",
        "saga.undo_before": "a step of a saga is about to be undone",
        "saga.undone": "a step of a saga is undone, and the one before it is not",
        "saga.ended": "a saga is over, and who waits for it knows nothing",
        "node.opened": "a node has opened its stores, and serves nothing",
        "node.ready": "a node serves and reacts, and has not said so",
        "node.draining": "a node was told to stop, and has let go of nothing",
        "node.drained": "a node has finished its work, and has closed none of its stores",
    }
)
"""All points by name, `layer.point`, and what is so there."""

_hook: Hook | None = None


def fault_point(name: str) -> None:
    """Pass a place where a crash makes a difference.

    Args:
        name: One of `POINTS`; a test holds the two together.
    """
    if _hook is not None:
        _hook(name)


def arm(hook: Hook | None) -> None:
    """Have a hook called at every point of this process from now on, in place of the one before; None for none.

    Example:
        >>> passed: list[str] = []
        >>> arm(passed.append)
        >>> fault_point("unit.before_commit")
        >>> arm(None)
        >>> fault_point("unit.after_commit")
        >>> passed
        ['unit.before_commit']
    """
    global _hook  # noqa: PLW0603 - a world is the process's, and production is to pay for one look at it only
    _hook = hook
