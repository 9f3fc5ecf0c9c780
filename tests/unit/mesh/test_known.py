"""Which nodes a transport knows."""

import pytest

from hanse.kernel.faults import Unavailable
from hanse.mesh.known import known_by
from hanse.transport.base import Features
from hanse.transport.discovery import Announcement
from hanse.transport.memory import MemoryTransport

from .apart import Shops

HERE = Announcement("here-1", "", ("orders",))


class Mute(MemoryTransport):
    """One that chooses by itself, and does not tell among whom."""

    features: Features = Features(durable=False, balances=True)


async def test_within_a_process_there_is_that_process() -> None:
    (known,) = await known_by(MemoryTransport(), HERE)
    assert (known.instance, known.services) == ("here-1", ("orders",))


async def test_a_transport_that_cannot_tell_says_so() -> None:
    with pytest.raises(Unavailable, match="does not know which nodes there are"):
        await known_by(Mute(), HERE)


@pytest.mark.virtual_time
async def test_the_mesh_tells_how_nodes_fare(shops: Shops) -> None:
    caller, one = await shops.open("caller"), await shops.open("one", "orders", release="1.4", zone="a")
    await shops.open("two", "orders")
    caller.routed.chooser.lost(next(iter(caller.routed.chooser.directory)), 0.0)
    one.routed.drain()
    found = {known.instance: (known.state, known.release, known.zone) for known in await known_by(caller.routed, HERE)}
    assert found["caller"] == ("in", "", "")
    assert found["one"][0] == "drains"
    assert set(found) == {"caller", "one", "two"}
