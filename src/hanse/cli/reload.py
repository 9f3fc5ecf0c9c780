"""`hanse run --reload`: a parent that runs the same command as a child and starts it anew when a file changes.

Theory of operation: three sources put events into one queue: a watcher (files have changed), a waiter for each child
(it has ended), and the signal handlers. The parent takes them one by one; `decide` says what each means. The child
leads a process group of its own, so that Ctrl-C reaches the parent alone and the child is told exactly once; and it
holds the reading end of a pipe whose writing end the parent keeps, so that it drains and ends even where the parent is
killed (`follow_parent`). A child that does not start is not started again before the next change.
"""

from __future__ import annotations

import enum
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from hanse.cli.output import Output

FILES_MAX = 20_000
"""Files that are watched; those beyond change unnoticed, which is said."""
POLL_SECONDS = 0.5
"""How often files are looked at where watchfiles is not installed."""
PATIENCE_SECONDS = 10.0
"""How much longer than its grace a child may take to end before it is killed."""

SUFFIXES = (".py", ".toml")
IGNORED = frozenset({"__pycache__", "node_modules", "site-packages", "venv"})
PARENT_FD = "HANSE_PARENT_FD"
"""The variable that tells a child which file descriptor closes when its parent ends."""

Files = Mapping[str, int]


class State(enum.Enum):
    """What the parent is waiting for."""

    RUNNING = enum.auto()
    RESTARTING = enum.auto()
    """The child is draining; another will take its place."""
    WAITING = enum.auto()
    """There is no child; the next change starts one."""
    ENDING = enum.auto()


_STOPPING = (State.RESTARTING, State.ENDING)


class Changed(msgspec.Struct, frozen=True):
    """Files have changed."""

    names: tuple[str, ...]


class Ended(msgspec.Struct, frozen=True):
    """The child has ended."""

    code: int


class Signalled(msgspec.Struct, frozen=True):
    """Somebody wants the parent to end."""

    number: int


Event = Changed | Ended | Signalled


class Decision(msgspec.Struct, frozen=True):
    """What to do about an event.

    Attributes:
        state: What comes next.
        send: Signal for the child; 0 for none.
        start: Whether to start a child.
        leave: Exit code of the parent, where it is to end.
        say: What to tell the user.
    """

    state: State
    send: int = 0
    start: bool = False
    leave: int | None = None
    say: str = ""


def decide(state: State, event: Event) -> Decision:
    """What an event means in a state.

    Example:
        >>> decide(State.RUNNING, Changed(("app.py",))).send == signal.SIGTERM
        True
    """
    match event:
        case Signalled(number):
            return Decision(state, leave=0) if state is State.WAITING else Decision(State.ENDING, send=number)
        case Ended(code):
            return _after_end(state, exit_code(code))
        case Changed(names):
            return _after_change(state, f"{_some(names)} changed; starting anew")


def _after_end(state: State, code: int) -> Decision:
    if state is State.ENDING:
        return Decision(state, leave=code)
    if state is State.RESTARTING:
        return Decision(State.RUNNING, start=True)
    return Decision(State.WAITING, say=f"ended with exit code {code}; waiting for a change")


def _after_change(state: State, say: str) -> Decision:
    if state is State.RUNNING:
        return Decision(State.RESTARTING, send=signal.SIGTERM, say=say)
    if state is State.WAITING:
        return Decision(State.RUNNING, start=True, say=say)
    return Decision(state)  # another child is to come, or none


def exit_code(returned: int) -> int:
    """The exit code that a shell shows for what a process returned: 128 and its number for a signal.

    Example:
        >>> exit_code(-15), exit_code(3)
        (143, 3)
    """
    return 128 - returned if returned < 0 else returned


def changes(before: Files, after: Files) -> tuple[str, ...]:
    """The files that came, went or differ, in order of name."""
    return tuple(sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name)))


def files_in(folders: Iterable[Path]) -> Iterator[tuple[str, int]]:
    """The watched files below some folders, with the time of their last change; hidden folders are left out."""
    for folder in folders:
        for where, inner, names in os.walk(folder):
            inner[:] = [name for name in inner if not name.startswith(".") and name not in IGNORED]
            for name in names:
                if name.endswith(SUFFIXES):
                    path = Path(where, name)
                    try:
                        yield str(path), path.stat().st_mtime_ns
                    except OSError:
                        continue  # gone since it was listed: the same as not there


def snapshot(folders: Iterable[Path], limit: int = FILES_MAX) -> Files:
    """The watched files, at most `limit` of them."""
    found: dict[str, int] = {}
    for name, changed in files_in(folders):
        if len(found) >= limit:
            break
        found[name] = changed
    return found


def roots(folders: Iterable[Path]) -> list[Path]:
    """The folders without those that lie in another of them, so that nothing is looked at twice."""
    found = {folder.resolve() for folder in folders}
    return sorted(folder for folder in found if not any(other in folder.parents for other in found))


