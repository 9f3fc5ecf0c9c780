"""What a server says of itself, and whether rows may be kept there."""

from __future__ import annotations

import msgspec

from hanse.store.redis.url import RedisUrl

VERSION_MIN = (7, 0)
"""The first that refuses a script as a whole when its memory is full, instead of in the middle."""

VERSION_WAITS = (7, 2)
"""The first that can be asked to wait for the disk (WAITAOF)."""

_NEVER_A_REPLICA = "0" * 40


class Told(msgspec.Struct, frozen=True):
    """What a server says of itself.

    Attributes:
        version: Of Redis, or the one that its kin is compatible with.
        role: `master`, or `slave` where it only follows another.
        loading: Whether it still reads what it kept.
        eviction: What it throws away when its memory is full.
        appends: Whether it writes what it is told to a file at once, and so has it still when it was killed.
        fsync: When that file is flushed to the disk: `always`, `everysec`, `no`, or empty where it does not say.
        run: Another one after each start.
        followed: Whether it once followed another server, and may lack what that one had last.
        watches: Whether it is a Sentinel, which only watches others.
    """

    version: tuple[int, int] = (0, 0)
    role: str = ""
    loading: bool = False
    eviction: str = ""
    appends: bool = False
    fsync: str = ""
    run: str = ""
    followed: bool = False
    watches: bool = False

    @property
    def keeps_all(self) -> bool:
        """Whether nothing that it has told anybody of can be lost at a restart."""
        return self.appends and self.fsync == "always" and not self.followed


def told_in(info: bytes, fsync: str) -> Told:
    r"""What the reply to INFO says, and what is set as appendfsync.

    Example:
        >>> told = told_in(b"redis_version:7.2.4\r\nrole:master\r\naof_enabled:1\r\n", "everysec")
        >>> told.version, told.appends, told.keeps_all
        ((7, 2), True, False)
    """
    lines = (line.partition(":") for line in info.decode(errors="replace").splitlines())
    fields = {name: value.strip() for name, _, value in lines}
    major, minor, *_ = (*fields.get("redis_version", "").split("."), "0", "0")
    return Told(
        version=(int(major) if major.isdecimal() else 0, int(minor) if minor.isdecimal() else 0),
        role=fields.get("role", ""),
        loading=fields.get("loading") == "1",
        eviction=fields.get("maxmemory_policy", ""),
        appends=fields.get("aof_enabled") == "1",
        fsync=fsync,
        run=fields.get("run_id", ""),
        watches=fields.get("redis_mode", fields.get("server_mode")) == "sentinel",
        followed=fields.get("master_replid2", _NEVER_A_REPLICA) != _NEVER_A_REPLICA,
    )


def refusal(told: Told, url: RedisUrl) -> str:
    """Why rows cannot be kept there, whatever happens; empty where they can.

    Example:
        >>> refusal(Told((7, 0), appends=False, eviction="noeviction"), RedisUrl((("db", 6379),)))
        'this Redis forgets everything when it stops; set appendonly yes, or say synchronous=off in the URL if it may'
    """
    if told.watches:
        return "this is a Sentinel, which has no rows; add sentinel= and the name of what it watches to the URL"
    if told.version < VERSION_MIN:
        version = ".".join(map(str, told.version))
        return f"expected Redis 7.0 or later, or Valkey; this is {version}: upgrade the server"
    if told.eviction not in ("", "noeviction"):
        return (
            f"this Redis throws rows away when its memory is full (maxmemory-policy {told.eviction}); "
            "set maxmemory-policy noeviction, or use a server of its own"
        )
    if not told.appends and url.synchronous != "off":
        return (
            "this Redis forgets everything when it stops; set appendonly yes, "
            "or say synchronous=off in the URL if it may"
        )
    if url.synchronous == "full" and told.fsync != "always" and told.version < VERSION_WAITS:
        return (
            "expected a server that flushes each commit, or can be waited for (Redis 7.2, Valkey), got appendfsync "
            f"{told.fsync or 'unknown'}; set appendfsync always, or leave out synchronous=full in the URL"
        )
    return ""


def absence(told: Told) -> str:
    """Why it cannot be used at the moment; empty if it can."""
    if told.loading:
        return "it still reads what it kept"
    return "it follows another server, and takes no writes" if told.role == "slave" else ""


def doubt(told: Told, url: RedisUrl) -> str:
    """What may be lost there, and what to do about it; empty if nothing is.

    Example:
        >>> doubt(Told((7, 2), appends=True, fsync="everysec"), RedisUrl((("db", 6379),), synchronous="full"))
        ''
    """
    if url.synchronous == "off" or told.fsync == "always" or (url.synchronous == "full"):
        return ""
    return (
        f"this Redis flushes commits to its disk later (appendfsync {told.fsync or 'unknown'}): when its machine goes "
        "down, those of the last seconds are lost, and readers start anew; set appendfsync always, or say "
        "synchronous=full in the URL"
    )


def waits_for_disk(told: Told, url: RedisUrl) -> bool:
    """Whether a commit has to be waited for until it is on the disk."""
    return url.synchronous == "full" and told.fsync != "always"


def shortfall(disks: int, replicas: int, url: RedisUrl) -> str:
    """What a commit is still lacking, of the disk and the replicas that it has to be on; empty where it is nothing.

    Example:
        >>> shortfall(0, 0, RedisUrl((("db", 6379),), synchronous="full", replicas=2))
        'its disk and 2 of 2 replicas'
    """
    lacking = [] if disks else ["its disk"]
    if replicas < url.replicas:
        lacking.append(f"{url.replicas - replicas} of {url.replicas} replicas")
    return " and ".join(lacking)
