"""What commands ask a running system over its control socket, and what it answers: one JSON object a line."""

from __future__ import annotations

from typing import Literal

import msgspec

from hanse.control.instances import Phase
from hanse.deploy.release_words import ReleaseAsk, ReleasesTold, RolloutAsk

ASK_BYTES_MAX = 64 * 1024
ANSWER_BYTES_MAX = 8 * 1024 * 1024

Verb = Literal["status", "restart", "scale", "stop", "down", "release", "rollout"]


class Ask(msgspec.Struct, frozen=True):
    """What a command wants.

    Attributes:
        verb: See the commands of these names.
        services: Which; empty for all.
        instances: How many of which, to scale.
        release: What is to be released.
        rollout: What is asked about rollouts.
    """

    verb: Verb
    services: tuple[str, ...] = ()
    instances: dict[str, int] = {}
    release: ReleaseAsk | None = None
    rollout: RolloutAsk | None = None


class Row(msgspec.Struct, frozen=True):
    """An instance, as it is shown.

    Attributes:
        instance: Its name.
        service: Whose it is.
        release: Of which release.
        phase: What it is at.
        since: Second since 1970 at which that began.
        why: What keeps it, or what ended it.
        pid: Of its process; 0 where there is none.
        port: Where that listens.
        restarts: How often it ended.
        tail: Its last lines, where it was given up.
    """

    instance: str
    service: str
    release: str
    phase: Phase
    since: float
    why: str
    pid: int
    port: int
    restarts: int
    tail: tuple[str, ...] = ()


class Wish(msgspec.Struct, frozen=True):
    """A service, as somebody wants it: how many there should be."""

    service: str
    instances: int
    job: bool = False


class Status(msgspec.Struct, frozen=True):
    """How a system is.

    Attributes:
        project: Its folder.
        edge: URL of its door; empty where there is none.
        keeper: Process id of its keeper, supervisor: of its supervisor.
        services: What should run.
        instances: What runs.
        ending: Whether all is to end.
        shown, seen: Revision of the table that the edge is to show, and of the one that is in force there.
        problem: What is wrong with the settings as they are now; those from before are in force.
    """

    project: str
    edge: str
    keeper: int
    supervisor: int
    services: tuple[Wish, ...]
    instances: tuple[Row, ...]
    ending: bool = False
    shown: int = 0
    seen: int = 0
    problem: str = ""


class Refused(msgspec.Struct, frozen=True):
    """Why a command is not carried out."""

    code: str
    detail: str


class Answer(msgspec.Struct, frozen=True):
    """What a command gets: how the system is, how its releases are, or why not."""

    status: Status | None = None
    releases: ReleasesTold | None = None
    refused: Refused | None = None


def is_settled(status: Status) -> bool:
    """Whether all that should run is ready, nothing else is there, and the edge goes by that.

    Example:
        >>> is_settled(Status("", "", 1, 2, (), ()))
        True
    """
    for wish in status.services:
        mine = [row for row in status.instances if row.service == wish.service]
        there = [row for row in mine if row.phase in {"ready", "done"}]
        if len(there) != wish.instances or len(mine) != wish.instances:
            return False
    return status.seen >= status.shown


def given_up(status: Status) -> list[Row]:
    """Those that will not become ready by themselves."""
    return [row for row in status.instances if row.phase == "crash loop"]
