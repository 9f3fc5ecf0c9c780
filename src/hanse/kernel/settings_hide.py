"""Secrets in settings: how they are recognised, and what is shown in their place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

SHOWN = "********"
"""What stands where a secret was."""

_SECRET = re.compile(r"(secret|passw(or)?d|token|credential|(^|_|-)(\w*key|dsn|pass|pwd)$)", re.IGNORECASE)
_IN_URL = re.compile(r"(?P<start>[a-z][a-z0-9+.-]*://[^/?#@\s:]*:)[^/?#\s]*(?=@)", re.IGNORECASE)
_IN_QUERY = re.compile(r"(?P<start>[?&;][^=&;\s]*(?:secret|passw(?:or)?d|token|key)[^=&;\s]*=)[^&;#\s]+", re.IGNORECASE)


def is_secret(name: str) -> bool:
    """Whether a value of this name is to be kept to oneself.

    Example:
        >>> is_secret("api_key"), is_secret("TOKEN"), is_secret("keyboard")
        (True, True, False)
    """
    return _SECRET.search(name) is not None


def hidden(value: object, name: str = "") -> object:
    """The value as it may be printed: secrets by their name, and passwords inside URLs, give way to stars.

    Example:
        >>> hidden({"url": "postgresql://me:pw@db/shop", "token": "t"})
        {'url': 'postgresql://me:********@db/shop', 'token': '********'}
    """
    if is_secret(name) and value not in ("", None):
        return SHOWN
    if isinstance(value, str):
        return _IN_QUERY.sub(rf"\g<start>{SHOWN}", _IN_URL.sub(rf"\g<start>{SHOWN}", value))
    if isinstance(value, Mapping):
        table = cast("Mapping[object, object]", value)
        return {key: hidden(inner, str(key)) for key, inner in table.items()}
    if isinstance(value, (list, tuple)):
        return [hidden(inner) for inner in cast("list[object]", value)]
    return value
