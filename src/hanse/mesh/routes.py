"""Which release a call goes to, where several run: a route says how calls are shared among them. Pure.

A story (a request, and all that is called for it) stays with the release that was chosen for it first, wherever that
release has the service: so two halves of a change meet each other. Where a route has one release only, nothing was
chosen, and the story goes on as it came: else the one release of a caller would take what a canary of the same name is
not yet to have. And all calls of a story are shared alike: not each
one is drawn, but the story, or what the route has it stick to.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol, runtime_checkable

import msgspec

from hanse.kernel.message import Headers
from hanse.kernel.route import Route
from hanse.kernel.traceparent import parse_traceparent
from hanse.mesh.rendezvous import score


class Way(msgspec.Struct, frozen=True):
    """Where among the instances of a service a call goes.

    Attributes:
        release: Those of it are asked, where it is there; empty for any.
        key: Whatever has the same goes to the same one, as long as that is there; empty for the lighter one.
        pins: Whether that was chosen among several, so that the story stays with it.
    """

    release: str = ""
    key: str = ""
    pins: bool = False


ANY = Way()


@runtime_checkable
class TakesRoutes(Protocol):
    """Whatever shares calls among releases."""

    def route(self, routes: Mapping[str, Route], home: str = "") -> None:
        """Share them as these say, by what is called; they replace those before.

        Args:
            routes: How.
            home: The release with which stories stay that begin here; empty for none.
        """
        ...


def way_for(route: Route, headers: Headers, offered: Collection[str], draw: float) -> Way:
    """Where a call goes; see `release_for`."""
    release = release_for(route, headers, offered, draw)
    pins = bool(release) and not headers.release and is_split(route, offered)
    return Way(release, value_of(headers, route.belongs_to), pins)


def is_split(route: Route, offered: Collection[str] | None = None) -> bool:
    """Whether a route has several releases to choose among.

    Args:
        route: A service's.
        offered: Those that there are; None for all.

    Example:
        >>> is_split(Route(releases={"1": 95, "2": 5})), is_split(Route(releases={"1": 0, "2": 5}))
        (True, False)
    """
    shares = [route.releases, *(rule.releases for rule in route.rules)]
    names = {name for share in shares for name, weight in share.items() if weight > 0}
    return len(names if offered is None else names.intersection(offered)) > 1


def headed(headers: Headers, way: Way) -> Headers:
    """What a call carries on its way: the release that its story stays with from now on, where one was chosen."""
    return msgspec.structs.replace(headers, release=way.release) if way.pins else headers


def release_for(route: Route, headers: Headers, offered: Collection[str], draw: float) -> str:
    """The release that a call goes to; empty for any of them.

    Args:
        route: The service's.
        headers: What the call carries.
        offered: The releases that there are; others of the route get nothing.
        draw: A number from 0 up to, not including, 1, by chance, for calls of no story.

    Example:
        >>> from hanse.kernel.route import Condition, Rule
        >>> route = Route((Rule({"1.5": 1}, (Condition("tenant", "acme"),)),), releases={"1.4": 1})
        >>> from hanse.kernel.message import Identity
        >>> release_for(route, Headers(identity=Identity("ada", "acme")), {"1.4", "1.5"}, 0.0)
        '1.5'
        >>> release_for(route, Headers(), {"1.4", "1.5"}, 0.0)
        '1.4'
    """
    if headers.release in offered:
        return headers.release
    rule = next(
        (rule for rule in route.rules if all(value_of(headers, one.of) == one.value for one in rule.when)), None
    )
    wanted = route.releases if rule is None else rule.releases
    weights = {name: weight for name, weight in sorted(wanted.items()) if weight > 0 and name in offered}
    key = value_of(headers, route.sticks_to) or _story(headers) or repr(draw)
    return max(weights, key=lambda name: score(key, name, weights[name]), default="")


def value_of(headers: Headers, of: str) -> str:
    """What a call carries under a name; empty where it carries nothing of it.

    Example:
        >>> value_of(Headers(tags={"beta": "yes"}), "tag.beta"), value_of(Headers(), "tenant")
        ('yes', '')
    """
    kind, _, name = of.partition(".")
    match kind:
        case "subject":
            return headers.identity.subject
        case "tenant":
            return headers.identity.tenant
        case "tag":
            return headers.tags.get(name, "")
        case "header":
            return headers.extra.get(name, "")
        case _:
            return ""


def _story(headers: Headers) -> str:
    if headers.correlation_id:
        return headers.correlation_id
    trace = parse_traceparent(headers.traceparent)
    return trace.trace_id if trace else ""
