"""What trials have come to, as values that are kept."""

from __future__ import annotations

import msgspec


class Deployed(msgspec.Struct, frozen=True, tag=True):
    """Releases by one strategy.

    Attributes:
        times: How many.
        requests: From outside meanwhile.
        failed: Of these, those that were not answered with 200.
        seconds: Of one release, the median.
        worst_ms: The slowest answer.
    """

    times: int
    requests: int
    failed: int
    seconds: float
    worst_ms: float


class Killed(msgspec.Struct, frozen=True, tag=True):
    """Instances that were killed.

    Attributes:
        times: How many.
        requests: From outside meanwhile.
        safe, safe_failed: Those that may be repeated (`GET`, or with a key), and those of them that failed.
        others, others_failed: The rest.
        untold: Of those that failed, those whose answer did not say that nobody knows what came of them.
        out_ms, out_ms_p99, out_ms_most: From the kill until the edge sends nothing there: median, and worse.
    """

    times: int
    requests: int
    safe: int
    safe_failed: int
    others: int
    others_failed: int
    untold: int
    out_ms: float
    out_ms_p99: float
    out_ms_most: float


class Aborted(msgspec.Struct, frozen=True, tag=True):
    """Releases at a half of the visitors that somebody aborted.

    Attributes:
        times: How many.
        requests: From outside meanwhile.
        failed: Of these, those that were not answered with 200.
        late: Those that were sent after the command's answer, and got the release that was aborted.
        late_ms: How long after it the last of them was sent, the most of any.
    """

    times: int
    requests: int
    failed: int
    late: int
    late_ms: float


class Bad(msgspec.Struct, frozen=True, tag=True):
    """Bad releases of one kind, at 5 % of the visitors.

    Attributes:
        times: How many.
        back: How many went back by themselves.
        seconds, seconds_most: From its first share until it has none, the median and the most.
        failed, users: Requests that it harmed, and visitors that they were of, the most of any.
        why: What it went back for, the last time.
    """

    times: int
    back: int
    seconds: float
    seconds_most: float
    failed: int
    users: int
    why: str


class Mirrored(msgspec.Struct, frozen=True, tag=True):
    """Releases that were asked copies only, and answer something else.

    Attributes:
        times: How many.
        back: How many of them were taken back by themselves, for what they lack.
        seconds, seconds_most: Since they were asked copies, the median and the most.
        requests: From outside meanwhile.
        harmed: Of these, those that were not answered as the old release answers.
        why: What was said of the last one.
    """

    times: int
    back: int
    seconds: float
    seconds_most: float
    requests: int
    harmed: int
    why: str


Outcome = Deployed | Killed | Aborted | Bad | Mirrored


def wrong_with(outcome: Outcome) -> str:
    """What was not as promised; empty for nothing.

    Example:
        >>> wrong_with(Aborted(times=2, requests=100, failed=1, late=0, late_ms=0.0))
        '1 requests failed'
    """
    match outcome:
        case Deployed(failed=failed) | Aborted(failed=failed):
            return f"{failed} requests failed" if failed else ""
        case Killed(safe_failed=failed, untold=untold):
            return f"{failed} requests failed, and {untold} with no word" if failed or untold else ""
        case Mirrored(harmed=harmed) if harmed:
            return f"{harmed} requests were answered by the copy"
        case Bad(times=times, back=back) | Mirrored(times=times, back=back):
            return f"{times - back} of {times} did not go back" if back < times else ""
