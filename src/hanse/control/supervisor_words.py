"""What a supervisor hears, and what it does: the events and the actions of its machine."""

from __future__ import annotations

import msgspec

from hanse.control.instances import Instance, Serving


class Launched(msgspec.Struct, frozen=True):
    """A process runs."""

    process: str
    pid: int
    port: int


class Ended(msgspec.Struct, frozen=True):
    """A process has ended, or could not be launched.

    Attributes:
        process: Its name.
        code: What it returned; negative for a signal; None where nobody knows.
        tail: The last lines that it printed.
        draw: Chance, from 0 to 1.
        why: What kept it from being launched.
        starving: Whether the system has just killed somebody as memory had run out.
    """

    process: str
    code: int | None
    tail: tuple[str, ...] = ()
    draw: float = 0.5
    why: str = ""
    starving: bool = False


class Looked(msgspec.Struct, frozen=True):
    """A process was asked how it is; `why` says what is wrong, if anything."""

    process: str
    why: str = ""


class Seen(msgspec.Struct, frozen=True):
    """The edge has taken a table."""

    revision: int


class Idle(msgspec.Struct, frozen=True):
    """Nothing is in flight at a process."""

    process: str


Event = Launched | Ended | Looked | Seen | Idle


class Start(msgspec.Struct, frozen=True):
    """Launch a process for an instance."""

    instance: Instance


class Signal(msgspec.Struct, frozen=True):
    """Send a signal to a process, or to all of its group."""

    process: str
    number: int
    group: bool = False


class Look(msgspec.Struct, frozen=True):
    """Ask a process how it is."""

    process: str
    instance: Instance


class Show(msgspec.Struct, frozen=True):
    """Have the edge show who serves."""

    revision: int
    serving: tuple[Serving, ...]


class Watch(msgspec.Struct, frozen=True):
    """Say when nothing is in flight at an instance."""

    process: str
    instance: Instance


Action = Start | Signal | Look | Show | Watch
