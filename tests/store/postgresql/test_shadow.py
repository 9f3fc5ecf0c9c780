"""Work under the shadow mark leaves nothing in PostgreSQL."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from tests.store.shadow_suite import ShadowTests

from .server import Server

_names = itertools.count()


class TestShadow(ShadowTests):
    @pytest.fixture(autouse=True)
    def _on(self, quick_server: Server) -> None:
        self._server = quick_server

    async def urls(self) -> Sequence[str]:
        return tuple(self._server.store(f"shadow{next(_names)}") for _ in range(2))
