"""What goes wrong in a world, as data: a plan is a list of incidents, drawn before anything runs.

Taking one incident out of a plan leaves all the others as they were, so a plan that fails can be made smaller.
Times are seconds from when all machines of the world are up; an incident is over, and what it broke is whole again,
after its `seconds`.
"""

from __future__ import annotations

import typing

import msgspec

DOWN_SECONDS = 1.0
"""How long the power is off after flushes were lost, and a process is down that was killed at a point of the code."""


class _Incident(msgspec.Struct, frozen=True, tag_field="kind", kw_only=True):
    """Something that goes wrong.

    Attributes:
        at: When it begins.
        seconds: How long it lasts.
    """

    at: float
    seconds: float

    @property
    def tag(self) -> str:
        """Its kind, as plans and tokens name it."""
        return str(self.__struct_config__.tag)

    @property
    def words(self) -> str:
        """What it does, without when it begins.

        Example:
            >>> Cut(at=1.0, seconds=2.5, machines=("orders",), others=("mailer", "client"), one_way=True).words
            'nothing gets from orders to mailer or client for 2.5 s'
        """
        return self._words()

    @property
    def _lasting(self) -> str:
        return f"for {self.seconds:g} s"

    def _words(self) -> str:
        raise NotImplementedError


class Kill(_Incident, frozen=True, tag="kill", kw_only=True):
    """The process ends as by `kill -9`, and is started again when the incident is over."""

    machine: str

    def _words(self) -> str:
        return f"{self.machine} is killed, and started again after {self.seconds:g} s"


class KillAt(_Incident, frozen=True, tag="kill_at", kw_only=True):
    """The process is killed at a named point of the code, the first time it passes there after `at`.

    It is started again a second later.
    """

    machine: str
    point: str

    def _words(self) -> str:
        return f"{self.machine} is killed the first time within {self.seconds:g} s that it passes {self.point}"


class PowerLoss(_Incident, frozen=True, tag="power", kw_only=True):
    """The machine goes dark: its process ends, and its disk forgets what was not flushed. It comes back."""

    machine: str

    def _words(self) -> str:
        return f"{self.machine} has no power {self._lasting}; what its disk had not flushed is gone"


class LostFlush(_Incident, frozen=True, tag="lost_flush", kw_only=True):
    """The disk says that it flushed, and did not; at the end of the incident the power is cut for a second.

    No software survives this without a copy elsewhere, so no profile draws it by itself: name it in a plan.
    """

    machine: str

    def _words(self) -> str:
        return f"{self.machine} has a disk that forgets {self._lasting} what it says it flushed; then its power goes"


class Pause(_Incident, frozen=True, tag="pause", kw_only=True):
    """The process stands still, as by SIGSTOP or a long collection of garbage."""

    machine: str

    def _words(self) -> str:
        return f"{self.machine} stands still {self._lasting}"


class SlowDisk(_Incident, frozen=True, tag="slow_disk", kw_only=True):
    """Each access to the disk takes `factor` times as long."""

    machine: str
    factor: float

    def _words(self) -> str:
        return f"{self.machine} has a disk that takes {self.factor:g} times as long {self._lasting}"


class FullDisk(_Incident, frozen=True, tag="full_disk", kw_only=True):
    """Nothing more can be written to the disk."""

    machine: str

    def _words(self) -> str:
        return f"{self.machine} has a full disk {self._lasting}"


class Clock(_Incident, frozen=True, tag="clock", kw_only=True):
    """The machine's wall clock is wrong by `jump` seconds, and then right again. Its monotonic clock goes on."""

    machine: str
    jump: float

    def _words(self) -> str:
        way = "ahead" if self.jump > 0 else "behind"
        return f"{self.machine} has a clock that is {abs(self.jump):g} s {way} {self._lasting}"


class Cut(_Incident, frozen=True, tag="cut", kw_only=True):
    """Nothing gets from `machines` to `others`; nor back, unless `one_way`."""

    machines: tuple[str, ...]
    others: tuple[str, ...]
    one_way: bool = False

    def _words(self) -> str:
        back = "" if self.one_way else ", nor back,"
        return f"nothing gets from {' or '.join(self.machines)} to {' or '.join(self.others)}{back} {self._lasting}"


class Delay(_Incident, frozen=True, tag="delay", kw_only=True):
    """What `machine` sends and receives takes up to `most` seconds longer; it may overtake where `reorder`."""

    machine: str
    most: float
    reorder: bool = False

    def _words(self) -> str:
        order = " and out of order" if self.reorder else ""
        return f"what {self.machine} sends and gets comes up to {self.most:g} s later{order} {self._lasting}"


class Loss(_Incident, frozen=True, tag="loss", kw_only=True):
    """A share of what is sent to and from `machine` gets lost."""

    machine: str
    share: float

    def _words(self) -> str:
        return f"{self.share:.0%} of what {self.machine} sends and gets is lost {self._lasting}"


class Repeat(_Incident, frozen=True, tag="repeat", kw_only=True):
    """A share of what is sent to and from `machine` arrives twice."""

    machine: str
    share: float

    def _words(self) -> str:
        return f"{self.share:.0%} of what {self.machine} sends and gets comes twice {self._lasting}"


class Replace(_Incident, frozen=True, tag="replace", kw_only=True):
    """The process is told to stop, finishes what is under way, and the next version of the code takes its place.

    `seconds` is how long it may take to stop.
    """

    machine: str

    def _words(self) -> str:
        return f"{self.machine} is replaced by the next version, with {self.seconds:g} s to finish"


Incident = (
    Kill | KillAt | PowerLoss | LostFlush | Pause | SlowDisk | FullDisk | Clock | Cut | Delay | Loss | Repeat | Replace
)
"""Something that goes wrong at a time."""

KINDS: dict[str, type[Incident]] = {str(kind.__struct_config__.tag): kind for kind in typing.get_args(Incident)}
"""The kinds of incidents, by their tags."""

Plan = tuple[Incident, ...]
"""What goes wrong in one run, by the time at which it begins."""
