"""What a Sentinel of Redis is asked: which server leads those that it watches under a name.

It may be behind: who goes to the server that it names looks there whether that takes writes.
"""

from __future__ import annotations

from hanse.kernel.resp import ReplyError, Wire


class NoSentinelError(Exception):
    """What was asked is no Sentinel, or does not want us; to try again does not help."""


async def leader(wire: Wire, name: str, password: str) -> tuple[str, int]:
    """The host and the port of the server that leads.

    Args:
        wire: To a Sentinel.
        name: Of the servers that it watches.
        password: Of the Sentinel, which is not that of the servers; empty for none.

    Raises:
        NoSentinelError: It is none, or the password is not its.
        ConnectionError: It knows of no servers of that name, or the connection broke.
    """
    try:
        if password:
            _ = await wire.ask(b"AUTH", password.encode())
        found = await wire.ask(b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", name.encode())
    except ReplyError as error:
        if str(error).startswith("ERR unknown command"):
            raise NoSentinelError("it is no Sentinel; leave out sentinel= or name one in the URL") from None
        raise NoSentinelError(f"{error}; see to sentinel_password in the URL") from None
    match found:
        case [bytes() as host, bytes() as port]:
            return host.decode(), int(port)
        case _:
            raise ConnectionError(f"the Sentinel watches no servers by the name of {name!r}")
