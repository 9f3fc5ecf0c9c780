"""Docstrings as data: what they say in all, and of each argument, the answer and the faults. Pure."""

from __future__ import annotations

import inspect
import re

import msgspec

_SECTION = re.compile(
    r"(Args|Arguments|Attributes|Returns|Yields|Raises|Example|Examples|Deprecated)(?: of the \w+)?:[ \t]*(.*)"
)
_ITEM = re.compile(r"(\*{0,2}[\w.]+(?:, \w[\w.]*)*)(?: \([^)]*\))?:\s*(.*)")
_INDENT = re.compile(r"\s+")


class Prose(msgspec.Struct, frozen=True):
    """What a docstring says.

    Attributes:
        summary: Its first paragraph, in one line.
        description: The paragraphs after it, without the sections below.
        items: What it says of each argument or attribute, by name.
        answer: What it says of the answer.
        faults: What it says of each fault, by the class's name.
        deprecated: What to use instead, or why; None where it is not deprecated.
    """

    summary: str = ""
    description: str = ""
    items: dict[str, str] = {}
    answer: str = ""
    faults: dict[str, str] = {}
    deprecated: str | None = None


def prose_of(doc: str) -> Prose:
    r"""What a docstring in Google's style says; one without sections is all summary and description.

    Example:
        >>> prose = prose_of("Buy some.\n\nArgs:\n    sku: What.\n\nRaises:\n    SoldOut: Nothing is left.")
        >>> prose.summary, prose.items, prose.faults
        ('Buy some.', {'sku': 'What.'}, {'SoldOut': 'Nothing is left.'})
    """
    text: list[str] = []
    sections: dict[str, list[str]] = {}
    into = text
    for line in inspect.cleandoc(doc).splitlines():
        if (section := _SECTION.fullmatch(line)) is not None:
            into = sections.setdefault(section[1], [])
            into.extend([section[2]] if section[2] else [])
        elif into is not text and line and not line[0].isspace():
            # Back at the margin: whatever is said here belongs to no section.
            into = text
            into.append(line)
        else:
            into.append(line)
    summary, _, description = "\n".join(text).strip().partition("\n\n")
    return Prose(
        summary=_flowing(summary.splitlines()),
        description=description.strip(),
        items=_items([*sections.get("Args", []), *sections.get("Arguments", []), *sections.get("Attributes", [])]),
        answer=_flowing([*sections.get("Returns", []), *sections.get("Yields", [])]),
        faults=_items(sections.get("Raises", [])),
        deprecated=_flowing(sections["Deprecated"]) if "Deprecated" in sections else None,
    )


def _items(lines: list[str]) -> dict[str, str]:
    """`name: text` pairs; what is indented deeper than the first name goes on."""
    found: dict[str, list[str]] = {}
    names: list[str] = []
    margin: int | None = None
    for line in lines:
        if not line.strip():
            continue
        indent = len(line) - len(line.lstrip())
        margin = indent if margin is None else margin
        item = _ITEM.fullmatch(line.strip()) if indent <= margin else None
        if item is not None:
            names = [name.strip("* ") for name in item[1].split(",")]
            for name in names:
                found[name] = [item[2]]
        else:
            for name in names:
                found[name].append(line)
    return {name: _flowing(parts) for name, parts in found.items()}


def _flowing(lines: list[str]) -> str:
    return _INDENT.sub(" ", " ".join(lines)).strip()
