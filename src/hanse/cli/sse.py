"""Server-Sent Events as commands read them: lines become events, and a stream that breaks is resumed.

The parsing is https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream. Who resumes sends
the last `id`; during a snapshot there is none, so one that breaks amid it begins again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from urllib.parse import urlencode

import msgspec

from hanse.cli.problem import Problem, problem_in, problem_of
from hanse.cli.remote import Remote
from hanse.kernel.faults import Malformed, Unavailable

RETRY_SECONDS = 1.0
"""After which a stream that broke is asked for again, unless the server says otherwise."""

RETRY_SECONDS_MAX = 30.0
"""Whatever the server says, and however often it has failed."""

DATA_CHARACTERS_MAX = 16 * 1024 * 1024
"""Of the data of one event."""

AGAIN = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses after which a stream that was open before is asked for again."""


class Event(msgspec.Struct, frozen=True):
    """One event: its name, its data, and the cursor that stands after it."""

    name: str
    data: str
    cursor: str


class Moved(msgspec.Struct, frozen=True):
    """A sign of life brought a newer cursor: the logs went on without an event."""

    cursor: str


class Retry(msgspec.Struct, frozen=True):
    """The server asks for this pause before somebody comes back."""

    seconds: float


def events_in(lines: Iterable[str], cursor: str = "") -> Iterator[Event | Moved | Retry]:
    r"""The events that lines of a stream make up; an unfinished one at the end is dropped, as it will come again.

    Args:
        lines: Without their ends.
        cursor: The one that stands before the first event.

    Raises:
        Malformed: An event is too large.

    Example:
        >>> list(events_in(["event: created", "id: a.1", "data: {}", "", "data: half"]))
        [Event(name='created', data='{}', cursor='a.1')]
    """
    name, data, size, told = "", list[str](), 0, cursor
    for line in lines:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                yield Event(name or "message", "\n".join(data), cursor)
            elif cursor != told:
                yield Moved(cursor)
            told = cursor
            name, data, size = "", [], 0
        elif field == "event":
            name = value
        elif field == "data":
            data.append(value)
            size += len(value)
            if size > DATA_CHARACTERS_MAX:
                raise Malformed(f"expected events of at most {DATA_CHARACTERS_MAX} characters")
        elif field == "id" and "\0" not in value:
            cursor = value
        elif field == "retry" and value.isascii() and value.isdigit():
            yield Retry(int(value) / 1000)


def pause(failures: int, seconds: float) -> float:
    """How long to wait before a stream is asked for again: longer each time that this failed.

    Example:
        >>> [pause(failures, 1.0) for failures in (0, 1, 2, 10)]
        [1.0, 2.0, 4.0, 30.0]
    """
    return min(RETRY_SECONDS_MAX, seconds * float(1 << min(failures, 10)))


class ProblemCame(Exception):
    """The running system answered with a problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.code}: {problem.detail or problem.title}")
        self.problem: Problem = problem


class Follower:
    """Follows one feed, and resumes it by itself.

    Args of the constructor:
        remote: Whose feed.
        path: Where it is.
        query: What it is asked for, but for the cursor.
        wait: Waits some seconds; whether to go on.
        note: Told when the stream is lost, and when it is back.
    """

    def __init__(
        self,
        remote: Remote,
        path: str,
        query: list[tuple[str, str]],
        *,
        wait: Callable[[float], bool],
        note: Callable[[str], None],
    ) -> None:
        self._remote = remote
        self._path = path
        self._query = query
        self._wait = wait
        self._note = note
        self._cursor: str = ""
        self._retry = RETRY_SECONDS
        self._failures = 0
        self._opened = False

    def follow(self, cursor: str = "") -> Iterator[Event]:
        """Its events after a cursor, as long as somebody wants them.

        Raises:
            ProblemCame: The system refuses.
            Unavailable: Nobody answers at the first try.
        """
        self._cursor = cursor
        while True:
            try:
                yield from self._heard()
                why = "the stream has ended"
            except (Unavailable, ProblemCame) as error:
                if not self._opened or (isinstance(error, ProblemCame) and error.problem.status not in AGAIN):
                    raise
                why = str(error).partition(";")[0]
            if not self._failures:
                self._note(f"{why}; trying again")
            if not self._wait(pause(self._failures, self._retry)):
                return
            self._failures += 1

    def _heard(self) -> Iterator[Event]:
        for one in self._once(self._cursor):
            if self._failures:
                self._note("connected again")
            self._opened, self._failures = True, 0
            if isinstance(one, Retry):
                self._retry = one.seconds
            elif isinstance(one, Moved):
                self._cursor = one.cursor
            elif one.name == "fault":
                raise ProblemCame(_problem_in(one.data))
            else:
                # A reset takes the cursor back.
                self._cursor = one.cursor
                yield one

    def _once(self, cursor: str) -> Iterator[Event | Moved | Retry]:
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": cursor} if cursor else {})}
        query = f"?{urlencode(self._query)}" if self._query else ""
        with self._remote.ask(f"{self._path}{query}", headers=headers) as answer:
            if (problem := problem_in(answer)) is not None:
                raise ProblemCame(problem)
            if answer.type != "text/event-stream":
                where = f"{self._remote.base}{self._path}"
                raise Malformed(f"expected an event stream from {where}, got {answer.type or 'nothing'}")
            yield from events_in(answer.lines(), cursor)


def _problem_in(data: str) -> Problem:
    try:
        return problem_of(msgspec.json.decode(data))
    except msgspec.DecodeError:
        raise Malformed(f"expected a problem in a fault of the stream, got {data[:100]!r}") from None
