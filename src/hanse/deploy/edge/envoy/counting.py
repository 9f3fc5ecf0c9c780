"""What Envoy has counted, of its lines of log and of its own figures. Pure but for what it keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final
from urllib.parse import unquote

from hanse.control.edge_figures import Key, Line
from hanse.deploy.edge.counted import Counted
from hanse.deploy.edge.envoy.lines import Told, count
from hanse.deploy.edge.envoy.pools import Shape
from hanse.deploy.edge.envoy.worker import Standing, Where

LINE_SECONDS = 5.0
"""In which an answer that has begun has its line; of a longer one that tells of an error, an attempt is counted."""


@dataclass(slots=True)
class _Known:
    """What is known of a server: what Envoy counted, and what no line explains; less than none was told of before."""

    standing: Standing
    open: int = 0
    since: float = 0.0


@final
class Counting:
    """Adds up what came of requests, and finds the attempts that failed.

    Lines tell of requests, and by which server each ended. Of attempts before that only Envoy's own figures tell: they
    count such failures and errors that applications answered as one, so those that lines told of are taken off. An
    answer is an error in the figures once it begins, and has its line when it has ended: so many as are under way may
    still be explained for a while.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self._counted = Counted()
        self._own: dict[tuple[str, str], int] = {}
        self._known: dict[Where, _Known] = {}

    def lines(self) -> tuple[Line, ...]:
        """All that was counted."""
        return self._counted.lines()

    def over(self, told: Told, release: str, now: float) -> None:
        """Count a request that is over.

        Args:
            told: Its line.
            release: Whose servers it was sent to.
            now: In seconds, of a clock that only goes on.
        """
        server = unquote(told.server, errors="surrogateescape")
        key = Key(told.service, release, server, told.route)
        count(self._counted.of(key), told)
        if not told.gone:
            self._counted.asked(key, told.who, now, failed=told.failed)
        if told.own_error:
            self._own[told.pool, server] = self._own.get((told.pool, server), 0) + 1

    def looked(
        self, standings: Mapping[Where, Standing], shapes: Mapping[str, Shape], names: Mapping[Where, str], now: float
    ) -> set[str]:
        """Count the attempts that failed since the last look.

        Args:
            standings: How servers are; lines of all that these count have been read.
            shapes: Of clusters, by name.
            names: Of servers, by where they are.
            now: In seconds, of a clock that only goes on.

        Returns:
            Where attempts have failed.
        """
        found = set[str]()
        for where, standing in standings.items():
            shape, name = shapes.get(where[0]), names.get(where)
            if shape is None or name is None:
                continue
            # What a gRPC service answers in its own words is an error to Envoy as well.
            own = self._own.pop((where[0], name), 0)
            grpc = shape.protocol == "h2c"
            more = self._refused(where, standing) if grpc else self._failed(where, standing, own, now)
            if more:
                self._counted.of(Key(shape.service, shape.release, name, "")).failed += more
                found.add(name)
        for where in [where for where in self._known if where not in standings]:
            del self._known[where]
        return found

    def _refused(self, where: Where, now: Standing) -> int:
        known = self._known.setdefault(where, _Known(_NOTHING))
        before, known.standing = known.standing, now
        return now.refused - (before.refused if now.refused >= before.refused else 0)

    def _failed(self, where: Where, now: Standing, own: int, clock: float) -> int:
        known = self._known.setdefault(where, _Known(_NOTHING))
        # A server that came back is another one to Envoy, which begins anew.
        before = known.standing if now.errors >= known.standing.errors else _NOTHING
        if own >= known.open:
            known.since = clock
        left = known.open + now.errors - before.errors - own
        refused = max(0, now.refused - before.refused)
        may_be_told = now.busy if clock - known.since < LINE_SECONDS else 0
        known.standing, known.open = now, min(left, may_be_told, max(0, left - refused))
        return max(0, left - known.open)


_NOTHING = Standing(0, 0, 0)
