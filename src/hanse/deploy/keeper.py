"""The keeper: parent of all processes of a system. It starts what it is told to, and knows nothing of why.

Theory of operation: one thread and one selector. It reads what processes print and keeps it in files, hears from the
kernel who has ended, and takes orders from the supervisor, which is a process like the others, but for a pair of
sockets and the control socket that it inherits. Should the supervisor be killed, the keeper starts another one, tells
it what there is and what the last one wanted to be remembered, and no process notices.

Whoever loses their parent below the keeper becomes its child, and nobody outlives the keeper: its children get a
signal of the kernel's, and whatever they have left behind is ended by the guard (`hanse.deploy.guard`).
"""

from __future__ import annotations

import fcntl
import os
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import final

import msgspec

from hanse.deploy.guard import GUARD_GONE, end_children
from hanse.deploy.keeper_words import (
    Began,
    Forget,
    Gone,
    Greeting,
    Kept,
    Launch,
    Leave,
    News,
    Order,
    Remember,
    Signalled,
    StopAsked,
    Words,
    encoded,
    order_of,
)
from hanse.deploy.linux import adopt, die_with, marked
from hanse.deploy.output import LogFile, Output
from hanse.kernel.faults import Malformed
from hanse.kernel.host import Host

READ_BYTES = 256 * 1024
"""Read at once of what a process prints, before others have their turn."""

PIPE_BYTES = 1024 * 1024
"""Printed at once, where the system allows it, before a process waits for its turn to be read."""

READS_AT_END_MAX = 16
"""Reads of what a process has left in its pipe when it has ended: more than a pipe holds."""

UNHEARD_BYTES_MAX = 16 * 1024 * 1024
"""News that a supervisor does not take; then it is killed, and another one asks for what there is."""

AGAIN_SECONDS_MIN, AGAIN_SECONDS_MAX = 0.05, 5.0
"""Between the end of a supervisor and the start of the next one: it doubles, and begins anew after a minute."""

STEADY_SECONDS = 60.0

FAREWELL_SECONDS = 5.0
"""How long a supervisor that said it is over may take to end by itself."""

CANNOT_START = (2, 3, 78)
"""Exit codes with which a supervisor says, before anything runs, that another one would come no further."""

MARK = "HANSE_PROCESS"
"""Variable by which those are found whom a process has left behind: its name, and the keeper's process id."""

SUPERVISOR = "HANSE_KEEPER"
"""Variable that tells a supervisor which files are its sockets: to the keeper, and the control socket."""


class _Process(msgspec.Struct):
    """A process that was started for the supervisor."""

    name: str
    pid: int
    output: Output
    ended: bool = False
    code: int | None = None


