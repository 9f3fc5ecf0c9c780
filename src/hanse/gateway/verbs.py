"""How routes of one's own are declared: a decorator for each method of HTTP."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar, Unpack

from hanse.gateway.own_route import RouteOptions

F = TypeVar("F", bound=Callable[..., object])


class Verbs(ABC):
    """The decorators under which a plain function becomes a route.

    What the function takes is said by its annotations:

    - a placeholder of the path, by its name;
    - a plain type (`str`, `int`, `datetime`, an enumeration, a list of such): a value of the query;
    - `Annotated[str, Header("x-tenant")]`: a header;
    - a Model, a dataclass, a pydantic model or a dictionary: the body, as JSON; `bytes`: the body as it came;
    - a contract or a service: a typed client; `Collection[Order]`: that collection;
    - `Context` and `Request`: what they are.

    What it returns is sent as JSON; `bytes` and a `Response` as they are, and so is a response of Starlette. An async
    generator is sent item by item, as events or JSON Lines. A plain `def` runs in a thread.
    """

    def get(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[F], F]:
        """Answer GET, and HEAD, with a function.

        Args:
            path: Such as `/stock/{sku}`, below the gateway's prefix.
            options: `name`, `allow`, `status`, `timeout`, `faults`; see `RouteOptions`.

        Raises:
            Misdeclared: The function cannot be called with what a request brings, or its path or name is taken.

        Example:
            >>> from hanse import Gateway
            >>> gateway = Gateway()
            >>> @gateway.get("/double/{number}")
            ... async def double(number: int) -> int:
            ...     return number * 2
        """
        return self._decorator("GET", path, options)

    def post(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[F], F]:
        """Answer POST with a function; see `get`."""
        return self._decorator("POST", path, options)

    def put(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[F], F]:
        """Answer PUT with a function; see `get`."""
        return self._decorator("PUT", path, options)

    def patch(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[F], F]:
        """Answer PATCH with a function; see `get`."""
        return self._decorator("PATCH", path, options)

    def delete(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[F], F]:
        """Answer DELETE with a function; see `get`."""
        return self._decorator("DELETE", path, options)

    def _decorator(self, method: str, path: str, options: RouteOptions) -> Callable[[F], F]:
        def declare(function: F) -> F:
            self._own_route(function, method, path, options)
            return function

        return declare

    @abstractmethod
    def _own_route(self, function: Callable[..., object], method: str, path: str, options: RouteOptions) -> None:
        """Declare a route."""
