"""Texts without a NUL, for what cannot keep one, such as PostgreSQL and keys that end at one.

The four least characters are written as three each, one that leads and two that follow, of which none is written for
anything else. So the order stays that of the characters, and a piece is found in what is written exactly where it is
in what was meant. All that is compared is compared byte by byte (`COLLATE "C"`), which in UTF-8 is the order of Python.
"""

from __future__ import annotations

import re

_WRITTEN = {"\x00": "\x01\x02\x02", "\x01": "\x01\x02\x03", "\x02": "\x01\x03\x02", "\x03": "\x01\x03\x03"}
_READ = {written: meant for meant, written in _WRITTEN.items()}
_LOW = re.compile("[\x00-\x03]")
_LEADS = re.compile("\x01[\x02\x03]{2}")


def written(text: str) -> str:
    r"""A text as it is stored.

    Example:
        >>> written("tea"), written("a\x00b")
        ('tea', 'a\x01\x02\x02b')
    """
    return _LOW.sub(lambda found: _WRITTEN[found[0]], text) if _LOW.search(text) else text


def meant(text: str) -> str:
    r"""A text as it was before it was stored.

    Example:
        >>> meant(written("a\x00\x01b")) == "a\x00\x01b"
        True
    """
    return _LEADS.sub(lambda found: _READ[found[0]], text) if "\x01" in text else text
