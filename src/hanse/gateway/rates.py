"""How often somebody may ask: rates per caller, decided by GCRA, a token bucket that is one number. Pure.

Each caller has, for each rate, one moment: when the allowance would be full again. A request moves it by its share of
the window, and is refused where that would be further away than the burst allows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address
from typing import Literal

import msgspec

from hanse.gateway.asgi import Header
from hanse.kernel.faults import Fault, Misdeclared

_TEXT = re.compile(r"([1-9][0-9]{0,8})/([1-9][0-9]{0,5})?(s|m|h|d)")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")

LOOKS_MAX = 32
"""Callers that are looked at to find one that can be forgotten."""


class RateExceeded(Fault, status=429, close_code=1013, retryable=True, detail="{problem}"):
    """Somebody asks more often than the gateway allows; nothing was done."""

    problem: str
    after: float = 1.0

    @property
    def retry_after(self) -> float | None:
        """Seconds until the next request is let in."""
        return self.after


class Rate:
    """So many requests in so much time, for each caller.

    Attributes:
        quota: Requests in a window.
        window: Seconds.
        burst: Requests at once, by somebody who was quiet before.
        name: As the headers name it.
        paths: Beginnings of the paths that it counts for; all without one.
        methods: That it counts for; all without one.
        per: Whose requests are counted together.

    Example:
        >>> rate = Rate("100/m", burst=10)
        >>> rate.quota, rate.window, rate.burst
        (100, 60.0, 10)
    """

    def __init__(
        self,
        text: str,
        *,
        burst: int | None = None,
        name: str = "default",
        paths: Sequence[str] = (),
        methods: Sequence[str] = (),
        per: Literal["caller", "address"] = "caller",
    ) -> None:
        """Allow so many.

        Args:
            text: Requests and time, such as `100/m`, `5/s`, `1000/d` or `300/15m`.
            burst: At once; by default all of them.
            name: As `RateLimit` and `RateLimit-Policy` tell it; rates of one gateway have distinct names.
            paths: Beginnings of paths, such as `/rpc/login/`.
            methods: In capitals, such as `POST`.
            per: `caller` counts by identity, and by address where nobody said who asks; `address` always by address.

        Raises:
            Misdeclared: The text is no rate, or the burst or the name cannot be.
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            raise Misdeclared(f"expected a rate such as 100/m, 5/s or 300/15m, got {text!r}")
        self.text: str = text
        self.quota: int = int(match[1])
        self.window: float = float(int(match[2] or 1) * _UNITS[match[3]])
        self.burst: int = self.quota if burst is None else burst
        if not 1 <= self.burst <= self.quota:
            raise Misdeclared(f"expected a burst from 1 to the {self.quota} of {text}, got {burst}")
        if not _NAME.fullmatch(name):
            raise Misdeclared(f"expected a name such as default or writes, got {name!r}")
        self.name: str = name
        self.paths: tuple[str, ...] = (paths,) if isinstance(paths, str) else tuple(paths)
        self.methods: frozenset[str] = frozenset((methods,) if isinstance(methods, str) else methods)
        self.per: Literal["caller", "address"] = per
        self.share: float = self.window / self.quota
        self.policy: str = f'"{name}";q={self.quota};w={round(self.window)}'

    def counts(self, method: str, path: str) -> bool:
        """Whether it is about such a request."""
        return (not self.methods or method in self.methods) and (not self.paths or path.startswith(self.paths))


class Verdict(msgspec.Struct, frozen=True):
    """What a rate says about one request.

    Attributes:
        allowed: Whether it is let in.
        full_at: When the allowance is full again, on the clock that was given; kept for the next request.
        remaining: Requests that would be let in at once after it.
        after: Seconds until the next one is let in; 0 where it is now.
        reset: Seconds until the allowance is full again.
    """

    allowed: bool
    full_at: float
    remaining: int
    after: float
    reset: float


