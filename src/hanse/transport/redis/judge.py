"""What a server says of itself, and whether it will do."""

from __future__ import annotations

import msgspec

VERSION_MIN = 7
"""Major version: the first that waits for several lists at once, and takes more than one entry of them."""


class Told(msgspec.Struct, frozen=True):
    """What a server says of itself.

    Attributes:
        version: Of Redis, or the one that its kin is compatible with.
        clustered: Whether keys are spread over several servers.
        role: `master`, or `slave` where it only follows another.
        loading: Whether it still reads what it kept.
        eviction: What it throws away when its memory is full.
        appends: Whether it writes what it is told to a file at once, and so has it still when it was killed.
    """

    version: str = ""
    clustered: bool = False
    role: str = ""
    loading: bool = False
    eviction: str = ""
    appends: bool = False


def told_in(info: bytes) -> Told:
    r"""What the reply to INFO says.

    Example:
        >>> told = told_in(b"# Server\r\nredis_version:7.0.15\r\nrole:master\r\naof_enabled:1\r\n")
        >>> told.version, told.role, told.appends
        ('7.0.15', 'master', True)
    """
    lines = (line.partition(":") for line in info.decode(errors="replace").splitlines())
    fields = {name: value.strip() for name, _, value in lines}
    return Told(
        version=fields.get("redis_version", ""),
        clustered=fields.get("cluster_enabled") == "1",
        role=fields.get("role", ""),
        loading=fields.get("loading") == "1",
        eviction=fields.get("maxmemory_policy", ""),
        appends=fields.get("aof_enabled") == "1",
    )


def refusal(told: Told) -> str:
    """Why a server cannot be used, whatever happens; empty if it can."""
    major = told.version.partition(".")[0]
    if major.isdigit() and int(major) < VERSION_MIN:
        return f"expected Redis {VERSION_MIN}.0 or later, or Valkey; this is {told.version}"
    if told.clustered:
        return "it is a member of a Redis Cluster; expected one server, or one with followers"
    return ""


def absence(told: Told) -> str:
    """Why a server cannot be used at the moment; empty if it can."""
    if told.loading:
        return "it still reads what it kept"
    return "it follows another server, and takes no writes" if told.role == "slave" else ""


def warning(told: Told) -> str:
    """What may be lost there; empty if nothing is.

    What waits is lost at a restart, append-only file or not: whoever asked asks again, as with every transport that is
    not durable. So only what throws away at any time is warned of.
    """
    if told.eviction in ("", "noeviction"):
        return ""
    return (
        f"this Redis throws keys away when its memory is full (maxmemory-policy {told.eviction}), requests that wait "
        "among them; set maxmemory-policy noeviction, or use a server of its own"
    )


def distrust(told: Told) -> str:
    """Why events are not kept there; empty if they may be."""
    if not told.appends:
        return "this Redis forgets events when it stops; set appendonly yes"
    if told.eviction not in ("", "noeviction"):
        return (
            f"this Redis throws events away when its memory is full (maxmemory-policy {told.eviction}); "
            "set maxmemory-policy noeviction, or use a server of its own"
        )
    return ""
