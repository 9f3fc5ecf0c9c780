"""Runs one Markdown page as its reader would, from top to bottom, in the current folder.

- A ```python block is executed. All blocks of a page share one namespace and one event loop, and may await.
- `<!-- file: name.py -->` above a block of any language writes it to that file; a Python one is then imported,
  and the page sees its names.
- `<!-- run -->` above a ```console block runs its `$ ` lines and compares what they print, `...` standing for
  anything. A line that ends in `&` goes on running until the page ends; its output is awaited, not its end.

The default port is shown on pages, and may be taken where they are tested: another one takes its place.
"""

import ast
import asyncio
import doctest
import importlib
import os
import re
import socket
import subprocess
import sys
import types
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(
    r"^(?:<!-- (?P<note>[^\n]*) -->\n+)?```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
PORT_SHOWN = ":8000"
# Below those that the system gives to connections of its own.
PORTS = range(20_000, 32_000)
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


def blocks_of(page: str) -> Iterator[Block]:
    for match in BLOCK.finditer(page):
        line = page.count("\n", 0, match.start("text"))
        yield Block(match["language"], match["text"], match["note"] or "", line)


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
        # Annotations are looked up in the module of their class.
        sys.modules["page"] = self.module
        sys.path.insert(0, "")

    def run(self, block: Block) -> None:
        if block.note.startswith("file: "):
            self._write(block)
        elif block.language == "python":
            self._execute(block)
        elif block.language == "console" and block.note == "run":
            for command in commands_of(block.text):
                self._type(command)

    def _write(self, block: Block) -> None:
        file = Path(block.note.removeprefix("file: "))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.text)
        if file.suffix == ".py":
            importlib.invalidate_caches()
            imported = importlib.import_module(".".join(file.with_suffix("").parts))
            vars(self.module).update({k: v for k, v in vars(imported).items() if not k.startswith("__")})

    def _execute(self, block: Block) -> None:
        # Empty lines in front make a traceback name the line of the page.
        source = "\n" * block.line + block.text
        code = compile(source, self.path, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)

        async def execute() -> None:
            pending: object = eval(code, vars(self.module))
            if asyncio.iscoroutine(pending):
                await pending

        self.loop.run(execute())

    def _type(self, command: Command) -> None:
        if command.text.endswith("&"):
            self._start(command)
            return
        done = subprocess.run(
            command.text, shell=True, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        if not agrees(command.expected, done.stdout):
            sys.exit(f"{self.path}: $ {command.text}\nexpected:\n{command.expected}\ngot:\n{done.stdout}")

    def _start(self, command: Command) -> None:
        text = f"exec {command.text.removesuffix('&')}"
        program = subprocess.Popen(text, shell=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.stack.enter_context(program)
        self.stack.callback(program.terminate)
        printed = ""
        while not agrees(command.expected, printed):
            line = program.stdout.readline() if program.stdout else ""
            if not line:
                sys.exit(f"{self.path}: $ {command.text}\nexpected:\n{command.expected}\nended after:\n{printed}")
            printed += line


def agrees(expected: str, printed: str) -> bool:
    return doctest.OutputChecker().check_output(expected, printed, MATCHING)


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
        for block in blocks_of(path.read_text().replace(PORT_SHOWN, f":{port}")):
            page.run(block)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
