"""From URLs to stores: each service has one of its own.

Adapters are found by the URL's scheme: our own here, anybody's through the entry point group `hanse.stores` (a
callable that takes the URL and gives a Store).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

from hanse.kernel.faults import Misconfigured
from hanse.store.base import Store

GROUP = "hanse.stores"


def store_url(url: str, service: str) -> str:
    """The URL of one service's store, from the one that is given for all.

    `{service}` in it is replaced. Otherwise a SQLite file gets the service's name before its suffix, and a path without
    a suffix is a folder with a file for each service.

    Example:
        >>> store_url("sqlite:///shop.db", "orders"), store_url("sqlite:///data", "orders")
        ('sqlite:///shop-orders.db', 'sqlite:///data/orders.db')
        >>> store_url("memory:", "orders")
        'memory:'
    """
    if "{service}" in url:
        return url.replace("{service}", service)
    if not url.startswith("sqlite:"):
        return url
    path, question, options = url.partition("?")
    folder, slash, file = path.rpartition("/")
    stem, dot, suffix = file.rpartition(".")
    if dot and stem:
        return f"{folder}{slash}{stem}-{service}.{suffix}{question}{options}"
    return f"{path.rstrip('/')}/{service}.db{question}{options}"


def open_store(url: str) -> Store:
    """The store that a URL names, not yet open.

    Raises:
        Misconfigured: The URL cannot be used, or nothing installed knows its scheme.
    """
    scheme = url.partition(":")[0]
    if scheme == "memory":
        from hanse.store.memory import MemoryStore

        return MemoryStore()
    if scheme == "sqlite":
        from hanse.store.sqlite import SqliteStore

        store = SqliteStore.from_url(url)
        _make_folder(url)
        return store
    from importlib.metadata import entry_points

    found = entry_points(group=GROUP, name=scheme)
    if not found:
        raise Misconfigured(f"no store for {scheme + ':'!r}; expected memory: or sqlite:///path/to/file.db")
    make = cast("Callable[[str], Store]", next(iter(found)).load())
    return make(url)


def _make_folder(url: str) -> None:
    """The folder of a SQLite file, so that a URL that names a new one works at the first try."""
    path = Path(url.partition("?")[0].removeprefix("sqlite:///"))
    path.parent.mkdir(parents=True, exist_ok=True)
