"""A look at a store that nobody has to wait for a loop for: what `hanse store plan` and `hanse doctor` see of it."""

from __future__ import annotations

from hanse.kernel.host import Host
from hanse.store.base import CollectionSchema
from hanse.store.postgresql.failures import raise_meaning
from hanse.store.postgresql.link import Dialer, hang_up
from hanse.store.postgresql.tables import stored
from hanse.store.postgresql.url import PostgresqlUrl, parse_url
from hanse.store.remote.look import looked


def stored_schemas(url: str) -> dict[str, CollectionSchema]:
    """The collections that a store keeps, without touching it; none where there is no schema yet.

    Raises:
        Misconfigured: The URL cannot be used, or the driver is not installed.
        CouldNotStart: It is not a store that this version can serve.
        Unavailable: The server cannot be reached.
    """
    return looked(_stored(parse_url(url)))


async def _stored(url: PostgresqlUrl) -> dict[str, CollectionSchema]:
    link = await Dialer(url, Host.system()).dial()
    try:
        return await stored(link, url)
    except Exception as error:  # noqa: BLE001 - it is raised as what it means
        raise_meaning(error, url.place)
    finally:
        await hang_up(link)
