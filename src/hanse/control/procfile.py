"""A Procfile as settings: each of its lines is a service that is its command.

Who listens is not said in a Procfile. As everywhere, it is `web` that gets requests; others that mention their port are
asked over HTTP how they are, and the rest work and answer nobody, so that whoever runs is well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

import msgspec

from hanse.control.desired import INSTANCES_MAX
from hanse.kernel.faults import Misconfigured
from hanse.kernel.settings import Setting
from hanse.kernel.settings_schema import nearest

FILE = "Procfile"

FILE_BYTES_MAX = 1024 * 1024
"""Largest Procfile that is read."""

WEB, RELEASE, ALL = "web", "release", "all"
"""What gets requests; what runs once per rollout, and is no service; what stands for all in a formation."""

_LINE = re.compile(r"(?P<name>[^:]*):(?P<command>.*)", re.DOTALL)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_PORT = re.compile(r"\$\{?PORT\b|\{port\}")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_COUNT = re.compile(r"\s*(?P<name>[^=]*?)\s*=\s*(?P<count>\d{1,9})\s*")


class Line(msgspec.Struct, frozen=True):
    """One line: a name, a command, and the number of the line."""

    name: str
    command: str
    number: int


def parse_procfile(text: str, source: str = FILE) -> tuple[Line, ...]:
    r"""The lines of a Procfile; blank ones and those that begin with # are nothing.

    Args:
        text: What the file holds.
        source: How it is called, in errors.

    Raises:
        Misconfigured: Lines cannot be used; lists every one, with its number.

    Example:
        >>> [line.command for line in parse_procfile("# all\nweb: serve -p $PORT\n\nrelease: migrate")]
        ['serve -p $PORT', 'migrate']
    """
    found: dict[str, Line] = {}
    problems: list[str] = []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        name, command = (match["name"].strip(), match["command"].strip()) if match else ("", "")
        if problem := _problem(line, name, command, found):
            problems.append(f"{source} line {number}: {problem}")
        else:
            found[name] = Line(name, command, number)
    if not problems and not found.keys() - {RELEASE}:
        problems.append(f"{source}: expected at least one line such as `web: python app.py`")
    if problems:
        raise Misconfigured("\n  ".join(problems))
    return tuple(found.values())


def _problem(line: str, name: str, command: str, found: Mapping[str, Line]) -> str:
    if ":" not in line:
        return f"expected `name: command`, got {line.strip()!r}"
    if not _NAME.fullmatch(name) or name == ALL:
        return f"expected a name other than {ALL!r} (letters, digits, - and _), got {name!r}"
    if not command:
        return f"{name} has no command"
    if _CONTROL.search(command):
        return f"expected a command of printable characters, got {command!r}"
    if name in found:
        return f"{name} is there already, on line {found[name].number}"
    return ""


def layer_of(lines: Iterable[Line], source: str = FILE) -> list[Setting]:
    r"""The settings that a Procfile comes to, each with the line that it is from.

    Example:
        >>> for setting in layer_of(parse_procfile("web: serve\nclock: tick")):
        ...     print(".".join(setting.path), setting.value, setting.source)
        services.web.command serve Procfile line 1
        services.web.route / Procfile line 1
        services.clock.command tick Procfile line 2
        services.clock.protocol none Procfile line 2
    """
    lines = tuple(lines)
    found: list[Setting] = []
    names = [line.name for line in lines if line.name != RELEASE]
    for line in lines:
        # Run once per rollout, before what gets requests.
        name = line.name if line.name != RELEASE else WEB if WEB in names else names[0]
        keys = {"command": line.command} if line.name != RELEASE else {"release_hook": line.command}
        if line.name == WEB:
            keys["route"] = "/"
        elif line.name != RELEASE and not _PORT.search(line.command):
            keys["protocol"] = "none"
        found += [
            Setting(("services", name, key), value, f"{source} line {line.number}") for key, value in keys.items()
        ]
    return found


def formation_of(text: str, names: Iterable[str], source: str = "--formation") -> dict[str, int]:
    """How many of each are to run, as `web=2,worker=1` says; `all` stands for all that are not named.

    Args:
        text: As it was given.
        names: Of the services that there are.
        source: Who says so, in errors.

    Raises:
        Misconfigured: It cannot be understood, or names what is not there.

    Example:
        >>> formation_of("all=1,web=2", ["web", "clock"])
        {'web': 2, 'clock': 1}
    """
    known = list(names)
    counts: dict[str, int] = {}
    for part in text.split(","):
        match = _COUNT.fullmatch(part)
        if match is None or not match["name"]:
            raise Misconfigured(f"{source}: expected counts such as `web=2,worker=1`, got {part.strip()!r}")
        name, count = match["name"], int(match["count"])
        if name not in known and name != ALL:
            near = nearest(name, known)
            hint = f"did you mean {near}?" if near else f"there are {', '.join(known)}"
            raise Misconfigured(f"{source}: there is no service {name!r}; {hint}")
        if name in counts:
            raise Misconfigured(f"{source}: expected {name} once, got it twice")
        if count > INSTANCES_MAX:
            raise Misconfigured(f"{source}: expected at most {INSTANCES_MAX} of {name}, got {count}")
        counts[name] = count
    wanted = {name: counts.get(name, counts.get(ALL)) for name in known}
    return {name: count for name, count in wanted.items() if count is not None}


def as_toml(layer: Iterable[Setting], source: str = FILE) -> str:
    """The same as tables of a settings file, for whoever wants to go on from there.

    Example:
        >>> print(as_toml(layer_of(parse_procfile("web: serve"))))
        # Was: Procfile
        <BLANKLINE>
        [services.web]
        command = "serve"
        route = "/"
        <BLANKLINE>
    """
    tables: dict[str, list[str]] = {}
    for setting in layer:
        *path, key = setting.path
        # Text of JSON is text of TOML, as long as nothing in it is a control character.
        value = json.dumps(setting.value, ensure_ascii=False)
        tables.setdefault(".".join(path), []).append(f"{key} = {value}")
    parts = [f"# Was: {source}\n"]
    parts += [f"[{name}]\n" + "".join(f"{line}\n" for line in lines) for name, lines in tables.items()]
    return "\n".join(parts)
