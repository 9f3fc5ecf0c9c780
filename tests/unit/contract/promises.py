"""One contract, declared in an order that the first argument chooses; prints its fingerprint.

Fields, faults, scopes and prose are shuffled: the promise stays the same.
"""

import sys
from typing import Literal, Protocol

from hanse.contract.declare import Contract, rpc
from hanse.contract.derive import describe
from hanse.contract.model import Event, Model, Resource
from hanse.kernel.faults import Fault

if sys.argv[1] == "forwards":

    class Hold(Model):
        """A short hold."""

        sku: str
        grade: Literal["a", "b"] = "a"
        title: str | None = None

    class Gone(Fault):
        sku: str

    class Sold(Event):
        sku: str
        tags: frozenset[str] = frozenset({"x", "y", "z"})

    class Item(Resource):
        sku: str
        left: int = 0

    class Inventory(Contract, Protocol, version="1", events=(Sold,), resources=(Item,)):
        """Stock levels."""

        @rpc(faults=(Gone,))
        async def reserve(self, sku: str, quantity: int = 1) -> Hold:
            """Hold some."""
            ...

        @rpc
        async def title(self, tags: frozenset[str] = frozenset({"x", "y", "z"})) -> int | str | None: ...

else:

    class Hold(Model):  # type: ignore[no-redef]
        """Something quite else to read."""

        title: str | None = None
        grade: Literal["b", "a"] = "a"
        sku: str

    class Gone(Fault):  # type: ignore[no-redef]
        """It went."""

        sku: str

    class Sold(Event):  # type: ignore[no-redef]
        tags: frozenset[str] = frozenset({"z", "y", "x"})
        sku: str

    class Item(Resource):  # type: ignore[no-redef]
        left: int = 0
        sku: str

    class Inventory(Contract, Protocol, version="2", resources=(Item,), events=(Sold,)):  # type: ignore[no-redef]
        @rpc
        async def title(self, tags: frozenset[str] = frozenset({"z", "x", "y"})) -> str | int | None: ...

        @rpc(faults=(Gone,))
        async def reserve(self, sku: str, quantity: int = 1) -> Hold: ...


print(describe(Inventory).fingerprint)  # noqa: T201 - read by the test that runs this
