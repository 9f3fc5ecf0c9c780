"""`/metrics`: what a node and its gateway have counted, for Prometheus and whoever reads its formats.

Names follow the conventions: base units, `_total`, `_seconds`; those of HTTP follow OpenTelemetry's. Labels are of low
cardinality: templates of routes and addresses of operations, never ids.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence

from hanse.gateway.asgi import Request, Response
from hanse.gateway.exposition import OPEN_METRICS, PROMETHEUS, Family, Labels, exposition
from hanse.gateway.figures import Requests
from hanse.gateway.private import may_see, refused
from hanse.gateway.process import LoopLag, process_families
from hanse.gateway.room import Room
from hanse.gateway.streams import Streams
from hanse.mesh.breaker import State
from hanse.node.figures import NodeFigures, ScheduleFigures, StoreFigures
from hanse.node.node import Node

_HEADERS = ((b"cache-control", b"no-store"), (b"vary", b"accept"))


class Metrics:
    """The handler of `/metrics`.

    Args of the constructor:
        node: Whose figures.
        requests: What the gateway has counted.
        streams: What is open.
        room: What is in work.
        unbelieved: Webhooks that came and were refused, by path and reason.
    """

    def __init__(
        self,
        node: Node,
        requests: Requests,
        streams: Streams,
        room: Room,
        unbelieved: Mapping[tuple[str, str], int] = {},
    ) -> None:
        self._unbelieved = unbelieved
        self._node = node
        self._requests = requests
        self._streams = streams
        self._room = room
        self._lag = LoopLag()

    async def __call__(self, request: Request) -> Response:
        """All figures, for those who may see them."""
        settings = self._node.settings.gateway
        if not may_see(request, settings):
            return refused(request, settings)
        open_metrics = request.accepts("application/openmetrics-text")
        figures = await self._node.figures()
        body = exposition([*self._families(figures), *process_families()], open_metrics=open_metrics)
        return Response(200, body, _HEADERS, OPEN_METRICS if open_metrics else PROMETHEUS)

    def _families(self, figures: NodeFigures) -> Iterator[Family]:
        yield _build_info(self._node)
        yield Family(
            "http_server_request_duration_seconds",
            "histogram",
            "How long requests took to answer; streams are not among them.",
            histograms=[(_request_labels(*key), told) for key, told in self._requests.figures.items()],
        )
        streams = len(self._streams)
        working, reading = self._room.working, self._room.reading
        yield Family("http_server_active_requests", "gauge", "Requests in work, without streams.", [({}, working)])
        yield Family("hanse_bodies_awaited", "gauge", "Requests whose bodies are waited for.", [({}, reading)])
        yield Family("hanse_streams_open", "gauge", "Event streams and WebSockets that are open.", [({}, streams)])
        yield from _call_families(figures)
        yield from _store_families(figures.stores)
        yield from _schedule_families(figures.schedules)
        counted = [({"service": service, "what": name}, count) for (service, name), count in figures.counted.items()]
        yield Family("hanse_counted", "counter", "What services have counted of their own work.", counted)
        refused = [
            ({"http_route": path, "reason": why}, count) for (path, why), count in sorted(self._unbelieved.items())
        ]
        yield Family("hanse_webhooks_refused", "counter", "Webhooks that came and were not believed.", refused)
        late = self._lag.take()
        yield Family(
            "hanse_event_loop_lag_max_seconds",
            "gauge",
            "How late the loop was at the worst, since last asked.",
            [({}, late)],
        )


def _build_info(node: Node) -> Family:
    from importlib.metadata import version  # here, as it takes a twentieth of a start, and most nodes are never asked

    labels = {
        "app": node.app.name,
        "version": version("hanse"),
        "python": platform.python_version(),
        "release": node.settings.node.release,
        "instance": node.settings.node.instance,
    }
    said = {name: text for name, text in labels.items() if text}
    return Family("hanse_build_info", "gauge", "What runs.", [(said, 1)])


def _request_labels(method: str, template: str, status: int) -> Labels:
    route = {"http_route": template} if template else {}
    return {"http_request_method": method, **route, "http_response_status_code": str(status)}


def _call_families(figures: NodeFigures) -> Iterator[Family]:
    calls = [
        ({"operation": address, "outcome": code or "ok"}, float(count))
        for (address, code), count in sorted(figures.calls.items())
    ]
    yield Family("hanse_calls", "counter", "Calls that this node has served, by how they ended.", calls)
    yield Family("hanse_calls_running", "gauge", "Operations that are being handled.", [({}, figures.running)])
    breakers = [
        ({"operation": address, "state": one.value}, float(one is state))
        for address, state in sorted(figures.breakers.items())
        for one in State
    ]
    yield Family("hanse_breaker_state", "gauge", "Whether calls are let through: 1 is the state it is in.", breakers)


def _schedule_families(schedules: Sequence[ScheduleFigures]) -> Iterator[Family]:
    missed = [({"schedule": one.name}, one.missed) for one in schedules]
    yield Family("hanse_schedule_missed", "counter", "Moments of a schedule at which it did not run.", missed)
    failures = [({"schedule": one.name}, one.failures) for one in schedules]
    yield Family("hanse_schedule_failures", "counter", "Runs of a schedule that failed.", failures)


def _store_families(stores: Sequence[StoreFigures]) -> Iterator[Family]:
    up = [one for one in stores if one.up]
    yield Family("hanse_store_up", "gauge", "Whether the store answers.", [(_of(one), one.up) for one in stores])
    commits = [(_of(one), one.commits) for one in up if one.commits is not None]
    yield Family("hanse_store_commits", "counter", "Units of work, marks and positions committed.", commits)
    late = [(_of(one), one.late) for one in up if one.late is not None]
    yield Family("hanse_store_late", "counter", "Commits refused, as another has by now what they rest on.", late)
    yield Family(
        "hanse_store_entries",
        "counter",
        "Entries that the log has ever had: rows written, and events.",
        [(_of(one), one.entries) for one in up],
    )
    dead = [(_of(one), one.dead_letters) for one in up]
    yield Family("hanse_dead_letters", "gauge", "Messages that could not be handled.", dead)
    sagas = [({**_of(one), "state": state}, count) for one in up for state, count in one.sagas.items()]
    yield Family("hanse_sagas", "gauge", "Sagas that are not over: under way, on their way back, or stuck.", sagas)
    relays = [({**_of(one), "relay": relay.name}, relay) for one in up for relay in one.relays]
    yield Family(
        "hanse_relay_lag_entries",
        "gauge",
        "Entries of the log that are not known to be handled.",
        [(labels, relay.lag) for labels, relay in relays],
    )
    yield Family(
        "hanse_relay_retries",
        "counter",
        "Deliveries that failed and were tried again.",
        [(labels, relay.retries) for labels, relay in relays],
    )
    yield Family(
        "hanse_relay_gaps",
        "counter",
        "How often entries were trimmed away before they were delivered.",
        [(labels, relay.gaps) for labels, relay in relays],
    )


def _of(store: StoreFigures) -> Labels:
    return {"service": store.service}
