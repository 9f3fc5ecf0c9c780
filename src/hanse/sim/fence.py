"""The fence around a simulated world: while it is up, nothing real is done, and no real chance gets in.

Real I/O is refused by an audit hook, which CPython asks in C, so that no way of importing gets around it. Two things
have no audit event in every Python that we run on: 3.11 has none for `time.sleep` and for the start of a thread. And
no event can hand out another time or another draw. So while a fence is up a few functions of the standard library have
stand-ins, put in place on entry and taken away on exit: this is the one place where Hanse replaces functions, since
there is no other way to have libraries that read clocks (logging, asyncio, uuid) tell the world's time.

A stand-in looks at the file that asks. An app's own code is refused, with the name of what to use instead, since what
it does with a real clock would be another bug in production: the host's clock is skewed, the world's is not. The
standard library, installed packages and Hanse itself get the world's time and draws from its seed.

What no fence sees: `datetime.now`, which reads the clock in C (`hanse.sim.clocks` looks for it), names that were bound
before (`from time import time`, there too), extension modules that call the system by themselves, and C libraries'
own randomness, such as SQLite's `random()`. Other threads, those of test runners and debuggers, are not fenced.
"""

from __future__ import annotations

import functools
import inspect
import os
import random  # noqa: TID251 - looked at for its file
import secrets  # noqa: TID251 - looked at for its file
import sys
import sysconfig
import threading
import uuid  # noqa: TID251 - looked at for its file
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath
from types import FrameType, TracebackType
from typing import ClassVar, NoReturn, Self, final

from hanse.kernel.faults import Misconfigured
from hanse.sim.stand_ins import CALL, ID, KEEP, PROCESS, SLEEP, TASK, Row, Virtual, rows, save_generator, seed_generator

REFUSED_MAX = 100
"""Refusals that a fence remembers; the run has failed with the first."""

TOLD_MAX = 80
"""Characters of a path or an address that a refusal shows."""

_SOCKETS = "__new__ bind connect getaddrinfo gethostbyaddr gethostbyname getnameinfo sendmsg sendto sethostname"
_PROCESSES = "exec fork forkpty kill killpg posix_spawn spawn startfile startfile/2 system"
_FILES = "chflags chmod chown link mkdir remove removexattr rename rmdir setxattr symlink truncate utime"
_COPIES = "chown copyfile copymode copystat copytree make_archive move rmtree unpack_archive"

REFUSED: Mapping[str, str] = {
    **dict.fromkeys([f"socket.{name}" for name in _SOCKETS.split()], CALL),
    **dict.fromkeys([f"os.{name}" for name in _PROCESSES.split()], PROCESS),
    **dict.fromkeys(["subprocess.Popen", "pty.spawn", "signal.pthread_kill", "webbrowser.open"], PROCESS),
    **dict.fromkeys(["syslog.openlog", "syslog.syslog"], "log with the logging module, which the world reads"),
    **dict.fromkeys([f"os.{name}" for name in _FILES.split()], KEEP),
    **dict.fromkeys([f"shutil.{name}" for name in _COPIES.split()], KEEP),
    **dict.fromkeys(["tempfile.mkstemp", "tempfile.mkdtemp"], KEEP),
    **dict.fromkeys(["_thread.start_new_thread", "_thread.start_joinable_thread"], TASK),
    "time.sleep": SLEEP,
}
"""Audit events that are refused whatever their arguments are, and what to do instead."""

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@final
class Fenced(BaseException):
    """Something real was tried in a simulated world.

    Not an `Exception`, so that no handler that catches what its work may raise can hide it.

    Attributes:
        what: What was tried.
        instead: What to do instead; empty where `what` says it all.
        where: `file:line` of the app's code that it came from; empty where none was on the way.
    """

    def __init__(self, what: str, instead: str = "", where: str = "") -> None:
        """Say what was tried, what to do instead, and where."""
        super().__init__(what, instead, where)
        self.what: str = what
        self.instead: str = instead
        self.where: str = where

    def __str__(self) -> str:
        place = f" at {self.where}" if self.where else ""
        advice = f"; {self.instead}" if self.instead else ""
        return f"{self.what}{place}, in a simulated world{advice}"


