"""`hanse new`: a project that runs and is tested from its first minute.

Templates are folders of real files beside this module: what all have in common, and what each adds. In them, two words
stand for the project's name. A file that tools here would obey, such as .gitignore, is called .gitignore.template.
"""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import click
import msgspec

from hanse.cli.options import common, working_folder
from hanse.cli.output import Output
from hanse.kernel.faults import Fault

TEMPLATES: Mapping[str, str] = {
    "minimal": "one resource, one operation, one reaction",
    "rest": "a REST API with an operation, a fault and a rule",
    "events": "two services, a contract and an event between them",
}
"""What can be begun with; the first is the default."""

FOLDER = Path(__file__).parent / "templates"
COMMON = "common"
SUFFIX = ".template"
"""Of files that are nothing until they are rendered: no tool takes them for code of ours."""

_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
_CACHES = frozenset({"__pycache__", ".mypy_cache", ".ruff_cache"})
_TAKEN = frozenset({"hanse", "test", "tests", *sys.stdlib_module_names})


class NotEmpty(Fault, detail="expected a folder that is new or empty, but {folder} has {found}"):
    """Files would be written over; name another folder, or empty this one."""

    folder: str
    found: str


class Name(msgspec.Struct, frozen=True):
    """What a project is called: as people and installers write it, and as Python imports it."""

    title: str
    module: str


@click.command()
@click.argument("name")
@click.option(
    "--template",
    type=click.Choice(list(TEMPLATES)),
    default=next(iter(TEMPLATES)),
    show_default=True,
    help="; ".join(f"{name}: {text}" for name, text in TEMPLATES.items()) + ".",
)
@click.option("--dir", "directory", default="", metavar="FOLDER", help="Where to write it; else a folder of its name.")
@common
def new(*, name: str, template: str, directory: str, output: Output) -> None:
    """Begin a project called NAME, with tests, in a folder of its own."""
    called = read_name(name)
    shown = Path(directory or called.title)
    folder = working_folder() / shown
    try:
        make(folder, files_of(template, called))
    except OSError as error:
        raise CannotWrite(str(error.filename or shown), error.strerror or str(error)) from None
    click.echo(f"{called.title}: {template}, in {shown}")
    output.note(f"  cd {shown}\n  hanse dev\n  pytest")


class CannotWrite(Fault, detail="expected a folder that can be written, but of {file} the system says: {reason}"):
    """The system does not let files be written there; choose another folder with --dir, or see who owns it."""

    file: str
    reason: str


def read_name(text: str) -> Name:
    """A project's name, and its module's.

    Raises:
        click.BadParameter: It is none, or the module would hide one of Python's.

    Example:
        >>> read_name("tea-shop")
        Name(title='tea-shop', module='tea_shop')
    """
    if not _NAME.fullmatch(text):
        raise click.BadParameter(f"expected small letters, digits and dashes, such as tea-shop, got {text!r}")
    module = text.replace("-", "_")
    if module in _TAKEN or keyword.iskeyword(module):
        raise click.BadParameter(f"{module!r} is a name of Python's or ours already; choose another, such as my-{text}")
    return Name(text, module)


def files_of(template: str, name: Name) -> dict[str, str]:
    """The files of a project, by path; what a template has goes before what all have."""
    found: dict[str, str] = {}
    for folder in (FOLDER / COMMON, FOLDER / template):
        for path in sorted(folder.rglob("*")):
            inner = path.relative_to(folder)
            if path.is_file() and not _CACHES.intersection(inner.parts):
                wanted = rendered(inner.as_posix(), name).removesuffix(SUFFIX)
                found[wanted] = rendered(path.read_text(encoding="utf-8"), name)
    return found


def rendered(text: str, name: Name) -> str:
    """A text of a template with the project's name in it.

    Example:
        >>> rendered("# project-name: from project_name.app import app", Name("tea-shop", "tea_shop"))
        '# tea-shop: from tea_shop.app import app'
    """
    return text.replace("project-name", name.title).replace("project_name", name.module)


def make(folder: Path, files: Mapping[str, str]) -> None:
    """Write files into a folder that is new or empty; a git repository without files counts as empty.

    Raises:
        NotEmpty: Something is there.
        OSError: The system refuses.
    """
    if folder.is_dir():
        there = sorted(path.name for path in folder.iterdir() if path.name != ".git")
        if there:
            raise NotEmpty(str(folder), _some(there))
    elif folder.exists():
        raise NotEmpty(str(folder), "a file of its name")
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")


def _some(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
