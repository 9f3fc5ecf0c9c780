"""A process that serves `things` over RabbitMQ until it is killed: `serving.py URL APP`."""

import asyncio
import sys

from hanse.kernel.host import Host
from hanse.testing.transport_things import Things
from hanse.transport.amqp.options import Options
from hanse.transport.amqp.transport import AmqpTransport


async def main(url: str, app: str) -> None:
    transport = AmqpTransport(url, Host.system(), Options(app=app))
    transport.listen("things", Things().server)
    await transport.open()
    await transport.flush()
    print("ready", flush=True)  # noqa: T201 - whoever started it reads this
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
