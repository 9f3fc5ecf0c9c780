"""Writes docs/reference from the code: all public names, all faults, all settings, all that a simulation knows.

    python tools/reference.py            writes the pages
    python tools/reference.py --check    fails if they are not what it would write

It prints annotations as they stand in the source and defaults as Python shows them, so that every supported Python
writes the same.
"""

# ruff: noqa: D103 - a script, whose functions are named for what they write

import argparse
import dataclasses
import importlib
import inspect
import pkgutil
import random  # noqa: TID251 - asked for its name
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec
from reference_cli import cli_page

import hanse
from hanse.cli.advice import EXIT_CODES, FLAWS, RUNS
from hanse.cli.explain import explained, known_faults
from hanse.kernel.fault_point import POINTS
from hanse.kernel.faults import Fault
from hanse.kernel.settings import Section, Settings
from hanse.kernel.settings_files import ALIASES, PREFIX
from hanse.kernel.settings_schema import as_table, expectation, fields_of
from hanse.sim import observe
from hanse.sim.boxes import SETTLE_SECONDS, START_SECONDS
from hanse.sim.check import Observer
from hanse.sim.fence import REFUSED
from hanse.sim.loop import STEPS_MAX
from hanse.sim.plan import Incident
from hanse.sim.profile import INCIDENTS_MAX, PROFILES, Profile, Weather
from hanse.sim.repeat import SHARE
from hanse.sim.run import RUN_STEPS_MAX
from hanse.sim.stand_ins import ENTROPY, ID, Row, rows
from hanse.sim.trace import EFFECTS_MAX
from hanse.sim.verdict import EVENTUALLY_SECONDS

FOLDER = Path(__file__).parents[1] / "docs/reference"
NOTE = "<!-- Written by tools/reference.py from the code; change the docstrings there. -->\n"
SECTION = re.compile(r"(Args|Args of the constructor|Attributes|Example|Raises|Returns|Yields):")
IN_CODE = re.compile(r"current\(\)[.a-z_]+(\(n?\))?|asyncio\.\w+")
WIDTH = 100


def main() -> int:
    parser = argparse.ArgumentParser(description="Write docs/reference from the code.")
    parser.add_argument("--check", action="store_true", help="change nothing, fail where a page is out of date")
    checking: bool = parser.parse_args().check
    pages = {
        "api.md": api_page(),
        "cli.md": f"{NOTE}\n{cli_page()}",
        "faults.md": faults_page(),
        "settings.md": settings_page(),
        "simulation.md": simulation_page(),
    }
    stale = [name for name, text in pages.items() if not same(FOLDER / name, text)]
    if checking:
        for name in stale:
            print(f"docs/reference/{name} is out of date; run python tools/reference.py")
        return bool(stale)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in stale:
        (FOLDER / name).write_text(pages[name], encoding="utf-8")
    return 0


