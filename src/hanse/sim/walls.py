"""What an event loop of a simulated world refuses: all that would reach out of it, or change how it runs."""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn

CONTRACT = "use a contract, which a world can fake"
STORY = "have the story stop or crash the service"
OWN = "leave it to the world, which has to own all tasks, threads and errors"


def refused(what: str, instead: str) -> NoReturn:
    """Refuse something, and say what to do instead.

    Raises:
        hanse.sim.fence.Fenced: Always.
    """
    from hanse.sim.fence import Fence, Fenced

    if (fence := Fence.here()) is not None:
        fence.refuse(what, instead)
    raise Fenced(what, instead)


def _refuse(what: str, instead: str) -> Any:  # noqa: ANN401 - it stands for methods of all signatures
    def refuse(*_: object, **__: object) -> NoReturn:
        refused(f"loop.{what}()", instead)

    refuse.__name__ = what
    return refuse


class Walls(asyncio.AbstractEventLoop):
    """The methods of a loop that raise `hanse.sim.fence.Fenced` here, with what to do instead."""

    create_connection: Any = _refuse("create_connection", CONTRACT)
    create_server: Any = _refuse("create_server", CONTRACT)
    create_datagram_endpoint: Any = _refuse("create_datagram_endpoint", CONTRACT)
    create_unix_connection: Any = _refuse("create_unix_connection", CONTRACT)
    create_unix_server: Any = _refuse("create_unix_server", CONTRACT)
    connect_accepted_socket: Any = _refuse("connect_accepted_socket", CONTRACT)
    getaddrinfo: Any = _refuse("getaddrinfo", CONTRACT)
    getnameinfo: Any = _refuse("getnameinfo", CONTRACT)
    sock_recv: Any = _refuse("sock_recv", CONTRACT)
    sock_recv_into: Any = _refuse("sock_recv_into", CONTRACT)
    sock_recvfrom: Any = _refuse("sock_recvfrom", CONTRACT)
    sock_recvfrom_into: Any = _refuse("sock_recvfrom_into", CONTRACT)
    sock_sendall: Any = _refuse("sock_sendall", CONTRACT)
    sock_sendto: Any = _refuse("sock_sendto", CONTRACT)
    sock_sendfile: Any = _refuse("sock_sendfile", CONTRACT)
    sock_connect: Any = _refuse("sock_connect", CONTRACT)
    sock_accept: Any = _refuse("sock_accept", CONTRACT)
    sendfile: Any = _refuse("sendfile", CONTRACT)
    start_tls: Any = _refuse("start_tls", CONTRACT)
    add_reader: Any = _refuse("add_reader", CONTRACT)
    remove_reader: Any = _refuse("remove_reader", CONTRACT)
    add_writer: Any = _refuse("add_writer", CONTRACT)
    remove_writer: Any = _refuse("remove_writer", CONTRACT)
    connect_read_pipe: Any = _refuse("connect_read_pipe", CONTRACT)
    connect_write_pipe: Any = _refuse("connect_write_pipe", CONTRACT)
    subprocess_exec: Any = _refuse("subprocess_exec", CONTRACT)
    subprocess_shell: Any = _refuse("subprocess_shell", CONTRACT)
    add_signal_handler: Any = _refuse("add_signal_handler", STORY)
    remove_signal_handler: Any = _refuse("remove_signal_handler", STORY)
    set_task_factory: Any = _refuse("set_task_factory", OWN)
    set_default_executor: Any = _refuse("set_default_executor", OWN)
    set_exception_handler: Any = _refuse("set_exception_handler", OWN)

    def get_task_factory(self) -> None:
        """See `asyncio.loop.get_task_factory`: none was set."""

    def get_exception_handler(self) -> None:
        """See `asyncio.loop.get_exception_handler`: none was set."""

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """See `asyncio.loop.default_exception_handler`."""
        self.call_exception_handler(context)
