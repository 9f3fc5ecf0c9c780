"""Replay tokens: one short word that names a run exactly, to be printed, typed and kept.

    hostile-17                        profile and seed: everything that was drawn
    hostile-17-c                      the same incidents in calm weather
    hostile-17-x3f                    only the incidents whose bits are set, the first is bit 0
    hostile-17-kill:3.2:0.5:orders    the same weather, and these incidents whatever would be drawn
    calm-17-kill:3.2:0.5:orders       calm weather, and these incidents

The last forms are for plans that nobody drew: shrunk ones, and ones that were written by hand. Each incident is its
kind, when it begins, how long it lasts, and its arguments in the order of `hanse.sim.plan`; lists are joined by `+`,
and incidents by commas: `cut:1:2:orders:payments+client,power:4:1:orders`. Nothing in it means anything to a shell.

Nothing is said twice: calm weather has a `c` only where it is not that of the profile, and where neither incidents nor
weather are drawn from a profile, the token is one of `calm`.
"""

from __future__ import annotations

import math
import re
import typing
from collections.abc import Sequence
from urllib.parse import quote, unquote

import msgspec

from hanse.kernel.faults import Misconfigured
from hanse.sim.plan import KINDS, Clock, Cut, Delay, Incident, Loss, Plan, Repeat, SlowDisk
from hanse.sim.profile import CALM

TOKEN_LENGTH_MAX = 65_536
"""Characters of a token; far more than the longest plan that is drawn takes."""

SHAPES = "hostile-17, hostile-17-c, hostile-17-x3f or calm-17-kill:3.2:0.5:orders"
"""What tokens look like, for whoever typed something else."""

_TOKEN = re.compile(
    r"(?P<profile>[a-z][a-z0-9_]*)-(?P<seed>[0-9]{1,20})(?P<calm>-c(?=-|$))?"
    r"(?:-x(?P<kept>[0-9a-f]+)|-(?P<plan>[a-z_]+:.+))?"
)
_SAFE_SHOWN = 80


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """The name of a run.

    Attributes:
        profile: Name of the profile that incidents and weather are drawn from; `calm` where neither are.
        seed: What they, and every choice of the run, are drawn from.
        calm: Whether the weather is calm: as with the profile `calm`, or instead of what is drawn.
        kept: Bit mask of the drawn incidents that happen; None for all.
        plan: The incidents, where they are not those that are drawn.

    Raises:
        Misconfigured: No run can be meant by it.

    Example:
        >>> Token.parse("hostile-17-x3f")
        Token(profile='hostile', seed=17, calm=False, kept=63, plan=None)
        >>> Token(profile="power", seed=3, calm=True).encode()
        'power-3-c'
        >>> Token(profile="power", seed=3, calm=True, plan=()).encode()
        'calm-3'
    """

    profile: str
    seed: int
    calm: bool = False
    kept: int | None = None
    plan: Plan | None = None

    def __post_init__(self) -> None:
        if self.seed < 0 or (self.kept or 0) < 0:
            raise Misconfigured(f"a seed and a mask are 0 or more, not {self.seed} and {self.kept}")
        if self.kept is not None and self.plan is not None:
            raise Misconfigured("a token keeps some of the drawn incidents or has a plan of its own, not both")
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.profile):
            raise Misconfigured(f"{self.profile!r} is no name of a profile; a token looks like {SHAPES}")

    def encode(self) -> str:
        """The token as text; that of two that mean the same run is the same.

        Raises:
            Misconfigured: Its plan is too long for one.
        """
        calm = self.calm or self.profile == CALM
        nothing_drawn = calm and (self.plan is not None or self.kept == 0)
        parts = [CALM if nothing_drawn else self.profile, str(self.seed)]
        if calm and parts[0] != CALM:
            parts.append("c")
        if self.plan:
            parts.append(",".join(map(_written, self.plan)))
        elif not nothing_drawn and (self.plan is not None or self.kept is not None):
            parts.append(f"x{self.kept or 0:x}")
        text = "-".join(parts)
        if len(text) > TOKEN_LENGTH_MAX:
            raise Misconfigured(
                f"a plan of {len(self.plan or ())} incidents is too long for a token; leave some of them out"
            )
        return text

    @staticmethod
    def parse(text: str) -> Token:
        """A token that somebody typed.

        Raises:
            Misconfigured: It cannot be read; tells what one looks like.
        """
        found = _TOKEN.fullmatch(text) if len(text) <= TOKEN_LENGTH_MAX else None
        if found is None:
            raise Misconfigured(f"{_shown(text)} is no replay token; one looks like {SHAPES}")
        kept, plan = found["kept"], found["plan"]
        return Token(
            profile=found["profile"],
            seed=int(found["seed"]),
            calm=found["calm"] is not None or found["profile"] == CALM,
            kept=None if kept is None else int(kept, 16),
            plan=None if plan is None else _checked(map(_read, plan.split(","))),
        )

    def apply(self, drawn: Plan) -> Plan:
        """What goes wrong in the run.

        Args:
            drawn: The whole plan that is drawn from profile and seed.

        Raises:
            Misconfigured: It keeps an incident that is not drawn: something has changed since it was made.

        Example:
            >>> Token.parse("hostile-17-x0").apply(())
            ()
        """
        if self.plan is not None:
            return self.plan
        if self.kept is None:
            return drawn
        if self.kept >> len(drawn):
            raise Misconfigured(
                f"token {self.encode()} keeps incident {self.kept.bit_length()}, but only {len(drawn)} are drawn from"
                f" {self.profile}-{self.seed}: the world, its fault points or the profile changed since; find it again"
            )
        return tuple(incident for bit, incident in enumerate(drawn) if self.kept >> bit & 1)


