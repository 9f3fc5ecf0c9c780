"""What the keeper and the supervisor say to each other: one JSON object a line, over a pair of sockets."""

from __future__ import annotations

import msgspec

from hanse.kernel.faults import Malformed

WORD_BYTES_MAX = 8 * 1024 * 1024
"""Longest word: a memory of a thousand instances is a tenth of it."""


class Launch(msgspec.Struct, frozen=True, tag="launch"):
    """To the keeper: start a process.

    Attributes:
        process: A name that no other process ever had.
        arguments: The command, as a list of words.
        directory: Where it starts.
        environment: All its variables.
        label: What its lines in the log begin with.
        log: Path of the file for what it prints.
    """

    process: str
    arguments: tuple[str, ...]
    directory: str
    environment: dict[str, str]
    label: str
    log: str


class Signalled(msgspec.Struct, frozen=True, tag="signal"):
    """To the keeper: send a signal to a process, or to its group."""

    process: str
    number: int
    group: bool = False


class Forget(msgspec.Struct, frozen=True, tag="forget"):
    """To the keeper: nobody asks any more how this process ended."""

    process: str


class Remember(msgspec.Struct, frozen=True, tag="remember"):
    """To the keeper: tell this to the next supervisor, should there be one."""

    memory: str


class Leave(msgspec.Struct, frozen=True, tag="leave"):
    """To the keeper: end whatever there is, and end with this code."""

    code: int = 0


Order = Launch | Signalled | Forget | Remember | Leave


class Kept(msgspec.Struct, frozen=True):
    """A process that the keeper has, or has had and was not told to forget."""

    process: str
    pid: int
    ended: bool = False
    code: int | None = None
    tail: tuple[str, ...] = ()


class Greeting(msgspec.Struct, frozen=True, tag="greeting"):
    """From the keeper, first: what there is, and what the last supervisor wanted to be remembered."""

    memory: str
    kept: tuple[Kept, ...]
    stopping: bool = False


class Began(msgspec.Struct, frozen=True, tag="began"):
    """From the keeper: a process runs."""

    process: str
    pid: int


class Gone(msgspec.Struct, frozen=True, tag="gone"):
    """From the keeper: a process has ended, or could not be started, and why."""

    process: str
    code: int | None
    tail: tuple[str, ...] = ()
    why: str = ""


class StopAsked(msgspec.Struct, frozen=True, tag="stop"):
    """From the keeper: somebody wants everything to end, in order."""


News = Greeting | Began | Gone | StopAsked

_orders: msgspec.json.Decoder[Order] = msgspec.json.Decoder(Order)
_news: msgspec.json.Decoder[News] = msgspec.json.Decoder(News)


def encoded(word: Order | News) -> bytes:
    """A word as a line."""
    return msgspec.json.encode(word) + b"\n"


class Words:
    r"""Bytes as they come, as lines of words.

    Example:
        >>> words = Words()
        >>> words.feed(b'{"type":"leave"}\n{"typ')
        [b'{"type":"leave"}']
    """

    def __init__(self) -> None:
        self._partial: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that are whole now.

        Raises:
            Malformed: One is longer than a word may be.
        """
        if b"\n" not in data:
            self._partial.append(data)
            self._size += len(data)
            if self._size > WORD_BYTES_MAX:
                raise Malformed(f"expected a word of at most {WORD_BYTES_MAX} bytes, got a longer one")
            return []
        *whole, rest = b"".join((*self._partial, data)).split(b"\n")
        self._partial, self._size = [rest], len(rest)
        return whole


def order_of(line: bytes) -> Order:
    """What the keeper is told.

    Raises:
        Malformed: It is none of its orders.
    """
    try:
        return _orders.decode(line)
    except msgspec.DecodeError as error:
        raise Malformed(f"expected an order to the keeper, got {line[:80]!r}: {error}") from None


def news_of(line: bytes) -> News:
    """What the keeper tells.

    Raises:
        Malformed: It is none of its news.
    """
    try:
        return _news.decode(line)
    except msgspec.DecodeError as error:
        raise Malformed(f"expected news of the keeper, got {line[:80]!r}: {error}") from None
