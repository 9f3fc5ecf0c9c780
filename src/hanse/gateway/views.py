"""All views of a gateway, and the one pulse that keeps their readers alive, and cuts those who read nothing."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from hanse.gateway.feeds import Source
from hanse.gateway.handover import Budget
from hanse.gateway.limits import Limits
from hanse.gateway.outlet import Outlet
from hanse.gateway.pace import Backlog
from hanse.gateway.view import SERVING, Shared, View
from hanse.kernel.faults import Overloaded
from hanse.kernel.host import Host
from hanse.kernel.tasks import Tasks
from hanse.node.node import Node

PULSE_SECONDS = 1.0
"""Between two looks at everybody."""

LINGER_SECONDS = 5.0
"""That a view is kept without readers, for those who come back."""

_log = logging.getLogger("hanse.gateway")


class Stuck(Protocol):
    """Somebody whose outlet is looked after."""

    outlet: Outlet

    def stuck(self) -> None:
        """Its client has taken nothing for too long."""


class Views:
    """See the module.

    Attributes:
        tasks: Where what readers need for a moment runs.
        host: Clocks and ids.
    """

    def __init__(self, node: Node, limits: Limits) -> None:
        self.tasks: Tasks = Tasks(_failed, limit=2 * limits.views + 2 * limits.streams)
        self.host: Host = node.host
        self._node = node
        self._limits = limits
        self._shared = Shared(node, limits, Budget(limits.views_bytes), self.tasks)
        self._views: dict[Source, tuple[View, asyncio.Task[None]]] = {}
        self._watched: dict[Stuck, Backlog] = {}
        self._pulsing: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._views)

    def view(self, source: Source) -> View:
        """The view of a source: the one that there is, or a new one.

        Raises:
            Overloaded: There are as many as there may be.
        """
        found = self._views.get(source)
        if found is not None and found[0].over is None:
            found[0].reserve()
            return found[0]
        if len(self._views) >= self._limits.views:
            raise Overloaded(f"the limit of {self._limits.views} different filters that are followed")
        view = View(source.feed(self._node), self._shared)
        self._views[source] = view, self.tasks.start(view.run())
        self._start_pulse()
        return view

    def watch(self, who: Stuck) -> None:
        """See to it that somebody who is given more than it takes does not stay so for ever."""
        _ = self._watched.setdefault(who, Backlog())
        self._start_pulse()

    def forget(self, who: Stuck) -> None:
        """Somebody has gone."""
        _ = self._watched.pop(who, None)

    def _start_pulse(self) -> None:
        if self._pulsing is None:
            self._pulsing = self.tasks.start(self._pulse())

    async def _pulse(self) -> None:
        try:
            while self._views or self._watched:
                await asyncio.sleep(PULSE_SECONDS)
                now = self._node.host.monotonic()
                self._cut_stuck(now)
                self._beat(now)
        finally:
            self._pulsing = None

    def _cut_stuck(self, now: float) -> None:
        for who, backlog in list(self._watched.items()):
            left = who.outlet.left
            if not left:
                del self._watched[who]
            elif backlog.is_stuck(left, now, seconds=self._limits.stalled_seconds):
                del self._watched[who]
                who.stuck()

    def _beat(self, now: float) -> None:
        idle = self._node.state not in SERVING
        for source, (view, task) in list(self._views.items()):
            view.beat(now, self._limits.heartbeat_seconds - PULSE_SECONDS / 2)
            if idle or (view.empty_since is not None and now - view.empty_since >= LINGER_SECONDS):
                _ = task.cancel()
            if task.done():
                del self._views[source]


def _failed(error: BaseException) -> None:
    _log.error("a live view failed", exc_info=error)
