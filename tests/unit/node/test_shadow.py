"""Work under the shadow mark leaves nothing, in stores of one process."""

import itertools
from collections.abc import Sequence
from tempfile import TemporaryDirectory

from tests.store.shadow_suite import ShadowTests

_folder = TemporaryDirectory(prefix="hanse-shadow-")
# Of all examples of a property: a folder of each test would be shared by them just as much.
_files = itertools.count()


class TestInMemory(ShadowTests):
    async def urls(self) -> Sequence[str]:
        return ("memory:", "memory:")


class TestInSqlite(ShadowTests):
    async def urls(self) -> Sequence[str]:
        return tuple(f"sqlite:///{_folder.name}/{next(_files)}.db" for _ in range(2))