@final
class Keeper:
    """See the module.

    Args of the constructor:
        supervisor: The command that starts a supervisor.
        control: What the control socket is: bound, and listening.
        host: Whose clocks tell.
    """

    def __init__(self, supervisor: Sequence[str], control: socket.socket, host: Host) -> None:
        self._command = list(supervisor)
        self._control = control
        self._host = host
        self._selector = selectors.DefaultSelector()
        self._processes: dict[str, _Process] = {}
        self._logs: dict[str, LogFile] = {}
        self._memory = ""
        self._stopping = False
        self._code: int | None = None
        self._farewell: int | None = None
        self._supervisor = _NOBODY
        self._begun = 0.0
        self._deaths = 0
        self._again: float | None = None

    def run(self) -> int:
        """Keep what there is until a supervisor says that it is over, or somebody insists; returns the exit code."""
        adopt()
        signals, theirs = socket.socketpair()
        for end in (signals, theirs):
            end.settimeout(0)
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, GUARD_GONE):
            _ = signal.signal(number, _wake_up)
        _ = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        _ = signal.pthread_sigmask(signal.SIG_SETMASK, ())
        _ = self._selector.register(signals, selectors.EVENT_READ, lambda: self._hear_signals(signals))
        self._start_supervisor()
        self._reap()  # whoever has ended before anybody listened
        while self._code is None:
            self._turn()
        self._end()
        return self._code

    def _turn(self) -> None:
        pause = None if self._again is None else max(0.0, self._again - self._host.monotonic())
        for key, _ in self._selector.select(pause):
            # Another one's turn may have closed this file.
            if key.fd in self._selector.get_map():
                key.data()
        if self._again is not None and self._host.monotonic() >= self._again:
            if self._farewell is None:
                self._start_supervisor()
            self._code = self._farewell

    # Signals

    def _hear_signals(self, signals: socket.socket) -> None:
        for number in signals.recv(4096):
            if number == GUARD_GONE:
                self._code = 128 + signal.SIGKILL
            elif number != signal.SIGCHLD:
                self._asked(number)
        self._reap()

    def _asked(self, number: int) -> None:
        """The first time, all is to end in order; the second time, at once."""
        if self._stopping:
            self._code = 128 + number
        self._stopping = True
        self._say(StopAsked())

    def _reap(self) -> None:
        while True:
            try:
                pid, status = _ended()
            except ChildProcessError:
                return
            if pid == 0:
                return
            process = next((one for one in self._processes.values() if one.pid == pid and not one.ended), None)
            if process is not None:
                # As long as nobody has asked how it ended, its number is that of its group and of nobody else.
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)
            if status is None:
                _, status = os.waitpid(pid, 0)
            if process is not None:
                self._gone(process, os.waitstatus_to_exitcode(status))
            elif pid == self._supervisor.pid:
                self._lost(os.waitstatus_to_exitcode(status))

    def _gone(self, process: _Process, code: int) -> None:
        for _ in range(READS_AT_END_MAX):
            if not self._read(process):
                break
        self._close(process)
        process.ended, process.code = True, code
        # The edge sends requests there until it hears of this, and to look for who was left behind takes a while.
        self._say(Gone(process.name, code, tuple(process.output.tail)))
        for pid in marked(f"{MARK}={self._mark(process.name)}"):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    # What processes print

    def _read(self, process: _Process) -> bool:
        """Read a piece; whether there may be more."""
        if process.output.fd < 0:
            return False
        try:
            data = os.read(process.output.fd, READ_BYTES)
        except BlockingIOError:
            return False
        if data:
            process.output.take(data)
        else:
            self._close(process)
        return bool(data)

    def _close(self, process: _Process) -> None:
        if process.output.fd >= 0:
            _ = self._selector.unregister(process.output.fd)
            process.output.close()

    # The supervisor

    def _start_supervisor(self) -> None:
        self._again = None
        self._begun = self._host.monotonic()
        ours, theirs = socket.socketpair()
        fds = (theirs.fileno(), self._control.fileno())
        environment = {**os.environ, SUPERVISOR: ",".join(map(str, fds))}
        process = subprocess.Popen(  # noqa: S603 - our own command line
            self._command,
            env=environment,
            pass_fds=fds,
            stdin=subprocess.DEVNULL,
            preexec_fn=_first_of_child(os.getpid()),  # noqa: PLW1509 - there is one thread
        )
        process.returncode = 0  # it is asked for here, and by nobody else
        theirs.close()
        self._supervisor = _Supervisor(process.pid, ours)
        _ = self._selector.register(ours, selectors.EVENT_READ, self._hear)
        kept = tuple(
            Kept(one.name, one.pid, one.ended, one.code, tuple(one.output.tail) if one.ended else ())
            for one in self._processes.values()
        )
        self._say(Greeting(self._memory, kept, self._stopping))

    def _lost(self, code: int) -> None:
        """The supervisor has ended."""
        self._hang_up()
        if self._farewell is not None:
            self._code = self._farewell
            return
        alive = any(not one.ended for one in self._processes.values())
        if not alive and (self._stopping or (code in CANNOT_START and not self._memory)):
            self._code = max(0, code)
            return
        if self._host.monotonic() - self._begun >= STEADY_SECONDS:
            self._deaths = 0
        pause = min(AGAIN_SECONDS_MAX, AGAIN_SECONDS_MIN * 2.0 ** min(self._deaths, 16))
        self._deaths += 1
        self._again = self._host.monotonic() + pause
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        _say(f"the supervisor has ended ({how}); another one goes on")

    def _hang_up(self) -> None:
        if self._supervisor.link is not None:
            _ = self._selector.unregister(self._supervisor.link)
            self._supervisor.link.close()
        self._supervisor = _NOBODY

    def _hear(self) -> None:
        supervisor = self._supervisor
        if supervisor.link is None:
            return
        try:
            data = supervisor.link.recv(READ_BYTES, socket.MSG_DONTWAIT)
            for line in supervisor.words.feed(data):
                self._obey(order_of(line))
        except BlockingIOError:
            # It said nothing: it can take more of what it has not heard yet.
            self._flush()
            return
        except (OSError, Malformed) as error:
            _say(f"the supervisor is not understood: {error}")
            data = b""
        if not data and self._supervisor is supervisor:
            # Its end is heard of by itself; whoever hangs up, and did not say that it is over, is no use any more.
            if self._farewell is None:
                with suppress(ProcessLookupError):
                    os.kill(supervisor.pid, signal.SIGKILL)
            _ = self._selector.unregister(supervisor.link)
            supervisor.link.close()
            supervisor.link = None

    def _say(self, news: News) -> None:
        if self._supervisor.link is not None:
            self._supervisor.unheard += encoded(news)
            self._flush()

    def _flush(self) -> None:
        supervisor = self._supervisor
        if supervisor.link is None:
            return
        with suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            while supervisor.unheard:
                sent = supervisor.link.send(supervisor.unheard, socket.MSG_DONTWAIT)
                del supervisor.unheard[:sent]
        if len(supervisor.unheard) > UNHEARD_BYTES_MAX:
            os.kill(supervisor.pid, signal.SIGKILL)
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if supervisor.unheard else 0)
        _ = self._selector.modify(supervisor.link, events, self._hear)

    def _obey(self, order: Order) -> None:
        match order:
            case Launch():
                self._launch(order)
            case Signalled(process, number, group):
                self._signal(process, number, group=group)
            case Forget(process):
                if process in self._processes and self._processes[process].ended:
                    del self._processes[process]
            case Remember(memory):
                self._memory = memory
            case Leave(code):
                self._farewell = code
                self._again = self._host.monotonic() + FAREWELL_SECONDS

    def _launch(self, order: Launch) -> None:
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        _widen(reading)
        try:
            process = subprocess.Popen(  # noqa: S603 - what the settings say
                order.arguments,
                cwd=order.directory,
                env={**order.environment, MARK: self._mark(order.process)},
                stdin=subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                start_new_session=True,
                preexec_fn=_first_of_child(os.getpid()),  # noqa: PLW1509 - there is one thread
            )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            os.close(reading)
            self._say(Gone(order.process, None, why=_why_not(order, error)))
            return
        finally:
            os.close(writing)
        process.returncode = 0  # it is asked for here, and by nobody else
        log = self._logs.setdefault(order.log, LogFile(Path(order.log)))
        one = _Process(order.process, process.pid, Output(reading, order.label, log, self._host.now))
        self._processes[order.process] = one
        _ = self._selector.register(reading, selectors.EVENT_READ, lambda: self._read(one))
        self._say(Began(order.process, process.pid))

    def _mark(self, name: str) -> str:
        """A process of another system on this machine may have the same name."""
        return f"{name}@{os.getpid()}"

    def _signal(self, name: str, number: int, *, group: bool) -> None:
        process = self._processes.get(name)
        if process is not None and not process.ended:
            with suppress(ProcessLookupError, PermissionError):
                (os.killpg if group else os.kill)(process.pid, number)

    # The end

    def _end(self) -> None:
        """Kill whoever is left, with their groups, and all whom they leave behind."""
        for process in self._processes.values():
            self._signal(process.name, signal.SIGKILL, group=True)
        while True:
            end_children()
            try:
                _ = os.waitpid(-1, 0)
            except ChildProcessError:
                break
        for process in self._processes.values():
            if not process.ended:
                _ = self._read(process)
                self._close(process)
        for log in self._logs.values():
            log.close()
        _ = signal.set_wakeup_fd(-1)
        self._hang_up()
        self._selector.close()


