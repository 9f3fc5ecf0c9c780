"""The words of Redis, from the server's side: commands as they come, replies as RESP3 has them. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, cast, final

WORDS_MAX: Final = 1_048_576
BULK_BYTES_MAX: Final = 512 * 1024 * 1024
"""Of one command: words, and bytes of a word; what is beyond ends the connection."""


class Broken(Exception):
    """What came is no command; says so in the words of Redis."""


class Failure(Exception):
    """A command is refused; says so in the words of Redis."""


class Push(tuple[object, ...]):
    """What a server says without being asked."""

    __slots__ = ()


class Word(bytes):
    """A short reply such as `OK`."""

    __slots__ = ()


class Text(bytes):
    """A reply for people."""

    __slots__ = ()


OK: Final = Word(b"OK")


@final
class Commands:
    r"""Takes bytes as they come.

    Example:
        >>> commands = Commands()
        >>> list(commands.feed(b"*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$1\r\n"))
        [[b'PING']]
        >>> list(commands.feed(b"a\r\n"))
        [[b'GET', b'a']]
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self._came = bytearray()

    def feed(self, data: bytes) -> Iterator[list[bytes]]:
        """The commands that are whole by now. Raises `Broken`."""
        self._came += data
        at = 0
        try:
            while (found := self._command(at)) is not None:
                words, at = found
                yield words
        finally:
            del self._came[:at]

    def _command(self, at: int) -> tuple[list[bytes], int] | None:
        begun = self._number(at, b"*", WORDS_MAX, "invalid multibulk length")
        if begun is None:
            return None
        count, at = begun
        words: list[bytes] = []
        for _ in range(count):
            sized = self._number(at, b"$", BULK_BYTES_MAX, "invalid bulk length")
            if sized is None:
                return None
            size, start = sized
            if len(self._came) < start + size + 2:
                return None
            words.append(bytes(self._came[start : start + size]))
            at = start + size + 2
        return words, at

    def _number(self, at: int, mark: bytes, most: int, problem: str) -> tuple[int, int] | None:
        end = self._came.find(b"\r\n", at)
        if end < 0:
            return None
        line = bytes(self._came[at:end])
        if line[:1] != mark:
            raise Broken(f"Protocol error: expected '{mark.decode()}', got '{line[:1].decode(errors='replace')}'")
        if not line[1:].isdigit() or int(line[1:]) > most:
            raise Broken(f"Protocol error: {problem}")
        return int(line[1:]), end + 2


def encoded(reply: object) -> bytes:  # noqa: PLR0911 - a table
    r"""A reply as it goes over a connection.

    Example:
        >>> encoded([1, b"a", None, OK])
        b'*4\r\n:1\r\n$1\r\na\r\n_\r\n+OK\r\n'
    """
    match reply:
        case None:
            return b"_\r\n"
        case int():
            return b":%d\r\n" % reply
        case Word():
            return b"+%b\r\n" % reply
        case Text():
            return b"=%d\r\ntxt:%b\r\n" % (len(reply) + 4, reply)
        case bytes():
            return b"$%d\r\n%b\r\n" % (len(reply), reply)
        case Push():
            return b">%d\r\n%b" % (len(reply), b"".join(map(encoded, reply)))
        case list():
            items = cast("list[object]", reply)
            return b"*%d\r\n%b" % (len(items), b"".join(map(encoded, items)))
        case dict():
            pairs = cast("dict[object, object]", reply)
            return b"%%%d\r\n%b" % (len(pairs), b"".join(encoded(one) for pair in pairs.items() for one in pair))
        case Failure():
            return b"-%b\r\n" % str(reply).encode()
        case _:
            raise TypeError(f"expected a reply of Redis's, got {type(reply).__qualname__}")