def same(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


# The names.


def api_page() -> str:
    """All public names with their signatures and docstrings; faults have a page of their own."""
    entries = [entry(name, getattr(hanse, name)) for name in hanse.__all__ if not is_fault(getattr(hanse, name))]
    head = (
        "# Public names\n\n"
        "Everything that `from hanse import ...` gives.\n"
        "Faults stand on [a page of their own](faults.md).\n"
        "What is not listed here may change without notice.\n"
    )
    return "\n".join([NOTE, head, *entries])


def entry(name: str, value: object) -> str:
    if inspect.isclass(value):
        parts = [f"## {name}\n", code(wrapped(f"class {name}", class_signature(value))), *prose(value.__doc__ or "")]
        return "\n".join([*parts, *(method_entry(name, *method) for method in methods_of(value))])
    if inspect.isfunction(value):
        return "\n".join([f"## {name}\n", code(shown(name, value)), *prose(value.__doc__ or "")])
    # An alias or a value has no docstring of its own at run time; its type has.
    kind = "" if type(value).__module__ in {"types", "typing"} else f": {type(value).__name__}"
    return "\n".join([f"## {name}\n", code(f"{name}{kind} = {alias(value)}" if not kind else f"{name}{kind}")])


def wrapped(start: str, text: str) -> str:
    return start + (text if len(start + text) <= WIDTH else on_lines(text))


def alias(value: object) -> str:
    members = typing.get_args(value) or (value,)
    return " | ".join(re.sub(r"~|hanse\.[a-z_.]+", "", str(member)) for member in members)


def class_signature(cls: type) -> str:
    """How it is made: the fields of data, the arguments of a constructor of its own, nothing for what is subclassed."""
    if issubclass(cls, msgspec.Struct):
        names = [f"{field.name}{default_of(field)}" for field in msgspec.structs.fields(cls)]
        return f"({', '.join(names)})" if names else ""
    own = vars(cls).get("__init__")
    if own is None or getattr(cls, "_is_protocol", False) or not inspect.isfunction(own):
        return ""
    text = signature_of(own)
    return text.replace("(self, ", "(").replace("(self)", "()").removesuffix(" -> None")


class Raw(str):
    """Text that is shown as it is."""

    __slots__ = ()
    __repr__ = str.__str__


def signature_of(function: Callable[..., object]) -> str:
    """A signature with annotations as they are written, and without the values of whole structs or functions."""
    found = inspect.signature(function)
    parameters = [
        parameter.replace(
            annotation=as_written(parameter.annotation),
            default=shown_default(parameter.default),
        )
        for parameter in found.parameters.values()
    ]
    return str(found.replace(parameters=parameters, return_annotation=as_written(found.return_annotation)))


def shown_default(value: object) -> object:
    if inspect.isfunction(value):
        return Raw(value.__name__)
    return Raw("...") if isinstance(value, msgspec.Struct) else value


def as_written(annotation: object) -> object:
    return Raw(annotation) if isinstance(annotation, str) else annotation


def default_of(field: msgspec.structs.FieldInfo) -> str:
    if isinstance(field.default, str | int | float | None):
        return f"={field.default!r}"
    return "" if field.required else "=..."


def methods_of(cls: type) -> Iterator[tuple[str, object]]:
    for name, member in vars(cls).items():
        inner: object = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        inner = inner.fget if isinstance(inner, property) else inner
        if not name.startswith("_") and inspect.isfunction(inner) and inner.__doc__:
            yield name, member


def method_entry(owner: str, name: str, member: object) -> str:
    inner = member.__func__ if isinstance(member, classmethod | staticmethod) else member
    if isinstance(inner, property):
        assert inner.fget is not None
        answer = inner.fget.__annotations__.get("return", "")
        return "\n".join([f"### {owner}.{name}\n", code(f"{name}: {answer}"), *prose(inner.fget.__doc__ or "")])
    assert inspect.isfunction(inner)
    mark = "@classmethod\n" if isinstance(member, classmethod) else ""
    return "\n".join([f"### {owner}.{name}\n", code(mark + shown(name, inner)), *prose(inner.__doc__ or "")])


def shown(name: str, function: Callable[..., object]) -> str:
    word = "async def" if inspect.iscoroutinefunction(function) else "def"
    text = signature_of(function)
    return wrapped(f"{word} {name}", text)


def on_lines(text: str) -> str:
    """A signature with one argument a line; commas within brackets do not end one."""
    inside, _, answer = text[1:].rpartition(")")
    arguments = re.split(r", (?![^\[(]*[\])])", inside)
    return "\n".join(["(", *(f"    {argument}," for argument in arguments), f"){answer}"])


def code(text: str) -> str:
    return f"```py\n{text}\n```\n"


# Docstrings, from Google's sections to Markdown.


def prose(doc: str) -> Iterator[str]:
    title, lines = "", list[str]()
    for line in [*inspect.cleandoc(doc).splitlines(), "End:"]:
        found = SECTION.fullmatch(line)
        if found is None and line != "End:":
            lines.append(line)
            continue
        yield from section(title, lines)
        title, lines = (found[1] if found else ""), []


def section(title: str, lines: list[str]) -> Iterator[str]:
    text = inspect.cleandoc("\n" + "\n".join(lines)).strip()
    if not text:
        return
    if title == "Example":
        yield f"```pycon\n{text}\n```\n"
    elif title in {"", "Returns", "Yields"}:
        yield (f"{title}: " if title else "") + paragraphs(text) + "\n"
    else:
        yield f"{'Args' if title.startswith('Args') else title}:\n\n" + "\n".join(items(text)) + "\n"


def paragraphs(text: str) -> str:
    """Joined lines, one sentence each; lists stay what they are."""
    found = [" ".join(part.splitlines()) if not part.startswith("- ") else part for part in text.split("\n\n")]
    return "\n\n".join(re.sub(r"(?<=[a-z`)\"][.!?]) (?=[A-Z`])", "\n", part) for part in found)


def items(text: str) -> Iterator[str]:
    """`name: text` with its indented lines, as items of a list."""
    for part in re.split(r"\n(?=\S)", text):
        name, colon, rest = part.partition(": ")
        words = " ".join(line.strip() for line in (rest if colon else part).splitlines())
        yield f"- `{name}`: {words}" if colon else f"- {words}"


# The tables.


def faults_page() -> str:
    head = (
        "# Faults\n\n"
        "What can go wrong, by name; `hanse.kernel.faults.Fault` is the root of all, yours too.\n"
        "A declared fault arrives at the caller as its own class, with its fields.\n"
        "The gateway answers with the HTTP status or closes the WebSocket with the close code.\n"
        "`hanse` ends with the exit code.\n"
        "*Again* says whether another try may succeed.\n\n"
        "| code | class | meaning | HTTP | WebSocket | exit | again |\n"
        "|---|---|---|---|---|---|---|\n"
    )
    rows = [
        f"| `{cls.code}` | `{cls.__name__}({', '.join(cls.fields)})` | {first_line(cls)} "
        f"| {cls.status} | {cls.close_code} | {cls.exit_code} | {'yes' if cls.retryable else 'no'} |"
        for cls in sorted(known_faults(), key=lambda cls: (cls.status, cls.code, cls.__qualname__))
    ]
    doc = "\n".join(prose(Fault.__doc__ or ""))
    told = [*advice_part(), *exit_codes_part(), f"## Fault\n\n{doc}"]
    return "\n".join([NOTE, head + "\n".join(rows) + "\n", *told])


def advice_part() -> Iterator[str]:
    """What `hanse explain` says of faults and flaws."""
    yield "## Why, and what to do\n\n`hanse explain CODE` tells the same.\n\n| code | why | what to do |\n|---|---|---|"
    for cls in sorted(known_faults(), key=lambda cls: (cls.code, cls.__qualname__)):
        one = explained(cls)
        yield f"| `{one.code}` | {cell(one.why)} | {cell(one.do)} |"
    yield "\n`invalid` lists every flaw of an input, each with a code:\n"
    yield "| code | meaning | what to do |\n|---|---|---|"
    for code, (meaning, do) in FLAWS.items():
        yield f"| `{code}` | {cell(meaning)} | {cell(do)} |"
    yield ""


def exit_codes_part() -> Iterator[str]:
    yield "## Exit codes\n\n| code | meaning | why | what to do |\n|---|---|---|---|"
    for code, (meaning, advice) in EXIT_CODES.items():
        yield f"| {code} | {cell(meaning)} | {cell(advice.why)} | {cell(advice.do)} |"
    yield ""


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def is_fault(value: object) -> bool:
    return inspect.isclass(value) and issubclass(value, Fault)


def first_line(cls: type) -> str:
    return inspect.cleandoc(cls.__doc__ or "").splitlines()[0].rstrip(".").replace("|", "\\|")


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """One setting."""

    key: str
    variable: str
    expected: str
    default: object
    meaning: str


def settings_page() -> str:
    head = (
        "# Settings\n\n"
        "Defaults < `hanse.toml` < its table for the environment < `.env` < environment variables < flags.\n"
        "`hanse config show` tells every value and where it came from.\n"
        "In a key, `NAME` stands for the name of a service; in a variable, `NAME` is that name in capitals.\n"
        "Of a service, `hanse run` reads `store` and `settings`; the others are for `hanse up`.\n\n"
        "| key | variable | expected | default | meaning |\n"
        "|---|---|---|---|---|\n"
    )
    rows = [
        f"| `{s.key}` | {s.variable} | {s.expected} | `{msgspec.json.encode(s.default).decode()}` | {s.meaning} |"
        for s in settings_in(Settings, ())
    ]
    own = "\n".join(f"- `{name}` sets `{'.'.join(path)}`." for name, path in ALIASES.items())
    return "\n".join(
        [
            NOTE,
            head + "\n".join(rows) + "\n",
            "## Variables with names of their own\n\n"
            "`HANSE_SECTION__KEY` wins over them.\n"
            "`HANSE_CONFIG` names another file than `hanse.toml`.\n"
            "`HANSE_URL` says where `hanse call` and `hanse services` ask.\n"
            "Each may end in `_FILE` and name a file that holds the value, as secrets come.\n\n" + own + "\n",
        ]
    )


def settings_in(kind: type[msgspec.Struct], path: tuple[str, ...]) -> Iterator[Known]:
    meanings = attributes(kind)
    for field in msgspec.structs.fields(kind):
        at = (*path, field.name)
        named = {("services",): "ServiceSettings", ("routes",): "Route", ("resources",): "ResourceSettings"}.get(at)
        inner = getattr(importlib.import_module(Section.__module__), named) if named else field.type
        if isinstance(inner, type) and fields_of(inner) is not None:
            yield from settings_in(inner, (*at, "NAME") if named else at)
            continue
        default: object = field.default if field.default is not msgspec.NODEFAULT else (as_table({}) or {})
        variable = f"`{PREFIX}{'__'.join(part.upper() for part in at)}`"
        if len(at) == 1:
            variable = next((f"`{name}`" for name, target in ALIASES.items() if target == at), "")
        yield Known(".".join(at), variable, expectation(field.type), default, meanings.get(field.name, ""))
        for member in typing.get_args(field.type):  # a text that may be a table too
            if fields_of(member) is not None:
                yield from settings_in(member, at)


def attributes(cls: type) -> dict[str, str]:
    """What the docstring says of each attribute."""
    _, _, listed = inspect.cleandoc(cls.__doc__ or "").partition("Attributes:\n")
    found: dict[str, str] = {}
    for item in items(inspect.cleandoc("\n" + listed)):
        names, _, meaning = item.removeprefix("- ").partition(": ")
        found |= dict.fromkeys(split(names), meaning.replace("|", "\\|"))
    return found


def split(names: str) -> Iterable[str]:
    return names.strip("`").split(", ")


def simulation_page() -> str:
    """What can go wrong in a world and how often, where code can be killed, who looks on, and what is refused."""
    return "\n".join(
        [
            NOTE,
            "# Simulation\n",
            "What simulated worlds know; what they are for stands in [simulation](../testing/simulation.md).\n",
            *incidents_part(),
            *weather_part(),
            *points_part(),
            *observers_part(),
            *fence_part(),
            *limits_part(),
        ]
    )


def incidents_part() -> Iterator[str]:
    names = list(PROFILES)
    yield (
        "## Incidents\n\n"
        "A plan is a list of them; each begins at `at` and is over after `seconds`.\n"
        "The columns on the right say which profiles draw them, and their share there on average;"
        " under each seed some kinds are left out, and the others come more or less often.\n"
    )
    yield "| kind | what happens | takes | lasts, s | " + " | ".join(names) + " |"
    yield "|---|---|---|---|" + "---:|" * len(names)
    for cls in typing.get_args(Incident):
        kind = str(cls.__struct_config__.tag)
        fields = [f"`{field.name}`" for field in msgspec.structs.fields(cls) if field.name not in {"at", "seconds"}]
        lasts = sorted({odds.seconds for profile in PROFILES.values() for odds in profile.odds if odds.kind == kind})
        spans = ", ".join(f"{low:g} to {high:g}" for low, high in lasts)
        shares = " | ".join(share_of(kind, PROFILES[name]) for name in names)
        yield f"| `{kind}` | {whole(cls)} | {', '.join(fields)} | {spans} | {shares} |"
    often = " | ".join(f"{PROFILES[name].per_second:g}" for name in names)
    yield f"| | all of them, in a second of the world | | | {often} |\n"


def share_of(kind: str, profile: Profile) -> str:
    total = sum(odds.weight * (1.0 - odds.off) for odds in profile.odds)
    mine = sum(odds.weight * (1.0 - odds.off) for odds in profile.odds if odds.kind == kind)
    return f"{mine / total:.0%}" if mine else ""


def whole(cls: type) -> str:
    """All sentences of a docstring, in one line."""
    text = inspect.cleandoc(cls.__doc__ or "").partition("\n\nAttributes:")[0]
    return " ".join(text.split()).replace("|", "\\|")


def weather_part() -> Iterator[str]:
    yield (
        "## Weather\n\n"
        "What it is like between the incidents, at worst in each profile.\n"
        "That of a seed is between `calm` and this, and about half of the troubles are off under each.\n"
    )
    meanings = attributes(Weather)
    yield "| | what it is | " + " | ".join(PROFILES) + " |"
    yield "|---|---|" + "---:|" * len(PROFILES)
    for name in Weather.__struct_fields__:
        values = " | ".join(f"{getattr(profile.worst, name):g}" for profile in PROFILES.values())
        yield f"| `{name}` | {meanings[name]} | {values} |"
    yield ""


def points_part() -> Iterator[str]:
    yield "## Fault points\n\nPlaces at which `kill_at` kills a machine, and what is so there.\n"
    yield "| point | there |\n|---|---|"
    yield from (f"| `{name}` | {what} |" for name, what in POINTS.items())
    yield ""


def observers_part() -> Iterator[str]:
    yield "## What else a run may break\n\n| violation | meaning | why | what to do |\n|---|---|---|---|"
    for code, (meaning, advice) in RUNS.items():
        yield f"| `{code}` | {cell(meaning)} | {cell(advice.why)} | {cell(advice.do)} |"
    yield "\n## Observers\n\nWho looks on in every world, and the violation that each of them tells.\n"
    yield "| violation | what it looks after |\n|---|---|"
    modules = [
        importlib.import_module(found.name) for found in pkgutil.iter_modules(observe.__path__, f"{observe.__name__}.")
    ]
    for cls in sorted(Observer.__subclasses__(), key=lambda cls: cls.name):
        doc = next(module.__doc__ or "" for module in modules if module.__name__ == cls.__module__)
        yield f"| `{cls.name}` | {doc.splitlines()[0]} |"
    yield ""


def name_of(row: Row) -> str:
    if isinstance(row.at, type):
        return f"{row.at.__module__}.{row.at.__qualname__}.{row.name}"
    assert isinstance(row.at, types.ModuleType)
    # What `random` has differs between versions of Python; it is refused as a whole.
    return "random.*" if row.at is random else f"{row.at.__name__}.{row.name}"


def quoted(found: re.Match[str]) -> str:
    return f"`{found[0]}`"


def fence_part() -> Iterator[str]:
    yield (
        "## What the fence refuses\n\n"
        "In the app's own code; the standard library and installed packages get the world's time and draws instead,"
        " but no thread, no process, no socket and no file to write either.\n"
    )
    yield "| instead of | do this |\n|---|---|"
    # These draw through what is refused, and are told by name.
    found: dict[str, list[str]] = {ID: ["uuid.uuid4"], ENTROPY: ["secrets.*"]}
    for row in rows():
        if row.name[0] != "_":
            found.setdefault(row.instead, []).append(name_of(row))
    for event, instead in REFUSED.items():
        found.setdefault(instead, []).append(event.partition("/")[0])
    for instead, names in found.items():
        listed = ", ".join(f"`{name}`" for name in dict.fromkeys(names) if not name.startswith("_"))
        yield f"| {listed} | {IN_CODE.sub(quoted, instead)} |"
    yield ""


def limits_part() -> Iterator[str]:
    yield "## Limits\n\n| what | at most | past it |\n|---|---:|---|"
    yield f"| incidents of a world | {INCIDENTS_MAX:,} | no more are drawn |"
    yield f"| effects that are kept for the report | {EFFECTS_MAX:,} | the hash goes on, the report does without |"
    yield f"| steps while no time passes | {STEPS_MAX:,} | `stuck`: it spins |"
    yield f"| steps of a run | {RUN_STEPS_MAX:,} | `stuck`: it is without end |"
    yield "| tasks that all wait, and no timer | | `stuck`: a deadlock |"
    yield f"| seconds that machines have to come up, or to stop | {START_SECONDS:g} | `start` |"
    yield f"| seconds that work has to come to rest, after the story | {SETTLE_SECONDS:g} | `rest` |"
    yield f"| seconds that what has to hold in the end has to become true | {EVENTUALLY_SECONDS:g} | it does not hold |"
    yield f"| runs of a sweep that are made again in another process | {SHARE:.0%}, at least one | |"
    yield "\nSeconds are those of the world.\n"


if __name__ == "__main__":
    sys.exit(main())
