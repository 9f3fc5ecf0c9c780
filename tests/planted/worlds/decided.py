"""Looks at what is decided of a rollout, at the moment at which it is: whether those are there whom it counts on."""

from __future__ import annotations

from hanse.control.edge_table import WHOLE
from hanse.control.rollout import Rollout

from .onlooker import Onlooker
from .premises import Process

LATE_SECONDS = 10.0
"""By which news are late in bad times, and their end."""


class Decided:
    """See the module."""

    def __init__(self, onlooker: Onlooker) -> None:
        self._onlooker = onlooker

    def written(self, before: Rollout, after: Rollout, *, by_hand: bool) -> None:
        """What a rollout wants has changed."""
        if after.state in {"rolling_back", "rolled_back"} and after.new_count < before.new_count:
            self._check_unasked(after)
        if by_hand:
            return
        if after.old_count < before.old_count and after.state == "stepping":
            self._check_replaced(after)
        if after.share == 0 < before.share:
            self._check_there(after, after.old)
        if after.share == WHOLE > before.share:
            self._check_there(after, after.new)

    def _check_unasked(self, row: Rollout) -> None:
        """Whoever goes back has nobody who is still sent there."""
        if self._onlooker.shares.points(row.service, row.new):
            self._onlooker.violate("back", f"{row.service} {row.new} is to go, and the edge sends requests there")

    def _check_replaced(self, row: Rollout) -> None:
        """The old ones go for new ones that are there."""
        broke = len(self._broke_lately(row.service, row.new))
        if (there := len(self._well(row.service, row.new))) + broke < row.now.new:
            what = f"{row.old_count} of {row.old} are to be left, and {there} of {row.now.new} are there of {row.new}"
            self._onlooker.violate("capacity", f"{row.service}: {what}")

    def _check_there(self, row: Rollout, release: str) -> None:
        """Whoever gets all requests is there, or would be if nothing had broken."""
        if self._well(row.service, release) or self._broke_lately(row.service, release):
            return
        if not any(one.release == release for one in self._onlooker.excuses.of(row.service)):
            self._onlooker.violate("shares", f"{row.service} {release} is to have all requests, and nobody is there")

    def _well(self, service: str, release: str) -> list[Process]:
        onlooker = self._onlooker
        alive = [one for one in onlooker.premises.alive if (one.service, one.release) == (service, release)]
        return [one for one in alive if one.is_well(onlooker.now)]

    def _broke_lately(self, service: str, release: str) -> list[str]:
        onlooker = self._onlooker
        is_late = onlooker.now < onlooker.premises.late_until + LATE_SECONDS
        since = onlooker.now - LATE_SECONDS * is_late
        return [one.what for one in onlooker.excuses.of(service) if one.release == release and one.known_at >= since]
