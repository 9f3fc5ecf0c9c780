"""What a failure looks like to whoever has to mend it: text that says what broke, how to see it again, and why."""

from __future__ import annotations

from typing import assert_never

from hanse.sim.check import Violation
from hanse.sim.diverge import Divergence, divergence
from hanse.sim.explain import Finding, Passing
from hanse.sim.failure import Failure
from hanse.sim.plan import (
    Clock,
    Cut,
    Delay,
    FullDisk,
    Incident,
    Kill,
    KillAt,
    Loss,
    LostFlush,
    Pause,
    Plan,
    PowerLoss,
    Repeat,
    Replace,
    SlowDisk,
)
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


def report(finding: Finding, name: str, target: str, *, colour: bool = False, width: int = WIDTH) -> str:
    """A failure in words.

    Args:
        finding: What is known of it.
        name: Of the simulation.
        target: What to type after `hanse sim` to run it; empty where it cannot be run from there.
        colour: Whether headings and what did not hold are to stand out.
        width: Characters of a line of the diagrams.
    """
    bold, red, plain = (BOLD, RED, PLAIN) if colour else ("", "", "")
    paper = _Paper(bold, plain)
    failure, smallest = finding.failure, finding.smallest
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
    paper.part(_plan_heading(finding), plan_words(smallest.plan))
    apart = None
    if finding.passing is not None:
        apart = divergence(smallest.effects, finding.passing.outcome.effects, _called(finding.passing))
        heading, *words = apart.words().splitlines()
        paper.part(heading, words, indent="")
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
        >>> plan_words((Kill(at=3.2, seconds=0.5, machine="orders"),))
        ['   3.200 s  orders is killed, and started again after 0.5 s']
        >>> plan_words(())
        ['nothing goes wrong']
    """
    return [f"{incident.at:8.3f} s  {words(incident)}" for incident in plan] or ["nothing goes wrong"]


def words(incident: Incident) -> str:
    """An incident in words, without when it begins.

    Example:
        >>> words(Cut(at=1.0, seconds=2.5, machines=("orders",), others=("mailer", "client"), one_way=True))
        'nothing gets from orders to mailer or client for 2.5 s'
    """
    match incident:
        case Cut(machines=machines, others=others, one_way=one_way):
            back = "" if one_way else ", nor back,"
            return (
                f"nothing gets from {' or '.join(machines)} to {' or '.join(others)}{back} for {incident.seconds:g} s"
            )
        case Delay(machine=machine, most=most, reorder=reorder):
            order = " and out of order" if reorder else ""
            return f"what {machine} sends and gets comes up to {most:g} s later{order} for {incident.seconds:g} s"
        case Loss(machine=machine, share=share):
            return f"{share:.0%} of what {machine} sends and gets is lost for {incident.seconds:g} s"
        case Repeat(machine=machine, share=share):
            return f"{share:.0%} of what {machine} sends and gets comes twice for {incident.seconds:g} s"
        case _:
            return f"{incident.machine} {_machine_words(incident)}"


def _machine_words(
    incident: Kill | KillAt | PowerLoss | LostFlush | Pause | SlowDisk | FullDisk | Clock | Replace,
) -> str:
    seconds = f"{incident.seconds:g} s"
    match incident:
        case Kill():
            text = f"is killed, and started again after {seconds}"
        case KillAt(point=point):
            text = f"is killed the first time within {seconds} that it passes {point}"
        case PowerLoss():
            text = f"has no power for {seconds}; what its disk had not flushed is gone"
        case LostFlush():
            text = f"has a disk that forgets for {seconds} what it says it flushed; then its power goes"
        case Pause():
            text = f"stands still for {seconds}"
        case SlowDisk(factor=factor):
            text = f"has a disk that takes {factor:g} times as long for {seconds}"
        case FullDisk():
            text = f"has a full disk for {seconds}"
        case Clock(jump=jump):
            text = f"has a clock that is {abs(jump):g} s {'ahead' if jump > 0 else 'behind'} for {seconds}"
        case Replace():
            text = f"is replaced by the next version, with {seconds} to finish"
        case _:
            assert_never(incident)
    return text


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


def _plan_heading(finding: Finding) -> str:
    assert finding.smallest is not None
    weather = ", in calm weather" if Token.parse(finding.smallest.token).calm else ""
    if finding.shrunk is None:
        return f"What goes wrong{weather}:"
    less = "" if finding.shrunk.complete else "; there was no time for more"
    return f"The least that has to go wrong ({finding.shrunk.runs} runs, from {finding.incidents}{weather}{less}):"


def _called(passing: Passing) -> str:
    if passing.left_out is None:
        return Token.parse(passing.outcome.token).encode()
    return f'the same run without "{words(passing.left_out)}"'


def _diagrams(failing: Outcome, apart: Divergence | None, width: int) -> list[tuple[str, str]]:
    """What happened: where it went wrong and what came of it, in one where the two are near each other."""
    effects = failing.effects
    end = next((place for place, effect in enumerate(effects) if effect.kind == "violation"), len(effects) - 1) + 1
    turned = end if apart is None or apart.first is None else min(end, apart.first.index + AFTER_SHOWN)
    if _is_near(effects, turned, end):
        return [("What happened:", sequence(effects[:end], width=width))]
    return [
        ("What happened when it went another way:", sequence(effects[:turned], width=width)),
        ("What it came to:", sequence(effects[:end], last=LAST_SHOWN, width=width)),
    ]


def _is_near(effects: tuple[Effect, ...], turned: int, end: int) -> bool:
    return end - turned <= LAST_SHOWN or not effects
