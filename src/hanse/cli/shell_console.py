"""Runs code with top-level `await` while an event loop goes on.

The loop has a thread of its own, in which the app lives, so that rules and timers go on while somebody types. What
awaits runs in that loop; what does not runs in the main thread, where Ctrl-C reaches it. Ctrl-C while something is
awaited cancels just that.
"""

from __future__ import annotations

import ast
import asyncio
import code
import inspect
import sys
import threading
import traceback
from collections.abc import Callable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager, contextmanager
from types import CodeType, FunctionType
from typing import Generic, TypeVar

import click

from hanse.cli.output import fault_text
from hanse.kernel.faults import Fault

T = TypeVar("T")

AWAITING = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
SCRIPT = "<shell>"

Run = Callable[[Coroutine[object, object, object]], object]


class Left(Exception):
    """The code has asked to leave, with an exit code."""

    def __init__(self, exit_code: object) -> None:
        super().__init__(exit_code)
        self.exit_code: object = exit_code


class Inside(Generic[T]):
    """Something that lives in an event loop in a thread of its own, such as a node; `value` is what entering it gave.

    Args of the constructor:
        manager: Entered and left in the loop.
    """

    value: T
    _loop: asyncio.AbstractEventLoop
    _leave: asyncio.Event

    def __init__(self, manager: AbstractAsyncContextManager[T]) -> None:
        self._manager = manager
        self._entered = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="hanse-shell-loop", daemon=True)

    def run(self, work: Coroutine[object, object, object]) -> object:
        """Wait for what runs in the loop; Ctrl-C cancels it.

        Raises:
            KeyboardInterrupt: It was cancelled so.
            Left: It has asked to leave.
        """
        waiting = asyncio.run_coroutine_threadsafe(_leaving(work), self._loop)
        try:
            return waiting.result()
        except KeyboardInterrupt:
            _ = waiting.cancel()
            raise

    def enter(self) -> None:
        """Start the thread, and wait until it is inside. Raises what entering raised."""
        self._thread.start()
        _ = self._entered.wait()
        if self._failure is not None:
            raise self._failure

    def leave(self) -> None:
        """Leave, and wait for the end of the thread. Raises what leaving raised."""
        _ = self._loop.call_soon_threadsafe(self._leave.set)
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        try:
            asyncio.run(self._live())
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
            self._failure = error
        finally:
            self._entered.set()

    async def _live(self) -> None:
        self._loop, self._leave = asyncio.get_running_loop(), asyncio.Event()
        async with self._manager as self.value:
            self._entered.set()
            _ = await self._leave.wait()


async def _leaving(work: Coroutine[object, object, object]) -> object:
    """A SystemExit would end the loop; as another exception it reaches whoever waits."""
    try:
        return await work
    except SystemExit as error:
        raise Left(error.code) from None


@contextmanager
def inside(manager: AbstractAsyncContextManager[T]) -> Generator[Inside[T]]:
    """Be inside of something in a loop in a thread."""
    found = Inside(manager)
    found.enter()
    try:
        yield found
    finally:
        found.leave()


class Interpreter:
    """Runs code over names that stay.

    Args of the constructor:
        names: What code knows, and what it leaves.
        run: Runs what awaits, and waits for it.
    """

    def __init__(self, names: dict[str, object], run: Run) -> None:
        self.names: dict[str, object] = names
        self._run = run

    def execute(self, compiled: CodeType) -> None:
        """Run compiled code. Raises what it raises."""
        function = FunctionType(compiled, self.names)
        if not compiled.co_flags & inspect.CO_COROUTINE:
            _ = function()
            return
        try:
            _ = self._run(function())
        except Left as left:
            raise SystemExit(left.exit_code) from None

    def script(self, text: str) -> int:
        """Run a whole script, printing the value of each expression as a prompt would; its exit code.

        It ends at the first error.
        """
        try:
            for statement in ast.parse(text, SCRIPT).body:
                self.execute(compile(ast.Interactive([statement]), SCRIPT, "single", AWAITING))
        except Exception as error:  # noqa: BLE001 - any code may raise anything
            click.echo(told(error), err=True, nl=False)
            return error.exit_code if isinstance(error, Fault) else 1
        return 0


class Console(code.InteractiveConsole):
    """The prompt of Python, with top-level await, and faults in a line instead of a traceback."""

    def __init__(self, interpreter: Interpreter) -> None:
        super().__init__(interpreter.names, SCRIPT)
        self.compile.compiler.flags |= AWAITING
        self._interpreter = interpreter

    def runcode(self, code: CodeType) -> None:
        """Run what was typed."""
        try:
            self._interpreter.execute(code)
        except SystemExit:
            raise
        except KeyboardInterrupt:
            self.write("\nKeyboardInterrupt\n")
        except Exception as error:  # noqa: BLE001 - any code may raise anything
            self.write(told(error))


def told(error: Exception) -> str:
    """An error as the shell tells it: a fault in a line, anything else with the lines of its code."""
    if isinstance(error, Fault):
        return f"{type(error).__name__}: {fault_text(error)}\n"
    if isinstance(error, SyntaxError):
        return "".join(traceback.format_exception_only(error))
    frames = traceback.extract_tb(error.__traceback__)
    first = next((place for place, frame in enumerate(frames) if frame.filename == SCRIPT), 0)
    lines = ["Traceback (most recent call last):\n", *traceback.format_list(frames[first:])]
    return "".join([*lines, *traceback.format_exception_only(error)])


def wants_prompt() -> bool:
    """Whether somebody types, so that a prompt makes sense."""
    return sys.stdin.isatty()
