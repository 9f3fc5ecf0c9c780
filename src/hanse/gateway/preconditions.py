"""ETags and conditional requests (RFC 9110, section 13): a strong ETag is a row's revision. Pure."""

from __future__ import annotations

import re

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


def revisions_in(header: str, *, weak: bool) -> frozenset[int]:
    """The revisions that a list of ETags names; what is none of ours names none.

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
        if (weak or not tag[1]) and tag[2].isascii() and tag[2].isdigit() and len(tag[2]) <= DIGITS_MAX
    )


def is_known(header: str, rev: int) -> bool:
    """Whether If-None-Match says that the client has this revision already."""
    return bool(header) and (header.strip() == ANY or rev in revisions_in(header, weak=True))
