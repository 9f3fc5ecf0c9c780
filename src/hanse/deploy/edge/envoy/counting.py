"""What Envoy has counted, of its lines of log and of its own figures. Pure but for what it keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final
from urllib.parse import unquote

from hanse.control.edge_figures import Counts, Key, Line
from hanse.deploy.edge.envoy.lines import Told, count
from hanse.deploy.edge.envoy.pools import Shape
from hanse.deploy.edge.envoy.worker import Standing, Where

KEYS_MAX = 20_000
"""Keys that are counted apart: of servers that came and went the oldest are forgotten."""


@final
class Counting:
    """Adds up what came of requests, and finds the attempts that failed.

    Lines tell of requests, and by which server each ended. Of attempts before that only Envoy's own figures tell: they
    count such failures and errors that applications answered as one, so those that lines told of are taken off.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self._counts: dict[Key, Counts] = {}
        self._own: dict[tuple[str, str], int] = {}
        self._before: dict[Where, int] = {}
        self._owed: dict[Where, int] = {}

    def lines(self) -> tuple[Line, ...]:
        """All that was counted."""
        return tuple(Line(key, counts) for key, counts in self._counts.items())

    def over(self, told: Told, release: str) -> None:
        """Count a request that is over.

        Args:
            told: Its line.
            release: Whose servers it was sent to.
        """
        server = unquote(told.server, errors="surrogateescape")
        count(self._of(Key(told.service, release, server, told.route)), told)
        if told.own_error:
            self._own[told.pool, server] = self._own.get((told.pool, server), 0) + 1

    def looked(
        self, standings: Mapping[Where, Standing], shapes: Mapping[str, Shape], names: Mapping[Where, str]
    ) -> set[str]:
        """Count the attempts that failed since the last look.

        Args:
            standings: How servers are; lines of all that these count have been read.
            shapes: Of clusters, by name.
            names: Of servers, by where they are.

        Returns:
            Where attempts have failed.
        """
        found = set[str]()
        for where, standing in standings.items():
            shape, name = shapes.get(where[0]), names.get(where)
            if shape is None or name is None:
                continue
            more = self._more(where, name, standing, grpc=shape.protocol == "h2c")
            if more:
                self._of(Key(shape.service, shape.release, name, "")).failed += more
                found.add(name)
        for where in [where for where in self._before if where not in standings]:
            del self._before[where]
        return found

    def _more(self, where: Where, name: str, standing: Standing, *, grpc: bool) -> int:
        # What a gRPC service answers in its own words is an error to Envoy as well.
        now = standing.refused if grpc else standing.errors
        before, self._before[where] = self._before.get(where, 0), now
        own = self._own.pop((where[0], name), 0)
        # A server that came back is another one to Envoy, which begins anew.
        more = self._owed.pop(where, 0) + now - (before if now >= before else 0) - (0 if grpc else own)
        if more < 0:
            # It was told of before it is counted.
            self._owed[where] = more
        return max(more, 0)

    def _of(self, key: Key) -> Counts:
        if key not in self._counts and len(self._counts) >= KEYS_MAX:
            del self._counts[next(iter(self._counts))]
        return self._counts.setdefault(key, Counts())
