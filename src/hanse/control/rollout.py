"""A rollout: a service on its way from one release to another, as a row; and what is seen of it at one moment.

The row says what should be so: how many instances of each release run, and what share of the requests each has. It is
all that there is: whoever reads it can go on where another has stopped, in the middle of a step, too.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from hanse.contract.model import Model, Resource, collection_of
from hanse.control.plan import Plan, Step

State = Literal[
    "checking",
    "preparing",
    "deploying",
    "trying",
    "stepping",
    "held",
    "rolling_back",
    "done",
    "rolled_back",
    "refused",
]

ENDED: tuple[State, ...] = ("done", "rolled_back", "refused")
"""States of a rollout that is over; a service has at most one that is in another."""

HISTORY_MAX = 200
"""Turns that a row remembers; the first and the latest of them."""

Ruling = Literal["go_on", "wait", "hold", "roll_back"]
"""What the judge says of a step."""

Came = Literal["waiting", "passed", "failed"]
"""What something that is done once has come to."""

Command = Literal["pause", "resume", "promote", "abort"]


class Turn(Model):
    """Something that a rollout came to.

    Attributes:
        at: Wall-clock seconds; for people, nothing is decided by it.
        state: The state that it came to.
        step: Number of the step, from 0.
        share: What the new release was to have of the requests, in basis points.
        why: What brought it about.
        who: Who did, where that was somebody; empty for the controller itself.
        evidence: Of the judge, in JSON; empty where it was not asked.
    """

    at: float
    state: State
    step: int
    share: int
    why: str
    who: str = ""
    evidence: str = ""


class Rollout(Resource, collection="hanse_rollouts", indexed=("service", "state", "release_set")):
    """A service on its way from one release to another.

    Attributes:
        service: Its name.
        old, new: The releases.
        old_source, new_source: Where they are started; empty for where the settings say.
        digest: What the new release consists of, whatever it is called; a veto is of this.
        instances: How many run when nothing is on its way.
        plan: How it is done.
        state: How it stands.
        held_in: The state that it goes on in, once it is held no more.
        step: Number of the step, from 0.
        shown: Whether what the step says of requests is asked for; before, its instances come up.
        share, mirrored: What the new release should have of the requests, and of copies, in basis points.
        new_count, old_count: Instances that should run.
        watched: Seconds for which the step was as it should be, and was looked at.
        waited: Seconds since it came to this state or step.
        lived: Seconds for which it was looked at in all.
        astray: Seconds for which not every edge has gone by the share.
        release_set: Id of the release set that it belongs to; empty for none.
        breaking: Whether it goes on though it may not fit those who run beside it.
        kept_warm: Whether it ends only when its release set does.
        blamed: Whether the new release is to blame for the way back, and is not to be released again.
        who: Who asked for it.
        began_at, ended_at: Wall-clock seconds; 0 for not yet.
        why: What it waits for, or what ended it.
        history: What it came to, in order.
    """

    service: str
    old: str
    new: str
    plan: Plan
    instances: int
    old_source: str = ""
    new_source: str = ""
    digest: str = ""
    state: State = "checking"
    held_in: State = "checking"
    step: int = 0
    shown: bool = False
    share: int = 0
    mirrored: int = 0
    new_count: int = 0
    old_count: int = 0
    watched: float = 0.0
    waited: float = 0.0
    lived: float = 0.0
    astray: float = 0.0
    release_set: str = ""
    breaking: bool = False
    kept_warm: bool = False
    blamed: bool = False
    who: str = ""
    began_at: float = 0.0
    ended_at: float = 0.0
    why: str = ""
    history: tuple[Turn, ...] = ()

    @property
    def now(self) -> Step:
        """The step that it is at."""
        return self.plan.steps[self.step]

    @property
    def is_last(self) -> bool:
        """Whether that is the last one."""
        return self.step == len(self.plan.steps) - 1


class Veto(Resource, collection="hanse_vetoes", indexed=("service",)):
    """A release that was rolled back, and is not released again until somebody lifts this.

    Attributes:
        service: Its name.
        release: How it was called.
        digest: What it consists of.
        rollout: Id of the rollout that was rolled back.
        why: What it was rolled back for.
    """

    service: str
    release: str
    digest: str
    rollout: str
    why: str


class Crew(msgspec.Struct, frozen=True):
    """The instances of one release, as they are.

    Attributes:
        ready: Those that answer, and may be asked.
        running: All that have a process.
        failed: Why no more of it will come up; empty where they may.
    """

    ready: int = 0
    running: int = 0
    failed: str = ""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What is so at one moment.

    Attributes:
        seconds: Since it was looked at before, by a clock that nobody sets; 0 where nobody knows.
        at: Wall-clock seconds.
        new, old: Instances of each release.
        instances: How many are to run when nothing is on its way, by now; 0 where nobody says.
        share, mirrored: What every edge and every node is known to go by, in basis points; None where that is unknown.
        check: Whether the new release fits those who call it, and what is stored.
        hook: What the command came to that is run once per rollout.
        trial: What the new release answered to requests that only it was sent.
        leftover: Whether the command still runs though nobody waits for what it comes to.
        requests: How many it has answered within this step.
        ruling: What the judge says of it.
        why: Why; of the judge, or of what failed.
        evidence: Of the judge, in JSON.
    """

    seconds: float = 0.0
    at: float = 0.0
    new: Crew = Crew()
    old: Crew = Crew()
    instances: int = 0
    share: int | None = None
    mirrored: int | None = None
    check: Came = "waiting"
    hook: Came = "waiting"
    trial: Came = "waiting"
    leftover: bool = False
    requests: int = 0
    ruling: Ruling = "wait"
    why: str = ""
    evidence: str = ""


ROLLOUTS = collection_of(Rollout)
VETOES = collection_of(Veto)
