"""Leases have one holder, and writes through a held row are refused once its lease is over."""

import pytest
from hypothesis import given, strategies as st

from hanse.contract.model import Resource
from hanse.kernel.faults import Conflict, NotFound, PreconditionFailed
from hanse.kernel.host import Host
from hanse.service import held as module
from hanse.service.held import Held, Lease, Leases
from hanse.service.local import LocalCollection
from hanse.store.memory import MemoryStore


class Order(Resource):
    status: str = "new"


STEPS = st.lists(st.tuples(st.sampled_from(["acquire", "release"]), st.floats(0, 5)), max_size=40)


@given(STEPS)
def test_a_lease_has_one_holder_and_tokens_only_grow(steps: list[tuple[str, float]]) -> None:
    leases, granted, now = Leases(), list[Lease](), 0.0
    for n, (step, seconds) in enumerate(steps):
        now += seconds
        if step == "acquire" and (lease := leases.acquire("a", now=now, seconds=3.0)) is not None:
            assert all(lease.token > earlier.token for earlier in granted)
            granted.append(lease)
        elif granted and step == "release":
            leases.release(granted[n % len(granted)])
        assert sum(leases.holds(lease, now=now) for lease in granted) <= 1
        assert not any(leases.holds(lease, now=now) for lease in granted[:-1])


def test_a_full_table_grants_no_more() -> None:
    leases = Leases()
    for n in range(module.LEASES_MAX):
        leases.acquire(str(n), now=0.0, seconds=1.0)
    assert leases.acquire("one more", now=0.0, seconds=1.0) is None
    assert leases.acquire("0", now=1.0, seconds=1.0) is not None


class Holder:
    """A row held by a lease that can be ended."""

    def __init__(self, host: Host) -> None:
        self.holds = True
        self.store = MemoryStore(host=host)
        self.orders = LocalCollection(Order, self.store)

    async def hold(self) -> Held[Order]:
        await self.store.open([self.orders.schema])
        return Held(await self.orders.create(Order(id="1")), self.orders, lambda: self.holds)


@pytest.fixture
def holder(host: Host) -> Holder:
    return Holder(host)


async def test_writes_go_through_while_the_lease_holds(holder: Holder) -> None:
    held = await holder.hold()
    assert (await held.patch(status="paid")).status == "paid"
    assert (await held.put(Order(id="1", status="sent"))).status == "sent"
    assert held.value == await holder.orders.get("1")
    await held.delete()
    with pytest.raises(NotFound):
        await holder.orders.get("1")


async def test_no_write_goes_through_after_it(holder: Holder) -> None:
    held = await holder.hold()
    holder.holds = False
    for write in (held.patch(status="paid"), held.put(Order(id="1", status="sent")), held.delete()):
        with pytest.raises(Conflict, match="the lease on '1' is over"):
            await write
    assert await holder.orders.get("1") == held.value


async def test_a_row_that_somebody_else_changed_is_not_overwritten(holder: Holder) -> None:
    held = await holder.hold()
    await holder.orders.patch("1", status="cancelled")
    with pytest.raises(PreconditionFailed):
        await held.patch(status="paid")
    assert (await holder.orders.get("1")).status == "cancelled"
