"""Which handler answers a path: a tree of path parts, fixed when the gateway is built. Pure."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping

from hanse.gateway.asgi import Header, Request, Response, segments_of
from hanse.kernel.faults import Misdeclared

Handler = Callable[[Request], Awaitable[Response | None]]
"""Answers a request; None where it has sent the answer itself, as streams do."""

_PART = re.compile(r"\{([a-z_][a-z0-9_]*)\}")


class Route:
    """What stands at one path.

    Attributes:
        template: The path as declared, such as `/orders/{id}`: of low cardinality, for spans and figures.
        methods: Handlers by method.
        offers: Headers that say what its methods take, such as Accept-Patch.
    """

    __slots__ = ("methods", "names", "offers", "template")

    def __init__(self, template: str, names: tuple[str, ...]) -> None:
        self.template: str = template
        self.names: tuple[str, ...] = names
        self.methods: dict[str, Handler] = {}
        self.offers: tuple[Header, ...] = ()

    @property
    def allowed(self) -> str:
        """The methods that are possible, as the Allow header lists them."""
        more = {"OPTIONS", *(("HEAD",) if "GET" in self.methods else ())}
        return ", ".join(sorted({*self.methods, *more}))


class _Branch:
    __slots__ = ("any", "named", "route")

    def __init__(self) -> None:
        self.named: dict[str, _Branch] = {}
        self.any: _Branch | None = None
        self.route: Route | None = None


class Routes:
    """All paths of a gateway. A literal part wins over a placeholder.

    Example:
        >>> routes = Routes()
        >>> async def handler(request): ...
        >>> routes.add("/orders/{id}", {"GET": handler})
        >>> routes.find(("orders", "42"))[1]
        {'id': '42'}
    """

    def __init__(self) -> None:
        self._root = _Branch()
        self._plain: dict[str, Route] = {}

    def add(self, template: str, methods: Mapping[str, Handler], offers: tuple[Header, ...] = ()) -> None:
        """Answer a path.

        Args:
            template: The path.
            methods: Handlers by method.
            offers: Headers that OPTIONS answers with, beside Allow.

        Raises:
            Misdeclared: The path cannot be, or one of the methods is taken.
        """
        names: list[str] = []
        branch = self._root
        for part in parts_of(template):
            placeholder = _PART.fullmatch(part)
            if placeholder is None:
                branch = branch.named.setdefault(part, _Branch())
            else:
                names.append(placeholder[1])
                branch.any = branch.any or _Branch()
                branch = branch.any
        branch.route = branch.route or Route(template, tuple(names))
        if taken := sorted(methods.keys() & branch.route.methods.keys()):
            raise Misdeclared(
                f"{taken[0]} {template} is declared twice (also as {branch.route.template}); give one another path"
            )
        branch.route.methods.update(methods)
        branch.route.offers += offers
        if not names and "%" not in template:
            self._plain[template] = branch.route

    def __iter__(self) -> Iterator[Route]:
        """All that is answered, in order of the paths' parts."""
        yield from _below(self._root)

    def at(self, path: str) -> tuple[Route, dict[str, str]] | None:
        """What stands at an encoded path, and what its placeholders stand for.

        Raises:
            Malformed: A part does not decode to UTF-8.
        """
        # A path without placeholders wins over all others, and needs no tree.
        route = self._plain.get(path)
        return self.find(segments_of(path)) if route is None else (route, {})

    def find(self, parts: tuple[str, ...]) -> tuple[Route, dict[str, str]] | None:
        """What stands at the decoded parts of a path, and what its placeholders stand for."""
        values: list[str] = []
        route = _find(self._root, parts, 0, values)
        return None if route is None else (route, dict(zip(route.names, values, strict=True)))


def _below(branch: _Branch) -> Iterator[Route]:
    if branch.route is not None:
        yield branch.route
    for _, inner in sorted(branch.named.items()):
        yield from _below(inner)
    if branch.any is not None:
        yield from _below(branch.any)


def parts_of(template: str) -> list[str]:
    """The parts of a declared path.

    Raises:
        Misdeclared: It does not begin with a slash, or has a brace that is no placeholder.
    """
    parts = template[1:].split("/")
    sound = all(_PART.fullmatch(part) or not {"{", "}", "?", "#"} & set(part) for part in parts)
    if not template.startswith("/") or not sound:
        raise Misdeclared(f"expected a path such as /orders or /stock/{{sku}}, got {template!r}")
    return parts


def _find(branch: _Branch, parts: tuple[str, ...], index: int, values: list[str]) -> Route | None:
    if index == len(parts):
        return branch.route
    part = parts[index]
    if part in branch.named:
        found = _find(branch.named[part], parts, index + 1, values)
        if found is not None:
            return found
    if branch.any is None or not part:
        return None
    values.append(part)
    found = _find(branch.any, parts, index + 1, values)
    if found is None:
        _ = values.pop()
    return found
