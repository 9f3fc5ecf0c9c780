"""A dump as text: one JSON object a line, the head first and the end last.

The text is for ever: a later version reads what an earlier one wrote, and says so where it meets a newer `version`.
The end tells how much there is and carries the SHA-256 of all lines before it, as `head -n -1 FILE | sha256sum` gives
it: so a file that is torn, damaged or edited is noticed, and not loaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Literal, assert_never

import msgspec

from hanse.kernel.faults import Malformed
from hanse.kernel.message import NO_HEADERS, Headers
from hanse.store.base import CollectionSchema, Entry, Mark, Op, Position, Row
from hanse.store.dump import PIECE_MAX, Entries, MarkAt, Marks, Moment, Piece, Positions, Rows

VERSION = 1
"""Of the text; raised when an older Hanse cannot read it."""

LINE_BYTES_MAX = 256 * 1024 * 1024
"""One line at most, so that what is no dump is refused before it fills the memory."""


_NONE = msgspec.Raw()


class Head(msgspec.Struct, frozen=True, tag_field="kind", tag="head"):
    """The first line.

    Attributes:
        app: Name of the app.
        service: Whose store it was.
        at: Wall-clock second at which the dump was taken.
        moment: Where the store was then.
        collections: Schemas of all that it held.
        format: Says what this file is.
        version: Of the text.
    """

    app: str
    service: str
    at: float
    moment: Moment
    collections: list[CollectionSchema]
    format: Literal["hanse.store"] = "hanse.store"
    version: int = VERSION


class RowLine(msgspec.Struct, frozen=True, tag_field="kind", tag="row"):
    """A row."""

    collection: str
    id: str
    rev: int
    value: msgspec.Raw


class EntryLine(msgspec.Struct, frozen=True, tag_field="kind", tag="entry", omit_defaults=True):
    """An entry of the log; what is no JSON is in `binary`, in place of `after`."""

    seq: int
    at: float
    op: Op
    name: str
    id: str
    message_id: str
    before_rev: int = 0
    headers: Headers = NO_HEADERS
    before: msgspec.Raw = _NONE
    after: msgspec.Raw = _NONE
    binary: bytes | None = None


class MarkLine(msgspec.Struct, frozen=True, tag_field="kind", tag="mark"):
    """A mark; digest and result are in base64."""

    scope: str
    key: str
    at: float
    digest: bytes
    result: bytes


class PositionLine(msgspec.Struct, frozen=True, tag_field="kind", tag="position"):
    """A named position."""

    name: str
    seq: int


class Counts(msgspec.Struct):
    """How many things of each kind there are."""

    rows: int = 0
    entries: int = 0
    marks: int = 0
    positions: int = 0

    @property
    def things(self) -> int:
        """All of them."""
        return self.rows + self.entries + self.marks + self.positions

    def add(self, piece: Piece) -> None:
        """Count a piece."""
        match piece:
            case Rows(_, rows):
                self.rows += len(rows)
            case Entries(entries):
                self.entries += len(entries)
            case Marks(marks):
                self.marks += len(marks)
            case Positions(positions):
                self.positions += len(positions)
            case _:
                assert_never(piece)


class End(msgspec.Struct, frozen=True, tag_field="kind", tag="end"):
    """The last line: how much there was, and the SHA-256 of it."""

    counts: Counts
    sha256: str


Line = Head | RowLine | EntryLine | MarkLine | PositionLine | End

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Line).decode
_any = msgspec.json.Decoder().decode


class Writer:
    r"""Makes the lines of a dump.

    Example:
        >>> writer = Writer()
        >>> writer.piece(Positions([Position("relay", 7)]))
        b'{"kind":"position","name":"relay","seq":7}\n'
        >>> writer.end()[:49]
        b'{"kind":"end","counts":{"rows":0,"entries":0,"mar'
    """

    def __init__(self) -> None:
        """Begin."""
        self.counts: Counts = Counts()
        self._hash = hashlib.sha256()

    def head(self, head: Head) -> bytes:
        """The first line."""
        return self._hashed(_encode(head) + b"\n")

    def piece(self, piece: Piece) -> bytes:
        """The lines of a piece."""
        self.counts.add(piece)
        return self._hashed(b"".join(_encode(line) + b"\n" for line in _lines(piece)))

    def end(self) -> bytes:
        """The last line."""
        return _encode(End(self.counts, self._hash.hexdigest())) + b"\n"

    def _hashed(self, lines: bytes) -> bytes:
        self._hash.update(lines)
        return lines


def _lines(piece: Piece) -> Iterator[Line]:
    match piece:
        case Rows(collection, rows):
            return (RowLine(collection, row.id, row.rev, _raw(row.value)) for row in rows)
        case Entries(entries):
            return map(_entry_line, entries)
        case Marks(marks):
            return (MarkLine(one.mark.scope, one.mark.key, one.at, one.mark.digest, one.mark.result) for one in marks)
        case Positions(positions):
            return (PositionLine(one.name, one.seq) for one in positions)
        case _:
            assert_never(piece)


def _entry_line(one: Entry) -> EntryLine:
    before = _NONE if one.before is None else _raw(one.before)
    after, binary = one.after, None
    if after is not None and one.op is Op.EMITTED and not _is_json(after):
        # What a row holds is sure to be JSON; what somebody emits is not.
        after, binary = None, after
    told = _NONE if after is None else _raw(after)
    return EntryLine(
        one.seq, one.at, one.op, one.name, one.id, one.message_id, one.before_rev, one.headers, before, told, binary
    )


def _raw(value: bytes) -> msgspec.Raw:
    # A line must not end within a value.
    return msgspec.Raw(msgspec.json.format(value, indent=-1) if b"\n" in value or b"\r" in value else value)


def _is_json(value: bytes) -> bool:
    try:
        _ = _any(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


class Reader:
    """Reads the lines of a dump, and notices whatever is wrong with it."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        """Read the head.

        Args:
            lines: With their ends, such as a binary file gives them.

        Raises:
            Malformed: The first line is not the head of a dump, or one of a newer Hanse.
        """
        self.counts: Counts = Counts()
        self.number: int = 0
        """Lines that were read."""
        self._lines = iter(lines)
        self._hash = hashlib.sha256()
        self.head: Head = self._read_head()

    def _read_head(self) -> Head:
        text = next(self._lines, b"")
        self.number = 1
        newer = _version_of(text)
        if newer is not None and newer > VERSION:
            raise Malformed(
                f"the dump has version {newer}, of a newer Hanse; this one reads up to {VERSION}: upgrade it"
            )
        line = self._decoded(text) if newer else None
        if not isinstance(line, Head):
            raise Malformed("expected a dump of a store, as `hanse store dump` writes it; its first line is another")
        self._hash.update(text)
        return line

    def pieces(self) -> Iterator[Piece]:
        """All that the dump holds, in pieces of at most `PIECE_MAX` things.

        Raises:
            Malformed: A line is damaged, missing or changed; says which, where that can be told.
        """
        gathered: list[Line] = []
        for text in self._lines:
            self.number += 1
            line = self._decoded(text)
            if isinstance(line, Head):
                raise Malformed(f"expected one head, got another in line {self.number}: load one dump at a time")
            if gathered and (len(gathered) == PIECE_MAX or _kind(line) != _kind(gathered[0])):
                yield self._counted(gathered)
                gathered = []
            if isinstance(line, End):
                self._check(line)
                return
            self._hash.update(text)
            gathered.append(line)
        raise Malformed(f"expected the end of the dump, got nothing after line {self.number}: the file was cut off")

    def _decoded(self, text: bytes) -> Line:
        if len(text) > LINE_BYTES_MAX:
            raise Malformed(f"expected lines of {LINE_BYTES_MAX} bytes at most, line {self.number} is longer")
        try:
            line: Line = _decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            cut = "" if text.endswith(b"\n") else "; the file was cut off"
            raise Malformed(f"line {self.number} of the dump is damaged: {error}{cut}") from None
        if not text.endswith(b"\n"):
            raise Malformed(f"expected line {self.number} of the dump to end; the file was cut off")
        return line

    def _counted(self, lines: list[Line]) -> Piece:
        piece = _piece(lines)
        self.counts.add(piece)
        return piece

    def _check(self, end: End) -> None:
        if self._hash.hexdigest() != end.sha256 or self.counts != end.counts:
            raise Malformed(
                f"expected {_told(end.counts)} whose SHA-256 is {end.sha256}, "
                f"got {_told(self.counts)} with {self._hash.hexdigest()}: the dump was damaged or changed; take it anew"
            )
        if next(self._lines, b""):
            raise Malformed(f"expected nothing after the end of the dump in line {self.number}: load one at a time")


def _told(counts: Counts) -> str:
    return f"{counts.things} rows, entries, marks and positions"


def _kind(line: Line) -> tuple[type[Line], str]:
    return type(line), line.collection if isinstance(line, RowLine) else ""


def _piece(lines: list[Line]) -> Piece:
    first = lines[0]
    if isinstance(first, RowLine):
        rows = [Row(one.id, one.rev, bytes(one.value)) for one in lines if isinstance(one, RowLine)]
        return Rows(first.collection, rows)
    if isinstance(first, EntryLine):
        return Entries([_entry(one) for one in lines if isinstance(one, EntryLine)])
    if isinstance(first, MarkLine):
        marks = [one for one in lines if isinstance(one, MarkLine)]
        return Marks([MarkAt(Mark(one.scope, one.key, one.digest, one.result), one.at) for one in marks])
    return Positions([Position(one.name, one.seq) for one in lines if isinstance(one, PositionLine)])


def _entry(one: EntryLine) -> Entry:
    before, after = bytes(one.before) or None, bytes(one.after) or one.binary
    return Entry(one.seq, one.at, one.op, one.name, one.id, one.message_id, before, after, one.before_rev, one.headers)


class _Version(msgspec.Struct):
    format: Literal["hanse.store"]
    version: int


def _version_of(text: bytes) -> int | None:
    """The version that a head tells, whatever else is in it; None where it is none."""
    try:
        return msgspec.json.decode(text, type=_Version).version
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
