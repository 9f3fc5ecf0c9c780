"""What goes wrong in a world, as data: a plan is a list of incidents, drawn before anything runs.

Taking one incident out of a plan leaves all the others as they were, so a plan that fails can be made smaller.
Times are seconds of the world's clock; an incident is over, and what it broke is whole again, after its `seconds`.
"""

from __future__ import annotations

import msgspec


class _Incident(msgspec.Struct, frozen=True, tag_field="kind", kw_only=True):
    """Something that goes wrong.

    Attributes:
        at: When it begins.
        seconds: How long it lasts.
    """

    at: float
    seconds: float


class Kill(_Incident, frozen=True, tag="kill", kw_only=True):
    """The process ends as by `kill -9`, and is started again when the incident is over."""

    machine: str


class KillAt(_Incident, frozen=True, tag="kill_at", kw_only=True):
    """The process is killed at a named point of the code, the first time it passes there after `at`."""

    machine: str
    point: str


class PowerLoss(_Incident, frozen=True, tag="power", kw_only=True):
    """The machine goes dark: its process ends, and its disk forgets what was not flushed. It comes back."""

    machine: str


class LostFlush(_Incident, frozen=True, tag="lost_flush", kw_only=True):
    """The disk says that it flushed, and did not; at the end of the incident the power is cut for a second.

    No software survives this without a copy elsewhere, so no profile draws it by itself: name it in a plan.
    """

    machine: str


class Pause(_Incident, frozen=True, tag="pause", kw_only=True):
    """The process stands still, as by SIGSTOP or a long collection of garbage."""

    machine: str


class SlowDisk(_Incident, frozen=True, tag="slow_disk", kw_only=True):
    """Each access to the disk takes `factor` times as long."""

    machine: str
    factor: float


class FullDisk(_Incident, frozen=True, tag="full_disk", kw_only=True):
    """Nothing more can be written to the disk."""

    machine: str


class Clock(_Incident, frozen=True, tag="clock", kw_only=True):
    """The machine's wall clock is wrong by `jump` seconds, and then right again. Its monotonic clock goes on."""

    machine: str
    jump: float


class Cut(_Incident, frozen=True, tag="cut", kw_only=True):
    """Nothing gets from `machines` to `others`; nor back, unless `one_way`."""

    machines: tuple[str, ...]
    others: tuple[str, ...]
    one_way: bool = False


class Delay(_Incident, frozen=True, tag="delay", kw_only=True):
    """What `machine` sends and receives takes up to `most` seconds longer; it may overtake where `reorder`."""

    machine: str
    most: float
    reorder: bool = False


class Loss(_Incident, frozen=True, tag="loss", kw_only=True):
    """A share of what is sent to and from `machine` gets lost."""

    machine: str
    share: float


class Repeat(_Incident, frozen=True, tag="repeat", kw_only=True):
    """A share of what is sent to and from `machine` arrives twice."""

    machine: str
    share: float


class Replace(_Incident, frozen=True, tag="replace", kw_only=True):
    """The process is told to stop, finishes what is under way, and the next version of the code takes its place.

    `seconds` is how long it may take to stop.
    """

    machine: str


Incident = (
    Kill | KillAt | PowerLoss | LostFlush | Pause | SlowDisk | FullDisk | Clock | Cut | Delay | Loss | Repeat | Replace
)
"""Something that goes wrong at a time."""

Plan = tuple[Incident, ...]
"""What goes wrong in one run, by the time at which it begins."""
