"""The parent of `hanse dev`: holds the port, watches the files, and runs the app as a child, anew on every change.

Theory of operation: three sources put events into one queue: a watcher (files have changed), a waiter for each child
(it has ended), and the signal handlers. The parent takes them one by one; `hanse.cli.reload.decide` says what each
means.

The socket is bound and listening before the first child starts, and outlives them all: who connects while there is
none waits for the next, or is told by a `StandIn` what is wrong.

Beside the child that serves waits a *spare*: a process that has imported Hanse and nothing of the user's, and goes on
when it is told to. So a change costs the import of the app, and not that of the framework.

Each child reads its turn from a pipe whose writing end only the parent has: it ends when the parent does, however that
happens. It leads a process group of its own, so that Ctrl-C reaches the parent alone and the child is told once.
"""

from __future__ import annotations

import importlib.util
import math
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import final

import msgspec

from hanse.cli.excerpt import Excerpt
from hanse.cli.output import Output
from hanse.cli.reload import STOPPING, Changed, Decision, Ended, Event, Signalled, State, decide, exit_code
from hanse.cli.stand_in import StandIn
from hanse.cli.watch import FILES_MAX, Names, roots, snapshot, watch
from hanse.kernel.host import Host

PATIENCE_SECONDS = 10.0
"""How much longer than its grace a child may take to end before it is killed."""
REPORT_BYTES_MAX = 48 * 1024
"""Longest report of a child that failed: what a pipe takes without a reader."""
BACKLOG = 2048
"""Connections that wait for the next child."""

CHILD = "HANSE_DEV_CHILD"
"""The variable that makes a child of the same command: what it listens on, waits on and reports to."""

_PACKAGE = str(Path(__file__).parents[1])


class Child(msgspec.Struct, frozen=True):
    """A process, and the pipes to it and from it."""

    process: subprocess.Popen[bytes]
    turn: int
    report: int


def supervise(
    arguments: Sequence[str], folders: Iterable[Path], listener: socket.socket, output: Output, *, grace: float
) -> int:
    """Run `hanse` with these arguments as a child, anew on every change below the folders, until a signal comes.

    Args:
        arguments: The command line without the program's name.
        folders: What is watched.
        listener: Bound; children listen on it.
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

    def put(names: Names) -> None:
        events.put(Changed(names))

    threading.Thread(target=watch, args=(watched, put), name="hanse-watch", daemon=True).start()
    listener.listen(BACKLOG)
    return _Parent(arguments, events, listener, output).run(grace + PATIENCE_SECONDS)


@final
class _Parent:
    def __init__(
        self, arguments: Sequence[str], events: queue.SimpleQueue[Event], listener: socket.socket, output: Output
    ) -> None:
        self._command = [sys.executable, "-m", "hanse", *arguments]
        self._events = events
        self._listener = listener
        self._output = output
        self._generation = 0
        self._child: Child | None = None
        self._spare: Child = self._spawn()
        self._stand_in: StandIn | None = None

    def run(self, stop_seconds_max: float) -> int:
        self._start()
        now = Host.system().monotonic
        state, code, killed_at = State.RUNNING, None, math.inf
        while code is None:
            # Files that go on changing give nobody more time.
            killed_at = min(killed_at, now() + stop_seconds_max) if state in STOPPING else math.inf
            try:
                event = self._events.get(timeout=None if killed_at == math.inf else max(0.0, killed_at - now()))
            except queue.Empty:
                self._send(signal.SIGKILL)
                killed_at = math.inf
                continue
            if isinstance(event, Changed):
                self._forget(event.names)
            decision = decide(state, event)
            state, code = decision.state, decision.leave
            self._do(decision, event)
        self._dismiss(self._spare)
        return code

    def _do(self, decision: Decision, event: Event) -> None:
        if decision.say:
            self._output.note(f"hanse: {decision.say}")
        if decision.send:
            self._send(decision.send)
        if decision.start:
            self._start()
        elif decision.state is State.WAITING and isinstance(event, Ended):
            found = Excerpt(f"the app has ended with exit code {exit_code(event.code)}")
            if event.report:
                found = msgspec.json.decode(event.report, type=Excerpt)
            self._stand_in = StandIn(self._listener, found, self._generation)

    def _forget(self, names: Sequence[str]) -> None:
        """Remove what is compiled of files that have changed: Python tells it by whole seconds, and so may be wrong."""
        for name in names:
            with suppress(OSError, NotImplementedError):
                Path(importlib.util.cache_from_source(name)).unlink()
        if any(name.startswith(_PACKAGE) for name in names):
            # Somebody works on Hanse itself, which a spare has imported as it was.
            self._dismiss(self._spare)
            self._spare = self._spawn()

    def _dismiss(self, spare: Child) -> None:
        """Have a child that is not needed end by itself."""
        os.close(spare.turn)
        _ = spare.process.wait()
        os.close(spare.report)

    def _spawn(self) -> Child:
        turn, ours = os.pipe()
        report, theirs = os.pipe()
        fds = [self._listener.fileno(), turn, theirs]
        process = subprocess.Popen(  # noqa: S603  # our own command line
            self._command,
            env={**os.environ, CHILD: ",".join(map(str, fds))},
            pass_fds=fds,
            process_group=0,
            stdin=subprocess.DEVNULL,
        )
        os.close(turn)
        os.close(theirs)
        return Child(process, ours, report)

    def _start(self) -> None:
        if self._stand_in is not None:
            self._stand_in.leave()
            self._stand_in = None
        self._generation += 1
        child = self._spare
        with suppress(BrokenPipeError):  # it has ended already, which the waiter tells
            _ = os.write(child.turn, f"{self._generation}\n".encode())
        self._child = child
        threading.Thread(target=self._wait, args=(child,), name="hanse-wait", daemon=True).start()
        self._spare = self._spawn()

    def _wait(self, child: Child) -> None:
        code = child.process.wait()
        os.set_blocking(child.report, False)
        report = b""
        with suppress(BlockingIOError):
            report = os.read(child.report, REPORT_BYTES_MAX)
        os.close(child.report)
        os.close(child.turn)
        self._events.put(Ended(code, report))

    def _send(self, number: int) -> None:
        if self._child is not None:
            self._child.process.send_signal(number)