def supervise(arguments: Sequence[str], folders: Iterable[Path], output: Output, *, grace: float) -> int:
    """Run `hanse` with these arguments as a child, anew on every change below the folders, until a signal comes.

    Args:
        arguments: The command line without the program's name and without `--reload`.
        folders: What is watched.
        output: Where to say what happens.
        grace: Seconds that a child takes at most to drain.

    Returns:
        The exit code: the last child's.
    """
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda came, _frame: events.put(Signalled(came)))
    watched = roots(folders)
    if len(snapshot(watched)) >= FILES_MAX:
        output.note(f"hanse: there are more than {FILES_MAX} files here; changes of some may go unnoticed")
    watcher = threading.Thread(target=watch, args=(watched, events.put), name="hanse-watch", daemon=True)
    watcher.start()
    return _Parent(arguments, events, output).run(grace + PATIENCE_SECONDS)


class _Parent:
    def __init__(self, arguments: Sequence[str], events: queue.SimpleQueue[Event], output: Output) -> None:
        self._command = [sys.executable, "-m", "hanse", *arguments]
        self._events = events
        self._output = output
        self._child: subprocess.Popen[bytes] | None = None
        # Held open to the end of this process: whoever holds the other end learns of it.
        self._follow, self._alive = os.pipe()

    def run(self, stop_seconds_max: float) -> int:
        self._start()
        state, code = State.RUNNING, None
        while code is None:
            try:
                event = self._events.get(timeout=stop_seconds_max if state in _STOPPING else None)
            except queue.Empty:
                self._send(signal.SIGKILL)
                continue
            decision = decide(state, event)
            state, code = decision.state, decision.leave
            self._do(decision)
        return code

    def _do(self, decision: Decision) -> None:
        if decision.say:
            self._output.note(f"hanse: {decision.say}")
        if decision.send:
            self._send(decision.send)
        if decision.start:
            self._start()

    def _start(self) -> None:
        environ = {**os.environ, PARENT_FD: str(self._follow)}
        child = subprocess.Popen(  # noqa: S603  # our own command line
            self._command, env=environ, pass_fds=[self._follow], process_group=0, stdin=subprocess.DEVNULL
        )
        self._child = child
        waiter = threading.Thread(target=lambda: self._events.put(Ended(child.wait())), name="hanse-wait", daemon=True)
        waiter.start()

    def _send(self, number: int) -> None:
        if self._child is not None:
            self._child.send_signal(number)


def watch(folders: Sequence[Path], put: Callable[[Changed], object]) -> None:
    """Put a change whenever watched files have changed, for ever: by the system's notices, else by looking."""
    try:
        from watchfiles import watch as notices
    except ImportError:
        poll(folders, put, threading.Event())
        return
    try:
        for changed in notices(*folders, watch_filter=None, raise_interrupt=False, ignore_permission_denied=True):
            if names := tuple(sorted(path for _kind, path in changed if is_watched(path, folders))):
                put(Changed(names))
    except OSError:
        # The system has a limit on what it gives notice of.
        poll(folders, put, threading.Event())


class Pause(Protocol):
    """What is waited on between two looks, such as a `threading.Event`."""

    def wait(self, seconds: float, /) -> bool:
        """Wait; whether that was the last time."""
        ...


def poll(folders: Sequence[Path], put: Callable[[Changed], object], ended: Pause) -> None:
    """Put a change whenever a look at the files finds one, until `ended`."""
    before = snapshot(folders)
    while not ended.wait(POLL_SECONDS):
        after = snapshot(folders)
        if names := changes(before, after):
            put(Changed(names))
        before = after


def is_watched(path: str, folders: Iterable[Path]) -> bool:
    """Whether a change of this file counts: a source or settings, not in a hidden folder below those watched.

    Example:
        >>> is_watched(".code/shop/app.py", [Path(".code")]), is_watched("shop/.venv/x.py", [Path("shop")])
        (True, False)
    """
    file = Path(path)
    inner = next((file.relative_to(folder).parts[:-1] for folder in folders if folder in file.parents), ())
    return path.endswith(SUFFIXES) and not any(name.startswith(".") or name in IGNORED for name in inner)


def follow_parent(environ: MutableMapping[str, str]) -> None:
    """In a child: end as by SIGTERM when the parent ends, however it does; a child of the child does not."""
    if PARENT_FD in environ:
        descriptor = int(environ.pop(PARENT_FD))
        os.set_inheritable(descriptor, False)  # noqa: FBT003  # the signature is the system's
        threading.Thread(target=_follow, args=(descriptor,), name="hanse-follow", daemon=True).start()


def _follow(descriptor: int) -> None:
    os.read(descriptor, 1)
    signal.raise_signal(signal.SIGTERM)


def _some(names: Sequence[str]) -> str:
    first = Path(names[0]).name if names else "files"
    return first if len(names) <= 1 else f"{first} and {len(names) - 1} more"
