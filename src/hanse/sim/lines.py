"""What is logged in a world is an effect like any other."""

from __future__ import annotations

import logging
from typing import final

from hanse.sim.check import addressless
from hanse.sim.loop import Loop
from hanse.sim.trace import Trace

_FORMATTER = logging.Formatter()


@final
class Lines(logging.Handler):
    """Notes the lines that the processes of a world log; what a dead one says is not heard.

    Warnings and worse: whether anything less is made into a record at all depends on how whoever runs the world has
    set up logging, and one seed is to do one thing. Where objects lie in memory is left out for the same reason.
    """

    def __init__(self, loop: Loop, trace: Trace) -> None:
        """Listen, until `close`."""
        super().__init__(logging.WARNING)
        self._loop = loop
        self._trace = trace
        # Before all others: see `_let_go`.
        logging.getLogger().handlers.insert(0, self)

    def emit(self, record: logging.LogRecord) -> None:
        """Note a line."""
        _let_go(record)
        lane = self._loop.lane
        if lane.alive:
            line = addressless(f"{record.levelname} {record.name}: {record.getMessage()}")
            self._trace.add(self._loop.now, lane.name, "log", line)

    def close(self) -> None:
        """Hear nothing more."""
        logging.getLogger().removeHandler(self)
        super().close()


def _let_go(record: logging.LogRecord) -> None:
    """Keep the text of a record, and no exception: its frames hold the world, and loggers keep records for longer.

    A world that somebody still holds dies late, and what was under way in it is heard complaining then.
    """
    record.msg, record.args = record.getMessage(), None
    if record.exc_info and record.exc_info[0] is not None:
        record.exc_text = record.exc_text or _FORMATTER.formatException(record.exc_info)
        record.exc_info = None
