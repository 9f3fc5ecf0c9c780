"""URLs of stores on servers: everybody's own options, and beside them those that Hanse adds."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qsl, urlencode

from hanse.kernel.faults import Misconfigured
from hanse.kernel.url import split_url

Options = dict[str, str | int]
"""By name; numbers as such."""


class Split(NamedTuple):
    """A URL in pieces.

    Attributes:
        parts: As the standard library has them.
        ours: The options that Hanse adds.
        others: Those that are the driver's, in order.
    """

    parts: SplitResult
    ours: Options
    others: list[tuple[str, str]]


def split(url: str, schemes: Collection[str], names: Collection[str], example: str) -> Split:
    """The pieces of a URL.

    Args:
        url: As it is given.
        schemes: What it may begin with.
        names: Of the options that are ours.
        example: A good URL.

    Raises:
        Misconfigured: It does not begin so.

    Example:
        >>> found = split("mongodb://db/shop?tls=true&connections=7", ["mongodb"], ["connections"], "mongodb://db/shop")
        >>> found.parts.netloc, found.ours, found.others
        ('db', {'connections': 7}, [('tls', 'true')])
    """
    try:
        parts = split_url(url)
    except ValueError:
        parts = split_url("")
    if parts.scheme not in schemes or not url.startswith(f"{parts.scheme}://"):
        raise Misconfigured(f"expected a store such as {example}, got a URL that does not begin so")
    said = parse_qsl(parts.query, keep_blank_values=True)
    ours: Options = {name: _meant(value) if name == "connections" else value for name, value in said if name in names}
    return Split(parts, ours, [(name, value) for name, value in said if name not in names])


def _meant(value: str) -> str | int:
    return int(value) if value.isdecimal() else value


def url_of_service(url: str, service: str, option: str) -> str:
    """The URL of one service's store, from the one that is given for all: in an option, the service's name.

    Args:
        url: Of all.
        service: Its name, which goes behind what the URL says there already.
        option: That keeps the services apart.

    Example:
        >>> [url_of_service(one, "orders", "prefix") for one in ("redis://db/0", "redis://db?prefix=shop")]
        ['redis://db/0?prefix=orders', 'redis://db?prefix=shop_orders']
    """
    path, _, query = url.partition("?")
    options = parse_qsl(query, keep_blank_values=True)
    given = next((value for name, value in options if name == option), "")
    kept = [(name, value) for name, value in options if name != option]
    return f"{path}?{urlencode([*kept, (option, f'{given}_{service}' if given else service)])}"
