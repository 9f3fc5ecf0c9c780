"""The release of a request tree, as `baggage` carries it from hop to hop (https://www.w3.org/TR/baggage/).

Programs that are traced hand `baggage` on by themselves, so a request and all that is asked for it meet one release of
each service that has it; what strangers say there is not believed.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote, unquote

MEMBER = "hanse-release"
"""Name of the member of `baggage`."""


def carried(baggage: str) -> str:
    """The release that a request tree is of; empty for none.

    Example:
        >>> carried("user=7, hanse-release=shop%3A1.5;local")
        'shop:1.5'
    """
    for member in baggage.split(","):
        name, _, value = member.partition(";")[0].partition("=")
        if name.strip() == MEMBER:
            return unquote(value.strip())
    return ""


def carrying(baggage: Sequence[str], release: str) -> str:
    """What is handed on: these headers as one, of this release and of no other.

    Example:
        >>> carrying(["user=7,hanse-release=1.4"], "1.5"), carrying(["hanse-release=1.4"], "")
        ('hanse-release=1.5,user=7', '')
    """
    members = [member.strip() for header in baggage for member in header.split(",")]
    others = [member for member in members if member and member.partition("=")[0].strip() != MEMBER]
    return ",".join([*([f"{MEMBER}={quote(release, safe='')}"] if release else []), *others])
