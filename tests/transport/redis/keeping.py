"""A process that publishes or takes events until it is killed: `keeping.py publish|take URL APP FILE`.

What publishes writes into the file how far it has come, and goes on there; what takes adds each number to it.
"""

import asyncio
import os
import sys
from pathlib import Path

from hanse.kernel.faults import Unavailable
from hanse.kernel.host import Host
from hanse.kernel.message import Headers, Kind, Message
from hanse.transport.redis.options import Options
from hanse.transport.redis.transport import RedisTransport

EVENTS = 20_000
PIECE = 20
TAKEN = 100
PATIENCE_SECONDS = 60.0
TOPIC, GROUP = "placed", "mail"


def reached(file: Path) -> int:
    return int(file.read_text()) if file.exists() else 0


def reach(file: Path, number: int) -> None:
    fresh = file.with_suffix(".new")
    fresh.write_text(str(number))
    fresh.replace(file)


async def publish(node: RedisTransport, file: Path) -> None:
    done = reached(file)
    while done < EVENTS:
        piece = [
            Message(Kind.EVENT, f"id-{number}", TOPIC, headers=Headers(type=TOPIC), body=b"%d" % number)
            for number in range(done, done + PIECE)
        ]
        try:
            await node.publish(piece)
        except Unavailable:
            await node.native.up()
            continue
        done += PIECE
        reach(file, done)


async def take(node: RedisTransport, file: Path) -> None:
    handled = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    while True:
        try:
            backlog = await node.subscribe(GROUP, [TOPIC])
            while True:
                for kept in await backlog.take(TAKEN):
                    os.write(handled, kept.message.body + b"\n")
                    backlog.done(kept)
        except Unavailable:
            await node.native.up()


async def main(what: str, url: str, app: str, file: str) -> None:
    node = RedisTransport(url, Host.system(), Options(app=app, keeps=True, patience=PATIENCE_SECONDS))
    await node.open()
    await {"publish": publish, "take": take}[what](node, Path(file))
    await node.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))
