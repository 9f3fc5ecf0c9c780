"""A process that takes events over RabbitMQ and acknowledges none, until it is killed: `taking.py URL APP`."""

import asyncio
import sys

from hanse.kernel.host import Host
from hanse.testing.transport_kept import GROUP, TOPIC
from hanse.transport.amqp.options import Options
from hanse.transport.amqp.transport import AmqpTransport


async def main(url: str, app: str) -> None:
    transport = AmqpTransport(url, Host.system(), Options(app=app))
    await transport.open()
    backlog = await transport.subscribe(GROUP, [TOPIC])
    _ = await backlog.take(1)
    print("taken", flush=True)  # noqa: T201 - whoever started it reads this
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
