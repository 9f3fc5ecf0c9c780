"""Sees to it that no container outlives whoever stands for it: a script of its own, as it mostly waits.

It imports nothing of Hanse's, and little at all until there is something to do: there is one for each container.
Its input ends when that process has ended, however it did; then it has the engine take the container away, again and
again where that does not answer, within a limit. It is in a session of its own and knows no other signal than the
last, and the keeper waits for it.
"""

import os
import signal
import sys
import time

TRIES_MAX = 10
"""Within which an engine that does not answer is asked again."""

ENGINE_SECONDS = 10.0
AGAIN_SECONDS = 1.0

LATE_SECONDS = 2.0
"""In which an engine may still make a container that was asked for by somebody who has ended meanwhile."""


def main(engine: str, name: str) -> None:
    """Wait, and clear away."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        _ = signal.signal(number, signal.SIG_IGN)
    was_made = b""
    while data := os.read(0, 16):
        was_made += data
    _clear(engine, name)
    if not was_made:
        time.sleep(LATE_SECONDS)  # noqa: TID251 - a process by itself, with nothing else to do
        _clear(engine, name)


def _clear(engine: str, name: str) -> None:
    for _ in range(TRIES_MAX):
        _ = _asked(engine, "rm", "--force", "--volumes", name)
        if _asked(engine, "ps", "--all", "--quiet", "--filter", f"name=^{name}$") == b"":
            return
        time.sleep(AGAIN_SECONDS)  # noqa: TID251 - see above


def _asked(*words: str) -> "bytes | None":
    """What a command says; None where it fails or takes too long."""
    import subprocess

    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=ENGINE_SECONDS)  # noqa: S603 - words of ours
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


if __name__ == "__main__":
    main(*sys.argv[1:])