class _Supervisor:
    """A supervisor, and what it was told and has not taken yet."""

    def __init__(self, pid: int, link: socket.socket | None) -> None:
        self.pid = pid
        self.link = link
        self.words = Words()
        self.unheard = bytearray()


_NOBODY = _Supervisor(0, None)


def _widen(pipe: int) -> None:
    """Have a pipe hold more: on a busy machine, whoever prints much would wait for us again and again."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with suppress(OSError):  # a user may have so much of it, and no more
            _ = fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def _say(text: str) -> None:
    with suppress(OSError):  # whoever started it may have closed their end
        print(f"hanse: {text}", file=sys.stderr, flush=True)  # noqa: T201 - who else would say it


def _wake_up(number: int, frame: FrameType | None) -> None:
    """Nothing: the selector is told of it by a socket."""
    del number, frame


def _ended() -> tuple[int, int | None]:
    """Process id of a child that has ended, or 0; and how, where that could not be left for later.

    Raises:
        ChildProcessError: There are no children.
    """
    if not hasattr(os, "waitid"):  # pragma: no cover - Pythons on systems that have it not
        return os.waitpid(-1, os.WNOHANG)
    found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    return (0 if found is None else found.si_pid), None


def _first_of_child(parent: int) -> Callable[[], None]:
    """What a child does before it becomes what it was started for; it must not do much."""

    def first() -> None:
        _ = signal.signal(signal.SIGTTOU, signal.SIG_DFL)
        die_with(parent)

    return first


def _why_not(order: Launch, error: Exception) -> str:
    if isinstance(error, FileNotFoundError) and not Path(order.directory).is_dir():
        return f"there is no folder {order.directory}"
    if isinstance(error, FileNotFoundError):
        return f"there is no command {order.arguments[0]!r}"
    return f"cannot start {order.arguments[0]!r}: {getattr(error, 'strerror', None) or error}"


def environment_of(environ: Mapping[str, str]) -> tuple[int, int] | None:
    """The sockets that a supervisor has inherited: to the keeper, and the control socket; None for who is none.

    Example:
        >>> environment_of({"HANSE_KEEPER": "3,4"}), environment_of({})
        ((3, 4), None)
    """
    found = [int(text) for text in environ.get(SUPERVISOR, "").split(",") if text.isdigit()]
    return (found[0], found[1]) if len(found) == 2 else None  # noqa: PLR2004 - a pair
