"""How a connection begins: who asks, in which virtual host, and what both sides hold to."""

from __future__ import annotations

from typing import cast

import msgspec
from pamqp import commands

from hanse.transport.amqp.frames import FRAME_MAX
from hanse.transport.amqp.wire import CHANNELS_MAX, Wire
from hanse.transport.brokered.lasting import RefusedError

HEARTBEAT_SECONDS = 4
"""After twice that a server takes this node for dead, and gives what it had to others; it is told that it lives twice
in that time."""

REFUSED = (403, 530)
"""Codes of a server that does not want this user, or knows no such virtual host."""


class Login(msgspec.Struct, frozen=True):
    """Who asks, and where.

    Attributes:
        user, password: Who.
        world: The virtual host.
        name: What the server calls the connection in its lists.
    """

    user: str
    password: str
    world: str
    name: str


async def greet(wire: Wire, login: Login) -> str:
    """Begin; the version of the server.

    Raises:
        RefusedError: The server does not want this client.
        ConnectionError: The connection ended, or nothing answers as it should.
    """
    connection = commands.Connection
    try:
        start = await wire.main.expect(connection.Start)
        wire.main.tell(
            connection.StartOk(
                client_properties={
                    "product": "Hanse",
                    "connection_name": login.name,
                    "capabilities": {
                        "authentication_failure_close": True,
                        "basic.nack": True,
                        "connection.blocked": True,
                        "consumer_cancel_notify": True,
                        "publisher_confirms": True,
                    },
                },
                mechanism="PLAIN",
                response=f"\0{login.user}\0{login.password}",
            )
        )
        _ = await wire.main.expect(connection.Tune)
        wire.main.tell(
            connection.TuneOk(channel_max=CHANNELS_MAX + 1, frame_max=FRAME_MAX, heartbeat=HEARTBEAT_SECONDS)
        )
        _ = await wire.main.ask(connection.Open(virtual_host=login.world), connection.OpenOk)
    except ConnectionError:
        if wire.code in REFUSED:
            raise RefusedError(wire.why) from None
        raise
    version = cast("dict[str, object]", start.server_properties).get("version", "")
    return version if isinstance(version, str) else ""
