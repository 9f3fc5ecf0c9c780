"""Writes docs/reference from the code: all public names, all faults, all settings.

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
import re
import sys
import typing
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

import hanse
from hanse.kernel.faults import Fault
from hanse.kernel.settings import Section, Settings
from hanse.kernel.settings_files import ALIASES, PREFIX
from hanse.kernel.settings_schema import as_table, expectation, fields_of

FOLDER = Path(__file__).parents[1] / "docs/reference"
NOTE = "<!-- Written by tools/reference.py from the code; change the docstrings there. -->\n"
SECTION = re.compile(r"(Args|Args of the constructor|Attributes|Example|Raises|Returns|Yields):")
WIDTH = 100


def main() -> int:
    parser = argparse.ArgumentParser(description="Write docs/reference from the code.")
    parser.add_argument("--check", action="store_true", help="change nothing, fail where a page is out of date")
    checking: bool = parser.parse_args().check
    pages = {"api.md": api_page(), "faults.md": faults_page(), "settings.md": settings_page()}
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
        for cls in sorted(known_faults(), key=lambda cls: (cls.status, cls.code))
    ]
    doc = "\n".join(prose(Fault.__doc__ or ""))
    return "\n".join([NOTE, head + "\n".join(rows) + "\n", f"## Fault\n\n{doc}"])


def known_faults() -> set[type[Fault]]:
    """All that the package declares; those that examples in docstrings declare are not imported here."""
    for module in pkgutil.walk_packages(hanse.__path__, "hanse."):
        if not module.name.startswith(("hanse.testing", "hanse.__main__")):
            importlib.import_module(module.name)
    return set(subclasses(Fault))


def subclasses(cls: type[Fault]) -> Iterator[type[Fault]]:
    for sub in cls.__subclasses__():
        yield sub
        yield from subclasses(sub)


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
        "Of a service, this version reads `store` and `settings`; the other keys are checked and kept.\n\n"
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


def settings_in(kind: type[Section], path: tuple[str, ...]) -> Iterator[Known]:
    meanings = attributes(kind)
    for field in msgspec.structs.fields(kind):
        at = (*path, field.name)
        service = at == ("services",)
        inner = importlib.import_module(Section.__module__).ServiceSettings if service else field.type
        if fields_of(inner) is not None:
            yield from settings_in(inner, (*at, "NAME") if service else at)
            continue
        default: object = field.default if field.default is not msgspec.NODEFAULT else (as_table({}) or {})
        variable = f"`{PREFIX}{'__'.join(part.upper() for part in at)}`"
        if len(at) == 1:
            variable = next((f"`{name}`" for name, target in ALIASES.items() if target == at), "")
        yield Known(".".join(at), variable, expectation(field.type), default, meanings.get(field.name, ""))


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


if __name__ == "__main__":
    sys.exit(main())
