"""How fast what waited in the outbox goes to a broker that was away: `drain.py WHERE SECONDS`.

The broker is killed, writes go on without it, and it comes back. What is told: how long a commit of 100 events took
while it was away, and how fast all that had waited was there, from the moment at which the broker was back.
"""

from __future__ import annotations

import sys
import time

import durable
import events_redis
import meter
from shop import PLAIN, Order

from hanse import App, Event, Node, Service, Settings, rpc
from hanse.kernel.host import Host
from hanse.kernel.settings import NodeSettings
from hanse.transport.redis.options import Options
from hanse.transport.redis.transport import RedisTransport

BATCH = 100


class Ordered(Event):
    """An order came in."""

    order: Order


class Desk(Service, events=(Ordered,)):
    @rpc
    async def place(self) -> None:
        """Tell of many at once."""
        await self.emit(*[Ordered(order=Order(**PLAIN)) for _ in range(BATCH)])  # type: ignore[arg-type]


async def drain(where: str, place: str, seconds: float) -> None:
    stores = {"sqlite": f"sqlite:///{place}", "postgresql": place}
    with events_redis.start("always") as (url, _):
        settings = Settings(node=NodeSettings(store=stores[where], events="broker", transport=url))
        node = Node(
            App("desk", Desk), settings, transport=RedisTransport(url, Host.system(), Options(app="desk", keeps=True))
        )
        await node.start()
        await node.client(Desk).place()
        await node.settle()
    # It is gone now.
    batches = int(seconds * 100)
    began = time.perf_counter()
    for _ in range(batches):
        await node.client(Desk).place()
    commits = (time.perf_counter() - began) / batches
    with events_redis.start("always"):
        back = time.perf_counter()
        await node.settle()
        took = time.perf_counter() - back
        meter.tell(commit_ms=commits * 1e3, took_s=took, per_second=batches * BATCH / took)
        await node.stop()


if __name__ == "__main__":
    with durable.database(sys.argv[1]) as (place, _):
        meter.run(drain(sys.argv[1], place, float(sys.argv[2])))
