"""What Linux knows of processes and other systems do not: whose children are whose, and who dies with whom.

Elsewhere these do nothing: then a child outlives a parent that is killed, unless it is in a group that somebody ends.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000
_PARENT = 1
"""Where /proc/PID/stat has the parent, behind the state."""


def _prctl_of() -> Callable[[int, int], int] | None:
    """The call, found before anything forks: a child that was forked should import nothing."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    call = library.prctl
    call.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    return lambda option, value: int(call(option, value, 0, 0, 0))


_prctl = _prctl_of()


def leave_network() -> None:
    """Have this process, and all that it starts, be in a network of their own, in which nothing is up.

    Whoever may not do so as they are, does it as a user who has rights there alone.

    Raises:
        OSError: This machine does not allow it; says what it would take.
    """
    if not sys.platform.startswith("linux"):
        raise OSError(errno.ENOSYS, "it takes Linux, as other systems have no networks for single processes")
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    user, group = os.geteuid(), os.getegid()
    if library.unshare(_NEW_NETWORK) == 0:
        return
    if library.unshare(_NEW_USER | _NEW_NETWORK) != 0:
        why = os.strerror(ctypes.get_errno())
        raise OSError(
            ctypes.get_errno(),
            f"it takes root (CAP_SYS_ADMIN), or a kernel that lets users have namespaces "
            f"(/proc/sys/user/max_user_namespaces, max_net_namespaces): {why}",
        )
    # As whom they were before, and as nobody else.
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        _ = (PROC / "self" / name).write_text(text)


def adopt() -> None:
    """Become the parent of all who lose theirs below this process, so that none is out of reach."""
    if _prctl is not None:
        _ = _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with(parent: int, number: int = signal.SIGKILL) -> None:
    """Get a signal when the parent ends, however it does; called by the child.

    Args:
        parent: Its process id: it may have ended before this was called.
        number: Which signal.
    """
    if _prctl is None:
        return
    _ = _prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def children_of(parent: int, *, proc: Path = PROC) -> Iterator[int]:
    """Process ids of those whose parent this is; none where nobody tells."""
    for pid in _processes(proc):
        with suppress(OSError, ValueError, IndexError):
            fields = (proc / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
            if int(fields[_PARENT]) == parent:
                yield pid


def marked(mark: str, *, proc: Path = PROC) -> Iterator[int]:
    """Process ids of those that were started with a `NAME=value` in their environment; none where nobody tells."""
    wanted = mark.encode()
    for pid in _processes(proc):
        with suppress(OSError):
            if wanted in (proc / str(pid) / "environ").read_bytes().split(b"\0"):
                yield pid


def _processes(proc: Path) -> Iterator[int]:
    with suppress(OSError):
        yield from (int(name) for name in os.listdir(proc) if name.isdigit())  # noqa: PTH208 - names alone, and many
