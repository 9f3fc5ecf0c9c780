"""Runs one Markdown page as its reader would, from top to bottom, in the current folder.

- A ```python block is executed. All blocks of a page share one namespace; those that await, one event loop. What runs
  a loop of its own stands in a block that does not.
- `<!-- file: name.py -->` above a block of any language writes it to that file; a Python one is then imported,
  and the page sees its names.
- `<!-- change: name.py -->` above a ```diff block replaces its `-` lines in that file by its `+` lines.
- `<!-- after: page.md -->` at the head of a page begins with the files as that page leaves them.
- `<!-- run -->` above a ```console block runs its `$ ` lines and compares what they print, `...` standing for
  anything. A line that ends in `&` goes on running until the page ends; its output is awaited, not its end. `kill %1`
  or `kill -9 %1` ends the first of those that run, as in a shell. Lines that need a `curl` of 2022 or later are left
  out where there is none.
- `<!-- run: numbers may differ | head -9 -->` passes what they print through a filter first, which readers do not see,
  and takes all numbers for the same.

`run_page.py PAGE --write` runs a page in a folder that goes away, and puts what these last commands print into it; the
names of runs that one of them prints are put into what follows.

The default port is shown on pages, and may be taken where they are tested: another one takes its place.
"""

import ast
import asyncio
import contextlib
import doctest
import importlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import types
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path

BLOCK = re.compile(
    r"^(?:<!-- (?P<note>[^\n]*) -->\n+)?```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
AFTER = re.compile(r"^<!-- after: (\S+) -->$", re.MULTILINE)
RUN = re.compile(r"run(?P<loose>: numbers may differ)?(?P<filter> \| .+)?")
RUN_NAME = re.compile(r"\b(?:calm|flaky|hostile|deploy|power)-\d+(?:-[\w:.,+%-]*\w)?")
PORT_SHOWN = ":8000"
# Below those that the system gives to connections of its own.
PORTS = range(20_000, 32_000)
KILL = re.compile(r"kill (?P<nine>-9 )?%(?P<number>\d+)")
CURL_MIN = (7, 83)
MATCHING = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block, the comment above it, and the number of its first line."""

    language: str
    text: str
    note: str
    line: int


@dataclass(frozen=True, slots=True)
class Command:
    """A line that a reader types, and what the page says that it prints."""

    text: str
    expected: str


def block_at(match: re.Match[str]) -> Block:
    line = match.string.count("\n", 0, match.start("text"))
    return Block(match["language"], match["text"], match["note"] or "", line)


def files_before(page: Path) -> Iterator[Block]:
    """What the pages that come before one have their readers save, the first page first."""
    for before in AFTER.findall(page.read_text()):
        earlier = page.parent / before
        yield from files_before(earlier)
        blocks = map(block_at, BLOCK.finditer(earlier.read_text()))
        yield from (block for block in blocks if block.note.startswith(("file: ", "change: ")))


def commands_of(text: str) -> Iterator[Command]:
    for typed in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, expected = typed.partition("\n")
        yield Command(command, expected)


class Page:
    """What the blocks of a page share: names, an event loop, and the programs left running."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self.path = path
        self.module = types.ModuleType("page")
        self.loop = stack.enter_context(asyncio.Runner())
        self.stack = stack
        self.jobs: list[subprocess.Popen[str]] = []
        # Annotations are looked up in the module of their class.
        sys.modules["page"] = self.module
        sys.path.insert(0, "")

    def run(self, block: Block) -> None:
        if block.note.startswith("file: "):
            self._write(block)
        elif block.note.startswith("change: "):
            self._change(block)
        elif block.language == "python":
            self._execute(block)
        elif block.language == "console" and (how := RUN.fullmatch(block.note)):
            for command in commands_of(block.text):
                self._type(command, how)

    def told(self, block: Block) -> str:
        """A block whose numbers may differ, with what its commands print now; another one as it is."""
        how = RUN.fullmatch(block.note)
        if how is None or not how["loose"]:
            self.run(block)
            return block.text
        return "".join(f"$ {one.text}\n{printed_by(one.text, how)}" for one in commands_of(block.text))

    def _write(self, block: Block) -> None:
        file = Path(block.note.removeprefix("file: "))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.text)
        if file.suffix == ".py":
            importlib.invalidate_caches()
            imported = importlib.import_module(".".join(file.with_suffix("").parts))
            vars(self.module).update({k: v for k, v in vars(imported).items() if not k.startswith("__")})

    def _change(self, block: Block) -> None:
        file = Path(block.note.removeprefix("change: "))
        old, new = (
            "".join(f"{line[1:]}\n" for line in block.text.splitlines() if line[0] in kind) for kind in (" -", " +")
        )
        if file.read_text().count(old) != 1:
            sys.exit(f"{self.path}: {file} does not have once what is changed:\n{old}")
        file.write_text(file.read_text().replace(old, new))
        # What is written from now on imports it as it has become.
        sys.modules.pop(".".join(file.with_suffix("").parts), None)

    def _execute(self, block: Block) -> None:
        # Empty lines in front make a traceback name the line of the page.
        source = "\n" * block.line + block.text
        code = compile(source, self.path, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)

        pending: object = eval(code, vars(self.module))
        if asyncio.iscoroutine(pending):
            self.loop.run(pending)

    def _type(self, command: Command, how: re.Match[str]) -> None:
        if command.text.endswith("&"):
            self._start(command)
            return
        if kill := KILL.fullmatch(command.text):
            job = self.jobs.pop(int(kill["number"]) - 1)
            job.send_signal(signal.SIGKILL if kill["nine"] else signal.SIGTERM)
            job.communicate()
            return
        if command.text.startswith("curl ") and curl_version() < CURL_MIN:
            return
        printed = printed_by(command.text, how)
        clean = numberless if how["loose"] else str
        if not agrees(clean(command.expected), clean(printed)):
            again = f"\npython tests/docs/run_page.py {self.path} --write puts it there" if how["loose"] else ""
            sys.exit(f"{self.path}: $ {command.text}\nexpected:\n{command.expected}\ngot:\n{printed}{again}")

    def _start(self, command: Command) -> None:
        text = f"exec {command.text.removesuffix('&')}"
        program = subprocess.Popen(text, shell=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.stack.enter_context(program)
        self.stack.callback(program.terminate)
        self.jobs.append(program)
        printed = ""
        while not agrees(command.expected, printed):
            line = program.stdout.readline() if program.stdout else ""
            if not line:
                sys.exit(f"{self.path}: $ {command.text}\nexpected:\n{command.expected}\nended after:\n{printed}")
            printed += line


def printed_by(command: str, how: re.Match[str]) -> str:
    text = f"({command}) 2>&1{how['filter']}" if how["filter"] else command
    done = subprocess.run(text, shell=True, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.stdout


def numberless(text: str) -> str:
    """With all numbers alike, none at the beginning of a line, and all that is drawn with dashes as long."""
    return re.sub(r"-+", "-", re.sub(r"\d[\d.,]*", "0", re.sub(r"^ *\d[\d.]* ", "", text, flags=re.MULTILINE)))


def agrees(expected: str, printed: str) -> bool:
    return doctest.OutputChecker().check_output(expected, printed, MATCHING)


@cache
def curl_version() -> tuple[int, ...]:
    """Of the `curl` that is here; nothing where there is none."""
    if shutil.which("curl") is None:
        return ()
    told = subprocess.run(["curl", "--version"], check=False, text=True, stdout=subprocess.PIPE).stdout
    found = re.match(r"curl (\d+)\.(\d+)", told)
    return tuple(map(int, found.groups())) if found else ()


def free_port() -> int:
    """A port that nobody listens on; processes begin to look at different ones."""
    for offset in range(len(PORTS)):
        port = PORTS[(os.getpid() + offset) % len(PORTS)]
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)):
                return port
    sys.exit(f"nothing is free in {PORTS}")


