"""`hanse store`, the shop and its doctor on Redis, as their users meet them: by the URL alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from tests.store.redis.server import running, why_not

from .store_suite import ShopByUrl, hanse

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if why := why_not():
        pytest.skip(why)
    with running(tmp_path_factory.mktemp("redis"), "--appendonly", "yes", "--requirepass", "secret") as one:
        yield one.store().replace("redis://", "redis://default:secret@")


class TestRedis(ShopByUrl):
    away: ClassVar[str] = "redis://hanse:secret@127.0.0.1:1/0"
    place: ClassVar[str] = "redis://127.0.0.1:1/0 prefix orders"
    part: ClassVar[str] = "prefix"

    def look(self, folder: Path) -> None:
        doctor = hanse(folder, "doctor")
        assert "flushes commits to its disk later (appendfsync everysec)" in doctor.stdout
        assert "Set appendfsync always" in doctor.stdout
        assert "secret" not in doctor.stdout + doctor.stderr
