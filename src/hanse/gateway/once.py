"""The one rule for what comes several times in a query string. Pure.

What is a list, or a filter, may come several times; all else comes once. To take the first or the last instead would
let what stands before the gateway judge one value, and the gateway act on another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from hanse.kernel.faults import Flaw
from hanse.kernel.validate import FLAWS_MAX, escape


def came_twice(name: str) -> Flaw:
    """What is wrong with a parameter that came several times.

    Example:
        >>> came_twice("limit").detail
        'expected one limit, got several'
    """
    return Flaw(f"/{escape(name[:100])}", "choice", f"expected one {name[:100]}, got several")


def twice_in(pairs: Mapping[str, Sequence[str]], is_list: Callable[[str], bool] = lambda _: False) -> list[Flaw]:
    """A flaw for each parameter that came several times and is no list.

    Example:
        >>> [flaw.pointer for flaw in twice_in({"after": ["1", "2"], "tags": ["a", "b"]}, lambda name: name == "tags")]
        ['/after']
    """
    return [came_twice(name) for name, values in pairs.items() if len(values) > 1 and not is_list(name)][:FLAWS_MAX]
