"""ETags and conditional requests (RFC 9110, section 13): a strong ETag is a row's revision. Pure.

What is put together of several rows (a page, a row with those that it links to) has no revision: its weak ETag is a
digest of its bytes, good for `If-None-Match` alone.
"""

from __future__ import annotations

import re
from hashlib import blake2b

from hanse.kernel.faults import Fault

DIGEST_BYTES = 9

_TAG = re.compile(r'(W/)?"([^"]*)"')

ANY = "*"

DIGITS_MAX = 19
"""Digits of a revision at most: it is a 64-bit number."""


def etag(rev: int) -> bytes:
    """The ETag of a revision.

    Example:
        >>> etag(7)
        b'"7"'
    """
    return f'"{rev}"'.encode()


class PreconditionRequired(Fault, status=428, close_code=1008, detail="{problem}"):
    """The rows are exposed so that nobody writes over what they have not seen: name the revision that was read."""

    problem: str


def digest(body: bytes) -> bytes:
    """The weak ETag of a body.

    Example:
        >>> digest(b"[]")
        b'W/"a36f9accd7d3753186"'
    """
    return b'W/"%b"' % blake2b(body, digest_size=DIGEST_BYTES).hexdigest().encode()


def is_same(header: str, tag: bytes) -> bool:
    """Whether If-None-Match says that the client has what this ETag stands for; weak ones count as strong ones do."""
    if not header:
        return False
    return header.strip() == ANY or tag.decode().partition('"')[2][:-1] in {one[2] for one in _TAG.finditer(header)}


def revisions_in(header: str, *, weak: bool) -> frozenset[int]:
    """The revisions that a list of ETags names; what is none of ours names none, as 0, which no row is ever at.

    Args:
        header: The value of If-Match or If-None-Match, other than `*`.
        weak: Whether a weak ETag counts: it does for reading, not for writing.

    Example:
        >>> sorted(revisions_in('"7", W/"8", "other"', weak=True))
        [7, 8]
    """
    return frozenset(
        int(tag[2])
        for tag in _TAG.finditer(header)
        if (weak or not tag[1]) and tag[2].isascii() and tag[2].isdigit() and 1 <= len(tag[2].lstrip("0")) <= DIGITS_MAX
    )


def is_known(header: str, rev: int) -> bool:
    """Whether If-None-Match says that the client has this revision already."""
    return bool(header) and (header.strip() == ANY or rev in revisions_in(header, weak=True))
