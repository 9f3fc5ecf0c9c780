"""From URLs to stores: each service has one of its own.

Adapters are found by the URL's scheme: our own here, anybody's through the entry point group `hanse.stores` (a
callable that takes the URL and gives a Store).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from hanse.kernel.faults import Misconfigured
from hanse.kernel.settings import ServiceSettings, Settings
from hanse.kernel.settings_resources import SCHEME, not_there, with_url
from hanse.store.base import CollectionSchema, Store
from hanse.store.remote.url import url_of_service

GROUP = "hanse.stores"

_POSTGRESQL = ("postgresql", "postgres")
_REDIS = ("redis", "rediss", "valkey", "valkeys")
_MONGODB = ("mongodb", "mongodb+srv")


def store_url(url: str, service: str) -> str:
    """The URL of one service's store, from the one that is given for all.

    `{service}` in it is replaced. Otherwise a SQLite file gets the service's name before its suffix, and a path without
    a suffix is a folder with a file for each service. A database of PostgreSQL gets a schema for each, one of MongoDB
    or Redis a prefix.

    Example:
        >>> store_url("sqlite:///shop.db", "orders"), store_url("sqlite:///data", "orders")
        ('sqlite:///shop-orders.db', 'sqlite:///data/orders.db')
        >>> store_url("memory:", "orders")
        'memory:'
        >>> store_url("postgresql://db/shop", "orders")
        'postgresql://db/shop?schema=orders'
        >>> store_url("redis://db/0", "orders")
        'redis://db/0?prefix=orders'
        >>> store_url("mongodb://db/shop", "orders")
        'mongodb://db/shop?prefix=orders'
    """
    if "{service}" in url:
        return url.replace("{service}", service)
    option = _kept_apart_by(url.partition(":")[0])
    if option:
        return url_of_service(url, service, option)
    if not url.startswith("sqlite:"):
        return url
    path, question, options = url.partition("?")
    folder, slash, file = path.rpartition("/")
    stem, dot, suffix = file.rpartition(".")
    if dot and stem:
        return f"{folder}{slash}{stem}-{service}.{suffix}{question}{options}"
    return f"{path.rstrip('/')}/{service}.db{question}{options}"


def _kept_apart_by(scheme: str) -> str:
    """The option of a URL that gives each service a part of a database; empty where the scheme is of none."""
    return "schema" if scheme in _POSTGRESQL else "prefix" if scheme in (*_REDIS, *_MONGODB) else ""


def url_for(settings: Settings, service: str) -> str:
    """The URL of one service's store: its own setting, or what `node.store` means for it."""
    wanted = settings.services.get(service, ServiceSettings())
    if wanted.store.startswith(SCHEME):
        # Others may have theirs on the same server.
        return store_url(with_url(wanted.store, settings.resources), service)
    return wanted.store or store_url(settings.node.store, service)


def stored_in(url: str) -> dict[str, CollectionSchema] | None:
    """The collections that a store keeps already, without opening or touching it; None where that cannot be seen.

    Raises:
        Misconfigured: The URL cannot be used.
        CouldNotStart: It keeps something that this version cannot serve.
        Unavailable: Another process keeps it locked.
    """
    scheme = url.partition(":")[0]
    if scheme == "memory":
        return {}
    if scheme in _POSTGRESQL:
        from hanse.store.postgresql.look import stored_schemas as stored_in_schema

        return stored_in_schema(url)
    if scheme in _REDIS:
        from hanse.store.redis.look import stored_schemas as stored_under_prefix

        return stored_under_prefix(url)
    if scheme in _MONGODB:
        with _client_of_mongodb():
            from hanse.store.mongodb.look import stored_schemas as stored_in_database
        return stored_in_database(url)
    if scheme != "sqlite":
        return None
    from hanse.store.sqlite.tables import stored_schemas
    from hanse.store.sqlite.url import parse_url

    return stored_schemas(parse_url(url).path)


def doubt_in(url: str) -> str:
    """What a store may lose that was acknowledged, and what to set; empty where nothing is known of that.

    Raises:
        Misconfigured, CouldNotStart, Unavailable: As `stored_in`.
    """
    if url.partition(":")[0] not in _REDIS:
        return ""
    from hanse.store.redis.look import doubt_about

    return doubt_about(url)


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
    if scheme in _POSTGRESQL:
        from hanse.store.postgresql import PostgresqlStore

        return PostgresqlStore.from_url(url)
    if scheme in _REDIS:
        from hanse.store.redis import RedisStore

        return RedisStore.from_url(url)
    if scheme in _MONGODB:
        with _client_of_mongodb():
            from hanse.store.mongodb.store import MongodbStore
        return MongodbStore.from_url(url)
    if url.startswith(SCHEME):
        raise Misconfigured(not_there(url))
    from importlib.metadata import entry_points

    found = entry_points(group=GROUP, name=scheme)
    if not found:
        expected = "memory:, sqlite:///path/file.db, postgresql://host/db, mongodb://host/db or redis://host"
        raise Misconfigured(f"no store for {scheme + ':'!r}; expected {expected}")
    make = cast("Callable[[str], Store]", next(iter(found)).load())
    return make(url)


@contextmanager
def _client_of_mongodb() -> Generator[None]:
    """Around what imports it.

    Raises:
        Misconfigured: It is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise Misconfigured(f"mongodb:// needs a client ({error}): pip install 'hanse[mongodb]'") from None


def _make_folder(url: str) -> None:
    """The folder of a SQLite file, so that a URL that names a new one works at the first try."""
    path = Path(url.partition("?")[0].removeprefix("sqlite:///"))
    path.parent.mkdir(parents=True, exist_ok=True)
