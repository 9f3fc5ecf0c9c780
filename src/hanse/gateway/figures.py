"""What a gateway counts of its requests: a look-up and an addition each, so that it may always be on."""

from __future__ import annotations

from bisect import bisect_left
from typing import cast

from hanse.gateway.asgi import Event, Request, Send
from hanse.kernel.telemetry import BUCKETS, Figures

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"})
OTHER = "_OTHER"
"""Stands for methods that nobody has heard of: a client could invent any number of them."""

_QUICK = BUCKETS[0]
_NONE = [0] * (len(BUCKETS) + 1)


def noting_status(request: Request, send: Send) -> Send:
    """`send`, noting the status that somebody answers with who sends by themselves: files, mounted applications."""

    async def noted(event: Event) -> None:
        if event["type"] == "http.response.start":
            request.status = cast("int", event["status"])
        await send(event)

    return noted


class Requests:
    """How many requests came to each route, how they were answered, and how long that took."""

    __slots__ = ("_cells",)

    def __init__(self) -> None:
        # By method, template of the route (empty where there is none) and status: the seconds of all together, then
        # how many are in each bucket. A list, as every request changes two of its items and looks at nothing else.
        self._cells: dict[tuple[str, str, int], list[float]] = {}

    def add(self, method: str, template: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        cell = self._cells.get((method, template, status))
        if cell is None:
            key = (method if method in METHODS else OTHER, template, status)
            cell = self._cells.setdefault(key, [0.0, *_NONE])
        cell[0] += seconds
        cell[1 if seconds <= _QUICK else 1 + bisect_left(BUCKETS, seconds)] += 1

    @property
    def figures(self) -> dict[tuple[str, str, int], Figures]:
        """What has been counted, by method, template and status."""
        return {key: _figures(cell) for key, cell in sorted(self._cells.items())}


def _figures(cell: list[float]) -> Figures:
    figures = Figures()
    figures.seconds = cell[0]
    figures.buckets = [int(count) for count in cell[1:]]
    figures.count = sum(figures.buckets)
    return figures
