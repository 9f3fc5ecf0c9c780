"""A look at a store that nobody has to wait for a loop for: what `hanse store plan` and `hanse doctor` see of it."""

from __future__ import annotations

from hanse.kernel.host import Host
from hanse.store.base import CollectionSchema
from hanse.store.mongodb.layout import require_server, stored
from hanse.store.mongodb.link import Link
from hanse.store.mongodb.url import MongodbUrl, parse_url
from hanse.store.remote.look import looked


def stored_schemas(url: str) -> dict[str, CollectionSchema]:
    """The collections that a store keeps, without touching it; none where there is no store yet.

    Raises:
        Misconfigured: The URL cannot be used.
        CouldNotStart: It is not a store that this version can serve, or its server is not.
        Unavailable: The server cannot be reached.
    """
    return looked(_stored(parse_url(url)))


async def _stored(url: MongodbUrl) -> dict[str, CollectionSchema]:
    link = Link(url, Host.system())
    try:
        await require_server(link)
        return await stored(link)
    finally:
        await link.close()
