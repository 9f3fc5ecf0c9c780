"""How processes hear of each other's commits to a store on a server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator
from contextlib import contextmanager

from hanse.testing.store_hooks import batch, put

from .on_server import WAIT_SECONDS, OnServer, S, heard
from .proxy import between
from .server import StoreServer


class _Warned(logging.Handler):
    def __init__(self, event: asyncio.Event) -> None:
        super().__init__(logging.WARNING)
        self._event = event

    def emit(self, record: logging.LogRecord) -> None:
        if "no news of the store" in record.getMessage():
            self._event.set()


@contextmanager
def warned() -> Generator[asyncio.Event]:
    """Set when it is told that there are no news; nothing else tells."""
    event, log = asyncio.Event(), logging.getLogger("hanse.store")
    handler = _Warned(event)
    log.addHandler(handler)
    yield event
    log.removeHandler(handler)


class NewsOnServer(OnServer[S]):
    """Derive from it."""

    async def test_commits_are_heard_of_again_after_connections_broke(
        self, url: str, quick_server: StoreServer
    ) -> None:
        async with (
            between(quick_server.port) as proxy,
            self.opened(url) as store,
            self.opened(self.behind(proxy, url)) as other,
        ):
            await heard(store, other, batch(put("1")))
            with warned() as event:
                proxy.refuses = True
                proxy.cut_all()
                await store.commit(batch(put("2")))
                await asyncio.wait_for(event.wait(), WAIT_SECONDS)
            proxy.refuses = False
            await heard(store, other, batch(put("3")))
            await heard(other, store, batch(put("4")))

    async def test_who_commits_is_not_woken_twice_by_its_own_news(self, url: str) -> None:
        wakes: list[str] = []
        async with self.opened(url) as store, self.opened(url) as other:
            store.listen(lambda: wakes.append("store"))
            await heard(store, other, batch(put("1")))
            await heard(store, other, batch(put("2")))
            await heard(other, store, batch(put("3")))
        # A look may come between a commit and the news of it.
        assert 3 <= len(wakes) <= 5