def main(path: Path) -> None:
    port = free_port()
    os.environ["PORT"] = str(port)
    with ExitStack() as stack:
        page = Page(path, stack)
        for block in files_before(path):
            page.run(block)
        for match in BLOCK.finditer(path.read_text().replace(PORT_SHOWN, f":{port}")):
            page.run(block_at(match))


def write(path: Path) -> None:
    """Put what commands print now into a page."""
    text, at = path.read_text(), 0
    with ExitStack() as stack:
        stack.enter_context(contextlib.chdir(stack.enter_context(tempfile.TemporaryDirectory())))
        page = Page(path, stack)
        for block in files_before(path):
            page.run(block)
        while match := BLOCK.search(text, at):
            block = block_at(match)
            told = page.told(block)
            rest = renamed(text[match.end("text") :], block.text, told)
            at = match.start("text") + len(told)
            text = text[: match.start("text")] + told + rest
    path.write_text(text)


def renamed(text: str, old: str, new: str) -> str:
    """A text with the names of runs that a command prints now, in place of those that it printed."""
    names = dict(zip(RUN_NAME.findall(old), RUN_NAME.findall(new), strict=False))
    return RUN_NAME.sub(lambda found: names.get(found[0], found[0]), text)


if __name__ == "__main__":
    # Compiled files are told from outdated ones by size and second: a page changes files faster than that.
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    page_file = Path(sys.argv[1]).resolve()
    write(page_file) if sys.argv[2:] == ["--write"] else main(page_file)
