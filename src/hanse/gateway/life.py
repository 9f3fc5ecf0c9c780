"""What a server tells its operator, by the logger `hanse.life`: a line at its start, at its drain, and at its stop."""

from __future__ import annotations

import logging
from typing import cast

import msgspec

from hanse.kernel.settings_hide import hidden
from hanse.node.app import GATEWAY
from hanse.node.node import Node
from hanse.node.stores import url_for

_log = logging.getLogger("hanse.life")


class Work(msgspec.Struct, frozen=True):
    """What a server is in the middle of.

    Attributes:
        requests: In work.
        bodies: Requests whose bodies are waited for.
        streams: Event streams and WebSockets.
        operations: Calls that are handled.

    Example:
        >>> Work(requests=1, streams=2).told
        '1 request, 2 streams'
        >>> Work().told
        'nothing'
    """

    requests: int = 0
    bodies: int = 0
    streams: int = 0
    operations: int = 0

    @property
    def told(self) -> str:
        """In words."""
        counts = {"request": self.requests, "body": self.bodies, "stream": self.streams, "operation": self.operations}
        many = {"body": "bodies"}
        told = [
            f"{count} {name if count == 1 else many.get(name, name + 's')}" for name, count in counts.items() if count
        ]
        return ", ".join(told) or "nothing"


def tell_started(node: Node, url: str, seconds: float) -> None:
    """Say that everything is ready.

    Args:
        node: What runs.
        url: Where it is reached.
        seconds: How long it took to come up, from when the app was loaded.
    """
    settings, names = node.settings, [part.name for part in node.parts]
    stores = {name: str(hidden(url_for(settings, name))) for name in names}
    transport = str(hidden(settings.node.transport))
    host, _, port = url.rpartition("//")[2].rpartition(":")
    about = {
        "url.full": url,
        "server.address": host.strip("[]"),
        "server.port": int(port),
        "hanse.services": names,
        "hanse.stores": stores,
        "hanse.transport": transport,
        "hanse.start.duration": round(seconds, 3),
    }
    kept = ", ".join(dict.fromkeys(stores.values())) or "none"
    hosted = ", ".join(names) or GATEWAY
    told = "serving %s at %s; store %s, transport %s; started in %.2f s"
    _log.info(told, hosted, url, kept, transport, seconds, extra=about)


def tell_draining(node: Node, why: str, work: Work) -> None:
    """Say that it begins to stop, and what it waits for.

    Args:
        node: What runs.
        why: The signal.
        work: What is under way.
    """
    settings = node.settings.node
    about = {
        "hanse.stop.reason": why,
        **{f"hanse.work.{name}": value for name, value in cast("dict[str, int]", msgspec.structs.asdict(work)).items()},
        "hanse.drain_delay": settings.drain_delay,
        "hanse.grace": settings.grace,
    }
    told = "%s: draining, for %g s and then at most %g s; under way: %s"
    _log.info(told, why, settings.drain_delay, settings.grace, work.told, extra=about)


def tell_stopped(why: str, seconds: float, cut: int) -> None:
    """Say that it has stopped.

    Args:
        why: The signal, or that something failed.
        seconds: Since it was asked to.
        cut: Requests and streams that were cut off.
    """
    about = {"hanse.stop.reason": why, "hanse.stop.duration": round(seconds, 3), "hanse.stop.cut": cut}
    level = logging.WARNING if cut else logging.INFO
    _log.log(level, "%s: stopped after %.2f s; cut off: %s", why, seconds, cut or "nothing", extra=about)
