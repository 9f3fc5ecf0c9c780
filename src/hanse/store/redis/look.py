"""A look at a store that nobody has to wait for a loop for: what `hanse store plan` and `hanse doctor` see of it."""

from __future__ import annotations

from hanse.kernel.host import Host
from hanse.store.base import CollectionSchema
from hanse.store.redis.failures import raise_meaning
from hanse.store.redis.judge import doubt
from hanse.store.redis.link import Dialer
from hanse.store.redis.opening import stored
from hanse.store.redis.url import RedisUrl, parse_url
from hanse.store.remote.look import looked


def stored_schemas(url: str) -> dict[str, CollectionSchema]:
    """The collections that a store keeps, without touching it; none where there is no store yet.

    Raises:
        Misconfigured: The URL cannot be used, or the library that cuts the protocol is not installed.
        CouldNotStart: It is not a store that this version can serve, or its server may not be trusted with rows.
        Unavailable: The server cannot be reached.
    """
    return looked(_stored(parse_url(url)))


def doubt_about(url: str) -> str:
    """What may be lost at the server of a store, and what to set; empty where nothing is. Raises as above."""
    return looked(_doubt(parse_url(url)))


async def _doubt(url: RedisUrl) -> str:
    link = await Dialer(url, Host.system()).dial()
    link.give_up("it was looked at")
    return doubt(link.told, url)


async def _stored(url: RedisUrl) -> dict[str, CollectionSchema]:
    dialer = Dialer(url, Host.system())
    link = await dialer.dial()
    try:
        return await stored(link, dialer.names)
    except Exception as error:  # noqa: BLE001 - it is raised as what it means
        raise_meaning(error, url.place)
    finally:
        link.give_up("it was looked at")
