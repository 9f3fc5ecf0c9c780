"""Which user of this machine a connection belongs to, as Linux tells it.

A proxy of this machine may bring strangers and say nothing of it. It seldom runs as the user whom the node runs as.
"""

from __future__ import annotations

import os
import sys
from ipaddress import IPv4Address, ip_address
from pathlib import Path

ROOT = 0

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
"""Where Linux lists the connections of IPv4, and of IPv6."""

_WORD = 4


def why_not_user(user: int | None, own: int) -> str:
    """Why a user may not act as the operator, and what to change; empty where they may.

    Args:
        user: Who asks; None where that is not known.
        own: Whom the node runs as.

    Example:
        >>> why_not_user(33, 1000)
        'ask as the user whom the node runs as, or as root, not as user 33'
        >>> why_not_user(1000, 1000), why_not_user(None, 1000)
        ('', '')
    """
    if user in (None, ROOT, own):
        return ""
    return f"ask as the user whom the node runs as, or as root, not as user {user}"


def user_of(client: object) -> int | None:
    """The user at the other end of a connection from this machine; None where nobody tells.

    Args:
        client: Address and port of that end, as ASGI has them.
    """
    match client:
        case (str(host), int(port)):
            pass
        case _:
            return None
    for table in TABLES:
        try:
            lines = table.read_text().splitlines()[1:]
        except OSError:
            continue
        if (user := user_in(lines, host, port)) is not None:
            return user
    return None


def user_in(lines: list[str], host: str, port: int) -> int | None:
    """The user of the connection that begins at an address and a port, in a table of Linux; None where there is none.

    Example:
        >>> line = "0: 0100007F:C350 0100007F:1F40 01 00000000:00000000 00:00000000 00000000 1000 0 7 1"
        >>> user_in([line], "127.0.0.1", 50_000), user_in([line], "127.0.0.1", 50_001)
        (1000, None)
    """
    wanted = {f"{place}:{port:04X}" for place in _as_listed(host)}
    for line in lines:
        fields = line.split()
        if len(fields) > _USER and fields[_OWN_END] in wanted:
            return int(fields[_USER])
    return None


_OWN_END, _USER = 1, 7


def _as_listed(host: str) -> list[str]:
    """An address as tables have it: words as the machine has them in memory; of IPv4, within IPv6 too."""
    try:
        address = ip_address(host)
    except ValueError:
        return []
    packed = address.packed
    if isinstance(address, IPv4Address):
        return [_words(packed), _words(b"\0" * 10 + b"\xff\xff" + packed)]
    mapped = address.ipv4_mapped
    return [_words(packed), *([_words(mapped.packed)] if mapped else [])]


def _words(packed: bytes) -> str:
    words = (packed[at : at + _WORD] for at in range(0, len(packed), _WORD))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)


def own_user() -> int:
    """Whom this process runs as."""
    return os.getuid() if hasattr(os, "getuid") else ROOT
