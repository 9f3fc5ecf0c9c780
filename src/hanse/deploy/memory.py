"""What a supervisor has the next one know; what release hooks came to is a part of it. Pure."""

from __future__ import annotations

from collections.abc import Container

import msgspec
from msgspec.structs import replace

from hanse.control.instances import System
from hanse.control.rollout import Came
from hanse.control.wishes import Wishes

HOOK = "hook@"
"""Begins the names of the processes of release hooks."""

RUNNING = "running"
HOOKS_MAX = 50
"""Release hooks of which it is remembered what they came to."""


class Memory(msgspec.Struct, frozen=True):
    """What the next supervisor has to know.

    Attributes:
        system: What runs.
        wishes: What somebody wished for.
        ports: That of each instance, which it keeps.
        hooks: What release hooks failed with, by name; empty for well, `RUNNING` for not yet.
    """

    system: System = System()
    wishes: Wishes = Wishes()
    ports: dict[str, int] = {}
    hooks: dict[str, str] = {}


def hook_came(memory: Memory, name: str) -> tuple[Came, str] | None:
    """What a hook has come to, and what it failed with; None where it has never begun.

    Example:
        >>> hook_came(Memory(hooks={"hook-1": "no such table"}), "hook-1")
        ('failed', 'no such table')
    """
    known = memory.hooks.get(name)
    if known is None:
        return None
    if known == RUNNING:
        return "waiting", ""
    return ("failed", known) if known else ("passed", "")


def hook_begun(memory: Memory, name: str) -> Memory:
    """With a hook that begins; the oldest are forgotten."""
    return replace(memory, hooks={**dict(list(memory.hooks.items())[1 - HOOKS_MAX :]), name: RUNNING})


def hook_ended(memory: Memory, process: str, code: int | None, why: str) -> Memory:
    """With a hook that has ended.

    Args:
        memory: From before.
        process: That of the hook.
        code: What it ended with; None where that is not known.
        why: It could not be started.

    Example:
        >>> hook_ended(Memory(), "hook@hook-1", 3, "").hooks
        {'hook-1': 'the release hook failed: exit code 3'}
    """
    failed = "" if code == 0 else f"the release hook failed: {why or f'exit code {code}'}"
    return replace(memory, hooks={**memory.hooks, process.removeprefix(HOOK): failed})


def hooks_begun_among(memory: Memory, held: Container[str]) -> Memory:
    """Without hooks that were about to begin when whoever wanted that was killed, and never did.

    They are begun by whoever goes on. A keeper has a process until it is told that its end is known, and what is known
    is remembered first: so what it has not, and nobody knows the end of, never ran.

    Args:
        memory: From before.
        held: Names of the processes that the keeper has.

    Example:
        >>> before = hook_begun(hook_begun(Memory(), "hook-1"), "hook-2")
        >>> hooks_begun_among(before, ["hook@hook-2"]).hooks
        {'hook-2': 'running'}
    """
    begun = {name: came for name, came in memory.hooks.items() if came != RUNNING or HOOK + name in held}
    return replace(memory, hooks=begun)
