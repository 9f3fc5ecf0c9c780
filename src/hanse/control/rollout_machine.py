"""What becomes of a rollout: the decisions, as functions of its row and of what is seen at one moment.

    checking -> preparing -> deploying -> trying -> stepping (step 0, 1, ...) -> done
        |           |            |           |          |
     refused        +------------+-----------+----------+-> rolling_back -> rolled_back
                                                 and from any that is live: held, and back to where it was

Within a step: the instances that it asks for come up; then its share is asked for; once every edge goes by that, the
old release's instances go that are one too many, and time begins to count. So a request never meets a release that is
not there, and seconds in which half the edges went by something else are no evidence.

A beat takes a row and gives the next. It asks no clock: seconds come in, and no more than `BEAT_SECONDS_MAX` at once
count, so that a controller that was away, or whose clock was set, has not watched meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from hanse.control.plan import resized
from hanse.control.rollout import ENDED, HISTORY_MAX, Command, Rollout, Seen, State, Turn
from hanse.kernel.faults import Conflict

BEAT_SECONDS_MAX = 2.0
"""Seconds that one beat counts at the most."""

DEPLOY_SECONDS = 600.0
"""How long instances may take to come up before that is taken to be the release's fault."""

ONCE_SECONDS = 1_800.0
"""How long what is done once may take (a check, a hook, a trial) before somebody has to look."""

FORCE_SECONDS = 60.0
"""How long edges may go by something else than what is asked before somebody has to look."""

LOOKED_AT: tuple[State, ...] = ("deploying", "trying", "stepping")
"""States in which the new release can do harm, or show that it cannot run."""


def begun(row: Rollout, *, at: float) -> Rollout:
    """A rollout as it is before its first beat: the old release has everything.

    Args:
        row: What is wanted.
        at: Wall-clock seconds.
    """
    first = replace(row, state="checking", step=0, shown=False, share=0, mirrored=0, new_count=0)
    return _turned(
        replace(first, old_count=row.instances, began_at=at), "checking", at=at, why="asked for", who=row.who
    )


def beat(row: Rollout, seen: Seen) -> Rollout:
    """The row as it should be next; the same one where nothing but time has passed.

    Args:
        row: As it is stored.
        seen: What is so now.
    """
    if row.state in ENDED:
        return row
    seconds = min(max(seen.seconds, 0.0), BEAT_SECONDS_MAX)
    row = replace(row, waited=row.waited + seconds, lived=row.lived + seconds)
    if seen.instances and seen.instances != row.instances:
        row = _resized(row, seen.instances, at=seen.at)
    state = row.held_in if row.state == "held" else row.state
    if state in LOOKED_AT and (harm := _harm(row, seen)):
        return _back(row, harm, at=seen.at, evidence=seen.evidence, blamed=True)
    return _BEATS[row.state](row, seen, seconds)


def commanded(row: Rollout, command: Command, *, who: str, at: float) -> Rollout:
    """The row after somebody said what to do.

    Args:
        row: As it is stored.
        command: `pause`, `resume`, `promote` (the new release gets all requests at once) or `abort` (none).
        who: Who said so.
        at: Wall-clock seconds.

    Raises:
        Conflict: There is nothing of the kind to do; says what there is.
    """
    held = row.state == "held"
    state = row.held_in if held else row.state
    if row.state in ENDED or row.state == "rolling_back":
        raise Conflict(f"the rollout of {row.service} {row.new} is {_words(row.state)}: there is nothing to {command}")
    if command == "abort":
        return _back(row, "aborted", at=at, who=who)
    if command == "pause" and not held:
        return _held(row, "paused", at=at, who=who)
    if command == "resume" and held:
        return _turned(row, row.held_in, at=at, why="resumed", who=who)
    if command == "promote" and state == "stepping":
        if row.is_last and row.shown:
            return _ended(row, "done", at=at, why="promoted", who=who)
        last = replace(row, step=len(row.plan.steps) - 1, shown=False, new_count=row.plan.steps[-1].new)
        return _turned(last, "stepping", at=at, why="promoted", who=who)
    can = ("resume, promote or abort" if state == "stepping" else "resume or abort") if held else "pause or abort"
    raise Conflict(f"the rollout of {row.service} {row.new} is {_words(row.state)}: it cannot {command}, but {can}")


def shared(row: Rollout, share: int, *, who: str, at: float) -> Rollout:
    """The row after somebody gave the new release another share by hand; it is held there until they resume it.

    Args:
        row: As it is stored.
        share: In basis points.
        who: Who said so.
        at: Wall-clock seconds.

    Raises:
        Conflict: The new release has no share yet, or no longer.
    """
    state = row.held_in if row.state == "held" else row.state
    if state != "stepping" or not row.shown:
        raise Conflict(
            f"the rollout of {row.service} {row.new} is {_words(row.state)}: its share can be set while it is stepping"
        )
    if not row.old_count:
        raise Conflict(f"the rollout of {row.service} {row.new} has no instance of {row.old} left to share with")
    there = row if row.state != "held" else replace(row, state=row.held_in)
    return _held(replace(there, share=share), f"a share of {share / 100:g} % by hand", at=at, who=who)


