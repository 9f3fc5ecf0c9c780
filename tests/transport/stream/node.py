"""A node of a process of its own: `node.py URL FOLDER INSTANCE`; it serves until it is killed."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator

from hanse.kernel.host import Host
from hanse.kernel.message import NO_HEADERS, Kind, Message
from hanse.transport.discovery import Announcement
from hanse.transport.folder import FolderDiscovery
from hanse.transport.stream.direct import StreamDirect
from hanse.transport.zmq.direct import zmq_direct


def direct_of(url: str, instance: str) -> StreamDirect:
    """What a URL names, not yet open."""
    make = zmq_direct if url.startswith("zmq") else StreamDirect
    return make(url, Host.system(), instance=instance)


class Service:
    """Answers with its process id, holds what is to be held, and counts for ever."""

    async def serve(self, message: Message, /) -> Message:
        if message.address == "things.hold":
            await asyncio.Event().wait()
        return Message(Kind.REPLY, message.id, "", 0.0, NO_HEADERS, b"%d" % os.getpid())

    async def serve_stream(self, message: Message, /) -> AsyncIterator[Message]:
        while True:
            yield Message(Kind.ITEM, message.id, "")


async def main(url: str, folder: str, instance: str) -> None:
    direct, discovery = direct_of(url, instance), FolderDiscovery(folder)
    await direct.open(Service(), lambda _: None)
    await discovery.open(Announcement(instance, direct.address), lambda _: None, lambda _: None)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
