"""A process that serves `things` over NATS until it is killed: `serving.py URL APP`."""

import asyncio
import sys

from hanse.kernel.host import Host
from hanse.testing.transport_things import Things
from hanse.transport.nats.login import Options
from hanse.transport.nats.transport import NatsTransport


async def main(url: str, app: str) -> None:
    transport = NatsTransport(url, Host.system(), Options(app=app))
    things = Things()
    things.back = transport
    transport.listen("things", things.server)
    await transport.open()
    await transport.flush()
    print("ready", flush=True)  # noqa: T201 - whoever started it reads this
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