def token_for(profile: str, seed: int, drawn: Plan, plan: Plan, *, calm: bool = False) -> Token:
    """The shortest token of a run.

    Args:
        profile: Name of the profile.
        seed: Of the run.
        drawn: The whole plan that is drawn from the two.
        plan: What of it happens; or what happens instead.
        calm: Whether the weather is calm.

    Example:
        >>> from hanse.sim.plan import Kill
        >>> drawn = tuple(Kill(at=at, seconds=1.0, machine="orders") for at in (1.0, 4.0, 9.5))
        >>> token_for("hostile", 17, drawn, drawn[1:]).encode()
        'hostile-17-x6'
        >>> token_for("hostile", 17, drawn, (Kill(at=9.5, seconds=0.25, machine="orders"),)).encode()
        'hostile-17-kill:9.5:0.25:orders'
    """
    if plan == drawn:
        return Token(profile=profile, seed=seed, calm=calm)
    mask = _mask(drawn, plan)
    return Token(profile=profile, seed=seed, calm=calm, kept=mask, plan=plan if mask is None else None)


def _checked(incidents: typing.Iterable[Incident]) -> Plan:
    """Incidents that somebody wrote, as a plan: in order, and each possible.

    Raises:
        Misconfigured: One of them cannot happen.
    """
    plan = sorted(incidents, key=lambda incident: incident.at)
    for incident in plan:
        problem = _problem(incident)
        if problem:
            raise Misconfigured(f"{_written(incident)} cannot happen: {problem}")
    return tuple(plan)


def _problem(incident: Incident) -> str:
    """Why an incident cannot happen; empty where it can."""
    if not (_within(incident.at, 0.0) and _within(incident.seconds, 0.0)):
        return "at and seconds are 0 or more"
    match incident:
        case Cut(machines=machines, others=others):
            can, rule = bool(machines and others), "a cut is between machines and others, one of each at least"
        case SlowDisk(factor=factor):
            can, rule = _within(factor, 1.0), "the factor of a slow disk is 1 or more"
        case Clock(jump=jump):
            can, rule = math.isfinite(jump), "a jump is a number of seconds"
        case Delay(most=most):
            can, rule = _within(most, 0.0), "the longest delay is 0 seconds or more"
        case Loss(share=share) | Repeat(share=share):
            can, rule = _within(share, 0.0, 1.0), "a share is from 0 to 1"
        case _:
            can, rule = True, ""
    return "" if can else rule


def _within(value: float, low: float, high: float = math.inf) -> bool:
    return math.isfinite(value) and low <= value <= high


def _mask(drawn: Plan, plan: Plan) -> int | None:
    """Which of the drawn incidents a plan has; None where it has others, or another order."""
    mask, left = 0, list(reversed(plan))
    for bit, incident in enumerate(drawn):
        if left and left[-1] == incident:
            left.pop()
            mask |= 1 << bit
    return None if left else mask


def _written(incident: Incident) -> str:
    """An incident as part of a token; what stands at the end and is as by default is left away."""
    fields = msgspec.structs.fields(incident)
    values = [(getattr(incident, field.name), field.default) for field in fields]
    while values[-1][0] == values[-1][1]:
        values.pop()
    return ":".join([incident.tag, *(_part(value) for value, _ in values)])


def _part(value: object) -> str:
    if isinstance(value, tuple):
        return "+".join(map(_quoted, typing.cast("tuple[str, ...]", value)))
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return "1" if value is True else _quoted(str(value))


def _quoted(name: str) -> str:
    # A tilde needs no quotes in an address, but a shell puts a folder in its place.
    return quote(name, safe="").replace("~", "%7E")


def _read(text: str) -> Incident:
    tag, *parts = text.split(":")
    kind = KINDS.get(tag)
    if kind is None:
        raise Misconfigured(f"there is no incident {_shown(tag)}; the kinds are {', '.join(KINDS)}")
    fields = msgspec.structs.fields(kind)
    if len(parts) > len(fields):
        raise Misconfigured(f"{_shown(text)} has too many parts; {_form(tag, fields)}")
    values = {field.name: _value(field, part) for field, part in zip(fields, parts, strict=False)}
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Misconfigured(f"{_shown(text)} is no incident: {error}; {_form(tag, fields)}") from None


def _value(field: msgspec.structs.FieldInfo, part: str) -> object:
    if typing.get_origin(field.type) is tuple:
        return [unquote(name) for name in part.split("+") if name]
    return unquote(part)


def _form(tag: str, fields: Sequence[msgspec.structs.FieldInfo]) -> str:
    return f"it is written {':'.join([tag, *(field.name for field in fields)])}"


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SAFE_SHOWN else text[:_SAFE_SHOWN] + "...")