def _resized(row: Rollout, instances: int, *, at: float) -> Rollout:
    """With as many instances as somebody wants by now: both releases get their part of them at once."""
    state = row.held_in if row.state == "held" else row.state
    plan, before = resized(row.plan, instances), row.instances
    row = replace(row, plan=plan, instances=instances, waited=0.0)
    if state == "rolling_back":
        return replace(row, old_count=instances)
    old = instances
    if state == "stepping":
        reached = row.step if row.shown else row.step - 1
        old = plan.steps[reached].old if reached >= 0 else instances
        if plan.strategy == "rolling":
            # Of whom an edge may count on yet, none goes before the new one's are there.
            old = max(old, min(row.old_count, instances))
    row = replace(row, old_count=old, new_count=row.now.new if row.new_count else 0)
    return _noted(row, row.state, at=at, why=f"{instances} instances are wanted, and not {before}")


def _checking(row: Rollout, seen: Seen, _seconds: float) -> Rollout:
    if seen.check == "failed":
        return _ended(replace(row, old_count=row.instances), "refused", at=seen.at, why=seen.why or "it does not fit")
    if seen.check == "passed":
        return _turned(row, "preparing", at=seen.at, why="it fits")
    return _patient(row, seen, ONCE_SECONDS, "nobody has said whether it fits")


def _preparing(row: Rollout, seen: Seen, _seconds: float) -> Rollout:
    if seen.hook == "failed":
        return _back(row, seen.why or "the release hook failed", at=seen.at, blamed=True)
    if seen.hook == "passed" and seen.share == 0:
        # Who knows of no share yet would ask the new release as soon as it is there.
        up = replace(row, new_count=row.plan.steps[0].new)
        return _turned(up, "deploying", at=seen.at, why="prepared")
    is_done = seen.hook == "passed"
    waits = "not every edge and node knows yet that it has no share" if is_done else "the release hook has not ended"
    return _patient(row, seen, ONCE_SECONDS, waits)


def _deploying(row: Rollout, seen: Seen, _seconds: float) -> Rollout:
    if seen.new.ready >= row.new_count:
        return _turned(row, "trying", at=seen.at, why=f"{seen.new.ready} ready")
    if row.waited > DEPLOY_SECONDS:
        why = f"{seen.new.ready} of {row.new_count} instances were ready after {DEPLOY_SECONDS:g} s"
        return _back(row, why, at=seen.at, blamed=True)
    return row


def _trying(row: Rollout, seen: Seen, _seconds: float) -> Rollout:
    if seen.trial == "failed":
        return _back(row, seen.why or "the trial failed", at=seen.at, blamed=True)
    if seen.trial == "passed":
        return _turned(row, "stepping", at=seen.at, why="tried")
    return _patient(row, seen, ONCE_SECONDS, "the trial has not ended")


def _stepping(row: Rollout, seen: Seen, seconds: float) -> Rollout:
    step = row.now
    if row.shown:
        in_force = (seen.share, seen.mirrored) == (row.share, row.mirrored)
        return _watching(row, seen, seconds) if in_force else _astray(row, seen, seconds)
    if seen.new.ready < step.new:
        return _patient(row, seen, DEPLOY_SECONDS, f"{seen.new.ready} of {step.new} instances are ready")
    shown = replace(row, shown=True, share=step.share, mirrored=step.mirrored)
    return _turned(shown, "stepping", at=seen.at, why=f"{seen.new.ready} ready")


def _astray(row: Rollout, seen: Seen, seconds: float) -> Rollout:
    row = replace(row, astray=row.astray + seconds)
    why = f"not every edge and node goes by a share of {row.share / 100:g} %, after {FORCE_SECONDS:g} s"
    return _held(row, why, at=seen.at) if row.astray > FORCE_SECONDS else row


def _watching(row: Rollout, seen: Seen, seconds: float) -> Rollout:
    step = row.now
    row = replace(row, astray=0.0)
    if seen.new.ready >= step.new:
        # Whoever has ended since it was ready takes the place of nobody.
        row = replace(row, old_count=step.old, watched=row.watched + seconds)
    if _over(row, seen):
        return _next(row, seen)
    if seen.ruling == "hold" and step.ends == "judged":
        return _held(row, seen.why or "the judge cannot tell", at=seen.at, evidence=seen.evidence)
    if step.patience and row.waited > step.patience:
        why = seen.why or f"{seen.requests} requests in {row.watched:.0f} s are too few to tell"
        return _held(row, why, at=seen.at, evidence=seen.evidence)
    return row