@final
class Fence:
    """Keeps the real world out of a simulated one, while it is entered; one at a time in a process.

    Example:
        >>> import time
        >>> with Fence(lambda: 1_700_000_000.0, lambda: 0.0, seed=7) as fence:
        ...     try:
        ...         time.time()
        ...     except Fenced as fenced:
        ...         print(fenced.what, "-", fenced.instead)
        time.time() reads the real clock - take current().host.now()
        >>> len(fence.refused)
        1
    """

    _up: ClassVar[Fence | None] = None

    def __init__(self, now: Callable[[], float], monotonic: Callable[[], float], seed: int) -> None:
        """Make a fence, to be entered.

        Args:
            now: The world's wall clock, in seconds since 1970 (UTC).
            monotonic: The world's monotonic clock, in seconds.
            seed: What libraries draw is drawn from it.
        """
        self.refused: list[Fenced] = []
        self.virtual: Virtual = Virtual(now, monotonic, seed)
        self.heard: Callable[[Fenced], object] | None = None
        self._thread: int = 0
        self._lifts: int = 0
        self._undo: list[Callable[[], object]] = []

    def __enter__(self) -> Self:
        """Put the fence up, for this thread.

        Raises:
            Misconfigured: One is up already.
        """
        if Fence._up is not None:
            raise Misconfigured("a fence is up already: one world runs at a time in a process, so run them in turn")
        _watch_events()
        self._thread = threading.get_ident()
        self._undo = [save_generator()]
        seed_generator(self.virtual.chance.getrandbits(64))
        # Importing a module in a handler would write its bytecode.
        self._put(sys, "dont_write_bytecode", value=True)
        for at, name, stand_in in _stand_ins():
            self._put(at, name, stand_in)
        Fence._up = self
        return self

    def __exit__(self, cls: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        Fence._up = None
        while self._undo:
            self._undo.pop()()

    def _put(self, at: object, name: str, value: object) -> None:
        self._undo.append(functools.partial(setattr, at, name, vars(at)[name]))
        setattr(at, name, value)

    @contextmanager
    def lifted(self) -> Generator[None]:
        """Let our own machinery do something real, such as writing a report. Nothing may be awaited meanwhile.

        What is drawn meanwhile is given back, so that a run that writes a report goes on as one that does not.
        """
        give_back = save_generator()
        self._lifts += 1
        try:
            yield
        finally:
            self._lifts -= 1
            give_back()

    @staticmethod
    def here() -> Fence | None:
        """The fence that is up around the running code; None where it is lifted, and in other threads."""
        fence = Fence._up
        return fence if fence is not None and fence.is_closed() else None

    def is_closed(self) -> bool:
        """Whether it holds here and now: it is not lifted, and this is the thread that put it up."""
        return not self._lifts and self._thread == threading.get_ident()

    def refuse(self, what: str, instead: str) -> NoReturn:
        """Refuse what was tried, whoever tried it.

        Raises:
            Fenced: Always.
        """
        fenced = Fenced(what, instead, _place(inspect.currentframe()))
        # Not the one that is raised: its traceback would keep the frames of a killed task alive.
        told = Fenced(*fenced.args)
        if len(self.refused) < REFUSED_MAX:
            self.refused.append(told)
        if self.heard is not None:
            _ = self.heard(told)
        raise fenced

    def grant(self, what: str, instead: str) -> None:
        """Refuse it to the app's own code; libraries may go on, with something virtual.

        Raises:
            Fenced: The app's own code asks.
        """
        asker, through = _asker(inspect.currentframe())
        if asker is None or is_library(asker.f_code.co_filename):
            return
        if through:
            self.refuse(f"{through}() draws real randomness", ID if through.startswith("uuid.") else instead)
        self.refuse(what, instead)


def refusal(event: str, args: Sequence[object]) -> tuple[str, str] | None:
    """What an audit event tries and what to do instead, where it is refused.

    Example:
        >>> refusal("open", ("a.txt", "w", 0))[0]
        "open('a.txt', 'w')"
        >>> refusal("open", ("a.txt", "r", 0))
    """
    if event == "open":
        return _opening(*args)
    if event == "sqlite3.connect":
        return _connecting(args[0])
    instead = REFUSED.get(event)
    return None if instead is None else (f"{event}({_told(args)})", instead)


def _opening(path: object, mode: object, flags: object) -> tuple[str, str] | None:
    """A number is a file that is open already; nothing is written to the null device."""
    letters = mode if isinstance(mode, str) else ""
    writes = bool(set("wax+").intersection(letters)) or (isinstance(flags, int) and bool(flags & _WRITING))
    if not writes or isinstance(path, int) or path == os.devnull:
        return None
    return f"open({_told((path, letters or 'for writing'))})", KEEP


def _connecting(path: object) -> tuple[str, str] | None:
    name = path.decode(errors="replace") if isinstance(path, bytes) else str(path)
    if name == ":memory:" or (name.startswith("file:") and (":memory:" in name or "mode=memory" in name)):
        return None
    return f"sqlite3.connect({_told((name,))})", "keep it in a Collection, or connect to ':memory:'"


def _told(args: Sequence[object]) -> str:
    """Paths and addresses; other arguments would show where in memory they are."""
    return ", ".join(shown for arg in args if (shown := _shown(arg)))


def _shown(arg: object) -> str:
    plain = str(arg) if isinstance(arg, PurePath) else arg
    return repr(plain)[:TOLD_MAX] if plain and issubclass(type(plain), str | bytes | tuple) else ""


@final
class _Hook:
    """Asked by CPython before each thing that its audit events name."""

    __cantrace__ = True  # or no debugger could stop in it

    def __call__(self, event: str, args: tuple[object, ...]) -> None:
        fence = Fence.here()
        if fence is not None and (tried := refusal(event, args)) is not None:
            fence.refuse(*tried)


@functools.cache
def _watch_events() -> None:
    """Add the hook, which no Python can remove again: once per process, and never before a fence is put up."""
    sys.addaudithook(_Hook())


def _folders() -> tuple[str, ...]:
    """Where code lies that is not the app's own; links are followed, as either way may lead there."""
    installed = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    own = Path(__file__).absolute().parents[1]
    paths = [Path(os.__file__).parent, own, *(Path(path) for path in installed if path)]
    return tuple(dict.fromkeys(f"{found}{os.sep}" for path in paths for found in (path, path.resolve())))


_LIBRARIES = ("<frozen ", *_folders())
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_DRAWING = {random.__file__: "random", secrets.__file__: "secrets", uuid.__file__: "uuid"}


@functools.cache
def is_library(file: str) -> bool:
    """Whether code of this file is the standard library's, an installed package's or Hanse's own, not the app's.

    Example:
        >>> is_library(os.__file__), is_library("/home/me/shop.py"), is_library("<frozen os>"), is_library("<string>")
        (True, False, True, False)
    """
    return file.startswith(_LIBRARIES) or any(folder in file for folder in _INSTALLED)


def _asker(frame: FrameType | None) -> tuple[FrameType | None, str]:
    """Whose code asks, and what it called where that goes through a module which makes draws out of entropy."""
    through = ""
    while frame is not None and ((file := frame.f_code.co_filename) == __file__ or file in _DRAWING):
        if file != __file__:
            through = f"{_DRAWING[file]}.{frame.f_code.co_qualname.removesuffix('.__init__')}"
        frame = frame.f_back
    return frame, through


def _place(frame: FrameType | None) -> str:
    """Where in the app's own code the running code was called from."""
    while frame is not None and is_library(frame.f_code.co_filename):
        frame = frame.f_back
    return "" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _stand_in(row: Row) -> Callable[..., object]:
    """What takes a function's place: itself, unless it is called inside a fence."""
    real, value = row.real, row.value

    @functools.wraps(real)
    def stand_in(*args: object, **options: object) -> object:
        fence = Fence.here()
        if fence is None or not row.asks(*args, **options):
            return real(*args, **options)
        if value is None:
            fence.refuse(row.what, row.instead)
        fence.grant(row.what, row.instead)
        return value(fence.virtual, *args, **options)

    return stand_in


@functools.cache
def _stand_ins() -> list[tuple[object, str, Callable[..., object]]]:
    """Made once, as names that were imported inside a fence are kept beyond it.

    A function of C is no method of a class that keeps it, and neither is what stands in for it.
    """
    made = [(row, _stand_in(row)) for row in rows()]
    return [(row.at, row.name, put if isinstance(row.at, type) else staticmethod(put)) for row, put in made]
