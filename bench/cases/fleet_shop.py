"""A service with nothing to do, that is started, asked and killed."""

from __future__ import annotations

import os

from hanse import App, Service, rpc


class Orders(Service):
    @rpc
    async def place(self) -> int:
        return os.getpid()

    @rpc(idempotent=True)
    async def get(self) -> int:
        return os.getpid()


app = App("shop", Orders)