def decide(rate: Rate, full_at: float, now: float) -> Verdict:
    """Whether one more request is let in.

    Args:
        rate: What is allowed.
        full_at: What the last verdict said; anything past for a caller that is new.
        now: On a clock that only goes forward.

    Example:
        >>> decide(Rate("2/m"), 0.0, 100.0)
        Verdict(allowed=True, full_at=130.0, remaining=1, after=0.0, reset=30.0)
    """
    depth = rate.burst * rate.share
    current = max(full_at, now)
    moved = current + rate.share
    # A hair of tolerance: sums of shares do not come out even.
    allowed = moved - now <= depth + rate.share * 1e-6
    kept = moved if allowed else current
    remaining = max(0, math.floor((depth - (kept - now)) / rate.share + 1e-6))
    after = 0.0 if remaining else kept + rate.share - depth - now
    return Verdict(allowed, kept, remaining, max(0.0, after), kept - now)


class Meters:
    """What callers have used of the rates of one gateway.

    At most `callers` are remembered. At the limit one is forgotten that has its whole allowance back, which changes
    nothing; where none is found soon, one of those that asked longest ago and owe least: who floods stays known.
    """

    def __init__(self, rates: Sequence[Rate], callers: int) -> None:
        """Nobody has asked.

        Raises:
            Misdeclared: Two rates have one name.
        """
        names = [rate.name for rate in rates]
        if len(set(names)) != len(names):
            raise Misdeclared(f"two rates are called {max(names, key=names.count)!r}; give one name=... another name")
        self._rates = tuple(rates)
        self._callers = callers
        self._full_at: dict[tuple[str, str], float] = {}

    def __len__(self) -> int:
        return len(self._full_at)

    def charge(self, method: str, path: str, caller: str, address: str, now: float) -> tuple[Header, ...]:
        """Count one request; the headers that tell what is left.

        Args:
            method: Of the request.
            path: Of the request.
            caller: Who asks, as far as it is known; empty for nobody.
            address: Where from.
            now: On a clock that only goes forward.

        Raises:
            Refused: It is too often; carries the headers.
        """
        applying = [rate for rate in self._rates if rate.counts(method, path)]
        if not applying:
            return ()
        keys = [
            (rate.name, f"@{network_of(address)}" if rate.per == "address" or not caller else caller)
            for rate in applying
        ]
        verdicts = [decide(rate, self._full_at.get(key, now), now) for rate, key in zip(applying, keys, strict=True)]
        headers = _headers(applying, verdicts)
        late = max((verdict.after for verdict in verdicts if not verdict.allowed), default=None)
        if late is not None:
            # Who is refused by one rate has used nothing of the others.
            which = next(rate for rate, verdict in zip(applying, verdicts, strict=True) if not verdict.allowed)
            problem = f"expected at most {which.text} requests here; come again in {math.ceil(late)} s"
            raise Refused(RateExceeded(problem, late), headers)
        for key, verdict in zip(keys, verdicts, strict=True):
            _ = self._full_at.pop(key, None)
            if len(self._full_at) >= self._callers:
                self._forget(now)
            self._full_at[key] = verdict.full_at
        return headers

    def _forget(self, now: float) -> None:
        oldest = [key for key, _ in zip(self._full_at, range(LOOKS_MAX), strict=False)]
        recovered = [key for key in oldest if self._full_at[key] <= now]
        for key in recovered or [min(oldest, key=self._full_at.__getitem__)]:
            del self._full_at[key]


class Refused(Exception):
    """A rate was exceeded."""

    def __init__(self, fault: RateExceeded, headers: tuple[Header, ...]) -> None:
        super().__init__(fault.detail)
        self.fault: RateExceeded = fault
        self.headers: tuple[Header, ...] = headers


def _headers(rates: Sequence[Rate], verdicts: Sequence[Verdict]) -> tuple[Header, ...]:
    """As draft-ietf-httpapi-ratelimit-headers has them."""
    policies = ", ".join(rate.policy for rate in rates)
    left = ", ".join(
        f'"{rate.name}";r={verdict.remaining};t={math.ceil(verdict.reset if verdict.remaining else verdict.after)}'
        for rate, verdict in zip(rates, verdicts, strict=True)
    )
    return ((b"ratelimit-policy", policies.encode()), (b"ratelimit", left.encode()))


def network_of(address: str) -> str:
    """Whom an address stands for: itself, but all of a /64 of IPv6, which is one customer's.

    Example:
        >>> network_of("192.0.2.7"), network_of("2001:db8:0:1::7")
        ('192.0.2.7', '2001:db8:0:1::/64')
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return f"{IPv6Address(int(parsed) >> 64 << 64)}/64"
