"""Runs that failed once, kept beside the file that declares the world, and run first by every sweep and test.

    # worlds.seeds.toml
    [[run]]
    simulation = "checkout"
    token = "calm-17-kill:3.2:0.05:orders"
    why = "nothing lost: order-9 acknowledged, and lost"
    fits = "5f0c2a19"

`fits` tells whether the token still means what it meant: it is a digest of the incidents and of the weather. Whoever
writes a run by hand may leave it out.
"""

from __future__ import annotations

import json
import tomllib
from hashlib import blake2b
from pathlib import Path

import msgspec

from hanse.kernel.fault_point import POINTS
from hanse.kernel.faults import Misconfigured
from hanse.sim.diverge import flat
from hanse.sim.failure import Failure
from hanse.sim.origin import Origin
from hanse.sim.plan import Cut, Incident, KillAt
from hanse.sim.setup import CLIENT
from hanse.sim.simulation import Simulation, machine_names
from hanse.sim.token import Token

SUFFIX = ".seeds.toml"
"""What the file of kept runs is called after the file that declares the world, instead of `.py`."""

WHY_MAX = 160
"""Characters of a reason that are kept."""

HEAD = """\
# Runs that failed once. Every sweep and every test of these simulations runs them first.
# `hanse sim --keep` adds to them; what is written here by hand stays as it is.
"""


class Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A run that failed once.

    Attributes:
        simulation: Name of the simulation in its file.
        token: Names the run.
        why: What did not hold.
        fits: Digest of its incidents and weather; empty where nobody wrote it down.
        shuffle: Whether the steps within a process were mixed.
    """

    simulation: str
    token: str
    why: str
    fits: str = ""
    shuffle: bool = False


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    run: list[Kept] = []


def file_of(origin: Origin) -> Path:
    """Where the runs of a simulation are kept.

    Example:
        >>> file_of(Origin("/app/worlds.py", "worlds", "story")).name
        'worlds.seeds.toml'
    """
    return Path(origin.file).with_suffix(SUFFIX)


def kept_of(origin: Origin) -> list[Kept]:
    """The runs that are kept of a simulation.

    Raises:
        Misconfigured: The file cannot be read; tells where and why.
    """
    file = file_of(origin)
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    try:
        found = msgspec.convert(tomllib.loads(text), _File).run
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise Misconfigured(
            f"{file} cannot be read: {error}; expected tables such as [[run]] with simulation, token and why"
        ) from None
    return [one for one in found if one.simulation == origin.name]


def keep(origin: Origin, simulation: Simulation, failure: Failure) -> bool:
    """Keep a run that failed, after those that are kept already.

    Args:
        origin: Where the simulation is declared.
        simulation: What failed.
        failure: The run.

    Returns:
        Whether it was new.
    """
    if any((one.token, one.shuffle) == (failure.token, failure.shuffle) for one in kept_of(origin)):
        return False
    first = failure.violations[0]
    why = flat(f"{first.check}: {first.detail}")
    one = Kept(
        simulation=origin.name,
        token=failure.token,
        why=why if len(why) <= WHY_MAX else f"{why[:WHY_MAX]}...",
        fits=digest(simulation, Token.parse(failure.token)),
        shuffle=failure.shuffle,
    )
    file = file_of(origin)
    before = file.read_text(encoding="utf-8") if file.exists() else HEAD
    _ = file.write_text(f"{before.rstrip()}\n\n{_table(one)}", encoding="utf-8")
    return True


def unfit(simulation: Simulation, one: Kept) -> str:
    """Why a kept run does not mean any more what it meant when it failed; empty where it does."""
    try:
        token = Token.parse(one.token)
        plan = simulation.plan(token)
    except Misconfigured as error:
        return str(error)
    there = {*machine_names(simulation.setup), CLIENT}
    gone = sorted({name for incident in plan for name in _names(incident)} - there)
    if gone:
        return f"{one.token} is about {', '.join(gone)}, and there is no such machine any more"
    points = sorted({incident.point for incident in plan if isinstance(incident, KillAt)} - {*POINTS})
    if points:
        return f"{one.token} is about {', '.join(points)}, and there is no such fault point any more"
    if one.fits and one.fits != digest(simulation, token):
        return f"{one.token} means other incidents or another weather than when it failed"
    return ""


def digest(simulation: Simulation, token: Token) -> str:
    """Of what goes wrong in a run, and of its weather."""
    meant = msgspec.json.encode((simulation.plan(token), simulation.weather(token)))
    return blake2b(meant, digest_size=4).hexdigest()


def _names(incident: Incident) -> tuple[str, ...]:
    return (*incident.machines, *incident.others) if isinstance(incident, Cut) else (incident.machine,)


def _table(one: Kept) -> str:
    # What JSON makes of a text or of a truth, TOML reads the same way, as long as nothing is escaped as a surrogate.
    written = {name: value for name, value in msgspec.structs.asdict(one).items() if value not in {"", False}}
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in written.items()]
    return "\n".join(["[[run]]", *lines, ""])
