"""What a gateway counts of its requests: a look-up and an addition each, so that it may always be on."""

from __future__ import annotations

from bisect import bisect_left
from typing import cast

from hanse.gateway.asgi import Event, Request, Send
from hanse.kernel.telemetry import BUCKETS, Figures

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"})
OTHER = "_OTHER"
"""Stands for methods that nobody has heard of: a client could invent any number of them."""


def noting_status(request: Request, send: Send) -> Send:
    """`send`, noting the status that somebody answers with who sends by themselves: files, mounted applications."""

    async def noted(event: Event) -> None:
        if event["type"] == "http.response.start":
            request.status = cast("int", event["status"])
        await send(event)

    return noted


class Requests:
    """How many requests came to each route, how they were answered, and how long that took.

    Attributes:
        figures: By method, template of the route (empty where there is none) and status.
        active: Requests in work now, those with a stream for an answer among them.
    """

    __slots__ = ("active", "figures")

    def __init__(self) -> None:
        self.active: int = 0
        self.figures: dict[tuple[str, str, int], Figures] = {}

    def add(self, method: str, template: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        figures = self.figures.get((method, template, status))
        if figures is None:
            key = (method if method in METHODS else OTHER, template, status)
            figures = self.figures.setdefault(key, Figures())
        # As in `Figures.add`: one call less for each request.
        figures.count += 1
        figures.seconds += seconds
        figures.buckets[bisect_left(BUCKETS, seconds)] += 1
