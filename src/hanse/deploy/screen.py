"""Writes to whoever started a system, and never waits for them: what they do not read is left out, and that is told.

A pipe that nobody reads fills up, and whoever writes into it stands still; a supervisor must not.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import final

PIECES_MAX = 1_000
"""Pieces of text that wait to be written."""

CLOSE_SECONDS = 1.0
"""How long what waits may take at the end."""


@final
class Screen:
    r"""See the module.

    Args of the constructor:
        write: Writes bytes; may take as long as it likes, and may fail once nobody is there any more.

    Example:
        >>> told: list[bytes] = []
        >>> screen = Screen(told.append)
        >>> screen.show("hanse: all is ready")
        >>> screen.close()
        >>> told
        [b'hanse: all is ready\n']
    """

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._waiting: queue.Queue[str | None] = queue.Queue(PIECES_MAX)
        self._left_out = 0
        self._thread = threading.Thread(target=self._run, name="screen", daemon=True)
        self._thread.start()

    def show(self, text: str) -> None:
        """Have a text written, as soon as somebody takes it."""
        if self._left_out:
            note = f"hanse: {self._left_out} lines are left out, as nobody read them; see `hanse logs`"
            with suppress(queue.Full):
                self._waiting.put_nowait(note)
                self._left_out = 0
        try:
            self._waiting.put_nowait(text)
        except queue.Full:
            self._left_out += text.count("\n") + 1

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Have what waits written, as far as that takes no longer."""
        with suppress(queue.Full):
            self._waiting.put(None, timeout=seconds)
        self._thread.join(seconds)

    def _run(self) -> None:
        while (text := self._waiting.get()) is not None:
            # Should they have closed their end, services run on.
            with suppress(OSError):
                _ = self._write(f"{text}\n".encode(errors="backslashreplace"))
