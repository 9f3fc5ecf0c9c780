"""Writes to whoever started a system, and never waits for them: what they do not read is left out, and that is told.

A pipe that nobody reads fills up, and whoever writes into it stands still; a supervisor must not.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import final

from hanse.deploy.live import erased

PIECES_MAX = 1_000
"""Pieces of text that wait to be written."""

CLOSE_SECONDS = 1.0
"""How long what waits may take at the end."""

WIDTH, HEIGHT = 80, 24
"""Of what does not tell its size."""

Pinned = Callable[[int, int], Sequence[str]]
"""Gives lines that stay below all others, for a terminal of so many columns and rows."""


@final
class Screen:
    r"""See the module.

    Args of the constructor:
        write: Writes bytes; may take as long as it likes, and may fail once nobody is there any more.
        size: Tells columns and rows of the terminal.

    Example:
        >>> told: list[bytes] = []
        >>> screen = Screen(told.append)
        >>> screen.show("hanse: all is ready")
        >>> screen.close()
        >>> told
        [b'hanse: all is ready\n']
    """

    def __init__(
        self, write: Callable[[bytes], object], size: Callable[[], tuple[int, int]] = lambda: (WIDTH, HEIGHT)
    ) -> None:
        self._write = write
        self._size = size
        self._pinned: Pinned | None = None
        self._drawn: Sequence[str] = ()
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

    def pin(self, pinned: Pinned) -> None:
        """Have lines stay below all others; where the screen is busy, the next text brings them along."""
        self._pinned = pinned
        with suppress(queue.Full):
            self._waiting.put_nowait("")

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Have what waits written, as far as that takes no longer."""
        with suppress(queue.Full):
            self._waiting.put(None, timeout=seconds)
        self._thread.join(seconds)

    def _run(self) -> None:
        texts: list[str | None] = []
        while None not in texts:
            texts = [self._waiting.get()]
            with suppress(queue.Empty):
                # All that waits is written at once, so that what is pinned is not drawn for each of it.
                while len(texts) < PIECES_MAX:
                    texts.append(self._waiting.get_nowait())
            # Should they have closed their end, services run on.
            with suppress(OSError):
                self._put([text for text in texts if text], last=None in texts)

    def _put(self, texts: Sequence[str], *, last: bool) -> None:
        """Write texts, and below them what is pinned; at the end it goes."""
        pinned, before = self._pinned, self._drawn
        told = "".join(f"{text}\n" for text in texts)
        if pinned is not None:
            width, height = self._size()
            self._drawn = () if last else pinned(width, height)
            if not texts and self._drawn == before:
                return
            told = erased(before, width) + told + "\n".join(self._drawn)
        if told:
            _ = self._write(told.encode(errors="backslashreplace"))
