"""A process that serves `things` over a broker until it is killed: `serving.py URL APP`."""

import asyncio
import sys
from pathlib import Path

# Run by its path, so that what it imports of the tests has to be found from here.
sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.transport.brokered import node

from hanse.testing.transport_things import Things


async def main(url: str, app: str) -> None:
    transport = node(url, app)
    things = Things()
    things.back = transport
    transport.listen("things", things.server)
    await transport.open()
    await transport.flush()
    print("ready", flush=True)  # noqa: T201 - whoever started it reads this
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
