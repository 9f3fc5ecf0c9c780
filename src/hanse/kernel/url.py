"""URLs that name one server or several."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit


def split_url(url: str) -> SplitResult:
    """The parts of a URL, whatever stands where its host is: several, with commas between them, IPv6 among them.

    `urlsplit` takes brackets behind a comma in some versions of Python, and refuses them in others.

    Raises:
        ValueError: One of them is none.

    Example:
        >>> split_url("postgresql://ada@a,[::1]:5433/shop?sslmode=require").netloc
        'ada@a,[::1]:5433'
        >>> split_url("postgresql://ada@a,[::1]:5433/shop?sslmode=require").path
        '/shop'
    """
    scheme, mark, rest = url.partition("://")
    end = next((at for at, letter in enumerate(rest) if letter in "/?#"), len(rest))
    for server in rest[:end].split(","):
        _ = urlsplit(f"//{server}")
    return urlsplit(f"{scheme}{mark}{rest[end:]}")._replace(netloc=rest[:end])
