"""What `hanse dev` does when a file changes, its child ends, or somebody wants it to end: `decide`, a pure function.

`hanse.cli.dev_parent` does what it says.
"""

from __future__ import annotations

import enum
import signal
from collections.abc import Sequence
from pathlib import Path

import msgspec


class State(enum.Enum):
    """What the parent is waiting for."""

    RUNNING = enum.auto()
    RESTARTING = enum.auto()
    """The child is draining; another will take its place."""
    WAITING = enum.auto()
    """There is no child; requests are told why, and the next change starts one."""
    ENDING = enum.auto()


STOPPING = (State.RESTARTING, State.ENDING)
"""States in which a child has been told to end."""


class Changed(msgspec.Struct, frozen=True):
    """Files have changed."""

    names: tuple[str, ...]


class Ended(msgspec.Struct, frozen=True):
    """The child has ended; where it knows why, with its report."""

    code: int
    report: bytes = b""


class Signalled(msgspec.Struct, frozen=True):
    """Somebody wants the parent to end."""

    number: int


Event = Changed | Ended | Signalled


class Decision(msgspec.Struct, frozen=True):
    """What to do about an event.

    Attributes:
        state: What comes next.
        send: Signal for the child; 0 for none.
        start: Whether to start a child.
        leave: Exit code of the parent, where it is to end.
        say: What to tell the user.
    """

    state: State
    send: int = 0
    start: bool = False
    leave: int | None = None
    say: str = ""


def decide(state: State, event: Event) -> Decision:
    """What an event means in a state.

    Example:
        >>> decide(State.RUNNING, Changed(("app.py",))).send == signal.SIGTERM
        True
    """
    match event:
        case Signalled(number):
            return Decision(state, leave=0) if state is State.WAITING else Decision(State.ENDING, send=number)
        case Ended(code=code):
            return _after_end(state, exit_code(code))
        case Changed(names):
            return _after_change(state, f"{_some(names)} changed; starting anew")


def _after_end(state: State, code: int) -> Decision:
    if state is State.ENDING:
        return Decision(state, leave=code)
    if state is State.RESTARTING:
        return Decision(State.RUNNING, start=True)
    return Decision(State.WAITING, say=f"ended with exit code {code}; waiting for a change")


def _after_change(state: State, say: str) -> Decision:
    if state is State.RUNNING:
        return Decision(State.RESTARTING, send=signal.SIGTERM, say=say)
    if state is State.WAITING:
        return Decision(State.RUNNING, start=True, say=say)
    return Decision(state)  # another child is to come, or none


def exit_code(returned: int) -> int:
    """The exit code that a shell shows for what a process returned: 128 and its number for a signal.

    Example:
        >>> exit_code(-15), exit_code(3)
        (143, 3)
    """
    return 128 - returned if returned < 0 else returned


def _some(names: Sequence[str]) -> str:
    first = Path(names[0]).name if names else "files"
    return first if len(names) <= 1 else f"{first} and {len(names) - 1} more"
