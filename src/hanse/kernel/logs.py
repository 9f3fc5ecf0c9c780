"""How log records are written: one JSON object a line, or text where a person reads along.

Nothing happens on import: `set_up` is for whoever owns the process, which is the CLI. Libraries and services use the
standard `logging`; what a record belongs to (trace, operation, business tags) is taken from the current context.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TextIO

import msgspec

from hanse.kernel.context import Context, current
from hanse.kernel.settings import LogSettings
from hanse.kernel.traceparent import parse_traceparent

MESSAGE_CHARACTERS_MAX = 64 * 1024
"""Longest message that is written whole."""

_OF_EVERY_RECORD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
_COLOURS = {"debug": 2, "warning": 33, "error": 31, "critical": 31}
_TELLING = frozenset({"hanse.access", "hanse.life"})
_encoder = msgspec.json.Encoder(enc_hook=repr)


class Labels(msgspec.Struct, frozen=True):
    """What tells this process's lines from others'.

    Attributes:
        service: The application, for records that no operation of a service has written.
        release: Version of the code.
        instance: The process among its like.
    """

    service: str = ""
    release: str = ""
    instance: str = ""


def set_up(settings: LogSettings, labels: Labels, stream: TextIO, *, colour: bool = False) -> logging.Handler:
    """Write all records of this process to a stream, and return the handler that does.

    Args:
        settings: Level and format; `auto` is text where the stream is a terminal.
        labels: Stand on every line of JSON.
        stream: Usually standard error; standard output is for results.
        colour: Whether lines of text mark warnings and errors by colour.
    """
    handler = logging.StreamHandler(stream)
    as_text = settings.format == "text" or (settings.format == "auto" and stream.isatty())
    handler.setFormatter(TextLines(colour=colour) if as_text else JsonLines(labels))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(settings.level.upper())
    return handler


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, message, service, release, instance, trace, tags, and what `extra` adds."""

    def __init__(self, labels: Labels) -> None:
        super().__init__()
        self._labels = labels

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record, without its end."""
        context = current()
        known: dict[str, object] = {
            "time": _time(record).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "message": _message(record),
            "logger": record.name,
            **_origin(self._labels, context),
            **_failure(record),
        }
        # What has a name of ours keeps our meaning, whatever tags and extras are called.
        return _encoder.encode({**known, **_additions(record), **context.tags, **known}).decode()


class TextLines(logging.Formatter):
    """A line for people: time of day, level, logger, message, and what belongs to it in brackets."""

    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record, and its traceback below."""
        context = current()
        level = record.levelname.lower()
        clock = _time(record).astimezone().strftime("%H:%M:%S")
        where = {"operation": context.operation} if context.operation else {}
        pairs = {**where, **context.tags, **_untold(record)}
        more = "".join(f" {name}={value}" for name, value in pairs.items())
        line = f"{clock} {self._paint(level)} {record.name}: {_message(record)}{more}"
        failure = _stack(record)
        return f"{line}\n{failure.rstrip()}" if failure else line

    def _paint(self, level: str) -> str:
        colour = _COLOURS.get(level)
        padded = f"{level:<7}"
        return f"\033[{colour}m{padded}\033[0m" if self._colour and colour else padded


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _message(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
    except (TypeError, ValueError) as error:
        # A wrong format string must not cost the line: what it was about is told as it is.
        text = f"{record.msg!r} {record.args!r} ({error})"
    return text if len(text) <= MESSAGE_CHARACTERS_MAX else text[:MESSAGE_CHARACTERS_MAX] + "..."


def _origin(labels: Labels, context: Context) -> dict[str, str]:
    trace = parse_traceparent(context.headers.traceparent)
    found = {
        "service": context.operation.partition(".")[0] or labels.service,
        "operation": context.operation,
        "release": labels.release,
        "instance": labels.instance,
        "trace_id": trace.trace_id if trace else "",
        "span_id": trace.span_id if trace else "",
    }
    return {name: text for name, text in found.items() if text}


def _additions(record: logging.LogRecord) -> Mapping[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _OF_EVERY_RECORD}


def _untold(record: logging.LogRecord) -> Mapping[str, object]:
    """What `extra` adds and the message does not tell: some of ours tell all, and name it for programs besides."""
    return {} if record.name in _TELLING else _additions(record)


def _failure(record: logging.LogRecord) -> dict[str, object]:
    stack = _stack(record)
    if not stack:
        return {}
    kind = record.exc_info[0] if record.exc_info else None
    return {"error": {"type": kind.__name__ if kind else "", "stack": stack}}


def _stack(record: logging.LogRecord) -> str:
    if record.exc_info and record.exc_info[1] is not None:
        return "".join(traceback.format_exception(record.exc_info[1]))
    return record.stack_info or ""