def _over(row: Rollout, seen: Seen) -> bool:
    """Whether what ends the step is there."""
    step = row.now
    if row.watched < step.seconds or seen.requests < step.requests or seen.new.ready < step.new:
        return False
    if row.is_last and row.kept_warm:
        return False
    return step.ends == "unharmed" or (step.ends == "judged" and seen.ruling == "go_on")


def _next(row: Rollout, seen: Seen) -> Rollout:
    why = seen.why or f"unharmed for {row.watched:.0f} s"
    if row.is_last:
        return _ended(row, "done", at=seen.at, why=why, evidence=seen.evidence)
    after = replace(row, step=row.step + 1, shown=False, new_count=row.plan.steps[row.step + 1].new)
    return _turned(after, "stepping", at=seen.at, why=why, evidence=seen.evidence)


def _holding(row: Rollout, _seen: Seen, _seconds: float) -> Rollout:
    return row


def _rolling_back(row: Rollout, seen: Seen, _seconds: float) -> Rollout:
    if row.share and not seen.old.ready:
        waits = f"no instance of {row.old} is ready {seen.old.failed}".rstrip()
        return replace(row, why=f"{row.history[-1].why}; {waits}")
    row = replace(row, share=0)
    if (seen.share, seen.mirrored) != (0, 0):
        return row
    row = replace(row, new_count=0)
    if seen.new.running or seen.old.ready < row.instances or seen.leftover:
        # Whoever releases next may run a command of the same kind: never two at once.
        return row
    return _ended(row, "rolled_back", at=seen.at, why=row.history[-1].why)


_BEATS: Mapping[State, Callable[[Rollout, Seen, float], Rollout]] = {
    "checking": _checking,
    "preparing": _preparing,
    "deploying": _deploying,
    "trying": _trying,
    "stepping": _stepping,
    "held": _holding,
    "rolling_back": _rolling_back,
}


def _harm(row: Rollout, seen: Seen) -> str:
    """What speaks against the new release for certain; empty for nothing."""
    if seen.ruling == "roll_back":
        return seen.why or "the judge says so"
    return f"{row.new} does not run: {seen.new.failed}" if seen.new.failed else ""


def _back(row: Rollout, why: str, *, at: float, who: str = "", evidence: str = "", blamed: bool = False) -> Rollout:
    """On its way back: all requests to the old release first, and what else there is after that."""
    back = replace(row, old_count=row.instances, mirrored=0, shown=False, blamed=blamed)
    # Where the old release still has somebody, it gets everything at once, be it many for few: that is better than
    # what is known to be bad. Where it has nobody left (a rolling one at its end), it comes up first.
    if row.now.old or row.old_count:
        back = replace(back, share=0)
    return _turned(replace(back, why=why), "rolling_back", at=at, why=why, who=who, evidence=evidence)


def _held(row: Rollout, why: str, *, at: float, who: str = "", evidence: str = "") -> Rollout:
    held = replace(row, held_in=row.state)
    return _turned(held, "held", at=at, why=why, who=who, evidence=evidence)


def _patient(row: Rollout, seen: Seen, seconds: float, why: str) -> Rollout:
    """Waits, and has somebody look where it took too long."""
    row = replace(row, why=why)
    return _held(row, f"{why}, after {seconds:g} s", at=seen.at) if row.waited > seconds else row


def _ended(row: Rollout, state: State, *, at: float, why: str, who: str = "", evidence: str = "") -> Rollout:
    done = state == "done"
    over = replace(row, ended_at=at, mirrored=0, old_count=0 if done else row.old_count)
    return _turned(over, state, at=at, why=why, who=who, evidence=evidence)


def _turned(row: Rollout, state: State, *, at: float, why: str, who: str = "", evidence: str = "") -> Rollout:
    """In another state or step, or at another share: time begins anew, and it is remembered why."""
    row = _noted(row, state, at=at, why=why, who=who, evidence=evidence)
    return replace(row, state=state, watched=0.0, waited=0.0, astray=0.0, why=why)


def _noted(row: Rollout, state: State, *, at: float, why: str, who: str = "", evidence: str = "") -> Rollout:
    """With one turn more that is remembered."""
    turn = Turn(at=at, state=state, step=row.step, share=row.share, why=why, who=who, evidence=evidence)
    known = (*row.history, turn)
    if len(known) > HISTORY_MAX:
        half = HISTORY_MAX // 2
        known = (*known[:half], *known[-half:])
    return replace(row, history=known)


def _words(state: State) -> str:
    return state.replace("_", " ")
