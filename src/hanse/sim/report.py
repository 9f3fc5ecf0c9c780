"""What a failure looks like to whoever has to mend it: text that says what broke, how to see it again, and why."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from msgspec.structs import replace

from hanse.sim.check import Violation
from hanse.sim.diverge import Difference, Divergence, divergence
from hanse.sim.explain import Diagnosis, Passing
from hanse.sim.failure import Failure
from hanse.sim.observe.feeds import MACHINE, Feeds
from hanse.sim.plan import Plan
from hanse.sim.run import Outcome
from hanse.sim.sequence import WIDTH, sequence
from hanse.sim.token import Token
from hanse.sim.trace import Effect

VIOLATIONS_SHOWN = 5
"""Violations of one run that a report tells; the first one ended the run."""

AFTER_SHOWN = 40
"""Effects that are shown after the one at which a failing run left the way of one that passes."""

LAST_SHOWN = 20
"""Effects that are shown before the violation, where that comes long after."""

BOLD, RED, PLAIN = "\033[1m", "\033[31;1m", "\033[0m"


def report(diagnosis: Diagnosis, name: str, target: str, *, colour: bool = False, width: int = WIDTH) -> str:
    """A failure in words.

    Args:
        diagnosis: What is known of it.
        name: Of the simulation.
        target: What to type after `hanse sim` to run it; empty where it cannot be run from there.
        colour: Whether headings and what did not hold are to stand out.
        width: Characters of a line of the diagrams.
    """
    bold, red, plain = (BOLD, RED, PLAIN) if colour else ("", "", "")
    paper = _Paper(bold, plain)
    failure, smallest = diagnosis.failure, diagnosis.smallest
    seen = failure.violations if smallest is None else smallest.violations
    paper.lines.append(f"{red}{name} does not hold under {failure.token}: {seen[0].check}{plain}")
    paper.lines += _violations(seen)
    token = failure.token if smallest is None else smallest.token
    paper.part("To run it again:", [replay(token, target, shuffle=failure.shuffle)])
    if failure.is_apart:
        return paper.text
    if smallest is None:
        paper.part("Run again, it did not fail the same way:", [_wavering(failure)])
        return paper.text
    paper.part(_plan_heading(diagnosis), plan_words(smallest.plan))
    apart = None if diagnosis.passing is None else _apart(smallest, diagnosis.passing)
    if apart is not None:
        heading, *lines = apart.words().splitlines()
        paper.part(heading, lines, indent="")
    for heading, drawn in _diagrams(smallest, apart, width):
        paper.part(heading, drawn.splitlines(), indent="")
    return paper.text


class _Paper:
    """Lines, in parts with headings."""

    def __init__(self, bold: str, plain: str) -> None:
        self.lines: list[str] = []
        self._bold = bold
        self._plain = plain

    def part(self, heading: str, lines: list[str], *, indent: str = "  ") -> None:
        """Add a part."""
        self.lines += ["", f"{self._bold}{heading}{self._plain}", *(f"{indent}{line}" for line in lines)]

    @property
    def text(self) -> str:
        """All of it."""
        return "\n".join(self.lines)


def replay(token: str, target: str, *, shuffle: bool = False) -> str:
    """The command that makes a run again.

    Example:
        >>> replay("hostile-17", "worlds.py:story")
        'hanse sim worlds.py:story --replay hostile-17'
        >>> replay("hostile-17", "")
        'HANSE_SIM_REPLAY=hostile-17, and the test once more'
    """
    if not target:
        return f"HANSE_SIM_REPLAY={token}, and the test once more"
    return f"hanse sim {target} --replay {token}{' --shuffle' if shuffle else ''}"


def plan_words(plan: Plan) -> list[str]:
    """A plan, an incident a line.

    Example:
        >>> from hanse.sim.plan import Kill
        >>> plan_words((Kill(at=3.2, seconds=0.5, machine="orders"),))
        ['   3.200 s  orders is killed, and started again after 0.5 s']
        >>> plan_words(())
        ['nothing goes wrong']
    """
    return [f"{incident.at:8.3f} s  {incident.words}" for incident in plan] or ["nothing goes wrong"]


def _violations(violations: tuple[Violation, ...]) -> list[str]:
    shown = [
        f"  {line}"
        for one in violations[:VIOLATIONS_SHOWN]
        for line in f"{one.check}, at second {one.at:.3f}: {one.detail}".splitlines()
    ]
    more = len(violations) - VIOLATIONS_SHOWN
    return [*shown, f"  and {more} more"] if more > 0 else shown


def _wavering(failure: Failure) -> str:
    first = failure.violations[0]
    return (
        f"{first.check} held, or something else broke first. What it does is not decided by its seed alone: look for"
        " module state, the order of sets, real clocks and real randomness."
    )


def _plan_heading(diagnosis: Diagnosis) -> str:
    assert diagnosis.smallest is not None
    calm = Token.parse(diagnosis.smallest.token).calm if diagnosis.shrunk is None else diagnosis.shrunk.calm_weather
    weather = ", in calm weather" if calm else ""
    if diagnosis.shrunk is None:
        return f"What goes wrong{weather}:"
    less = "" if diagnosis.shrunk.complete else "; there was no time for more"
    return f"The least that has to go wrong ({diagnosis.shrunk.runs} runs, from {diagnosis.incidents}{weather}{less}):"


def _called(passing: Passing) -> str:
    if passing.left_out is None:
        return passing.outcome.token
    return f'the same run without "{passing.left_out.words}"'


def _apart(failing: Outcome, passing: Passing) -> Divergence:
    """Where a run left the way of another one; of those who only look on, nothing that has nothing to do with it."""
    found = divergence(failing.effects, passing.outcome.effects, _called(passing))
    if _is_about_onlookers(failing, found.first):
        return found
    return replace(found, machines=tuple(one for one in found.machines if one.machine != MACHINE))


def _diagrams(failing: Outcome, apart: Divergence | None, width: int) -> list[tuple[str, str]]:
    """What happened: where it went wrong and what came of it, in one where the two are near each other."""
    first = None if apart is None else apart.first
    places, effects = _drawn(failing, first)
    end = next((place for place, effect in enumerate(effects) if effect.kind == "violation"), len(effects) - 1) + 1
    turned = end if first is None else min(end, bisect_left(places, first.index) + AFTER_SHOWN)
    if end - turned <= LAST_SHOWN:
        return [("What happened:", sequence(effects[:end], width=width))]
    return [
        ("What happened when it went another way:", sequence(effects[:turned], width=width)),
        ("What it came to:", sequence(effects[:end], last=LAST_SHOWN, width=width)),
    ]


def _drawn(failing: Outcome, first: Difference | None) -> tuple[Sequence[int], Sequence[Effect]]:
    """What is drawn of a run, and the place of each among all effects."""
    if _is_about_onlookers(failing, first):
        return range(len(failing.effects)), failing.effects
    drawn = [(place, effect) for place, effect in enumerate(failing.effects) if not _is_looking_on(effect)]
    return [place for place, _ in drawn], [effect for _, effect in drawn]


def _is_about_onlookers(failing: Outcome, first: Difference | None) -> bool:
    """Whether what is wrong is what they read in feeds, or the run went another way with them."""
    turned = () if first is None else (first.one, first.other)
    return any(one.check == Feeds.name for one in failing.violations) or any(map(_is_looking_on, turned))


def _is_looking_on(effect: Effect | None) -> bool:
    return effect is not None and MACHINE in {effect.machine, effect.peer}
