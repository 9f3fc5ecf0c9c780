"""Runs a program in a network of its own, so that several may insist on one port: `python -m hanse.deploy.own_network`.

Three processes, of which the keeper knows the first. That one stays on the machine; its child leaves for a network
that has nothing but a loopback, and starts the program there. Between the two networks nothing goes but what these two
carry: the child what comes to the program from the machine, its parent what the program asks of the ports of the
machine that it may reach. A socket stays in the network that it was made in, so each needs to be in one of them only.

Such a network has no name, no address and no link that could be left behind: it is gone with its last process.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import socket
import struct
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import FrameType

import msgspec

from hanse.deploy.linux import die_with, leave_network

HOST = "127.0.0.1"

LINKS_MAX = 1_000
"""Connections at once, each way; more wait to be accepted."""

REACHES_MAX = 200
"""Ports of the machine that a program may reach: a socket hands on no more files at once."""

BACKLOG = 1_024
PIECE_BYTES = 64 * 1024

CANNOT = 3
"""Exit code where there can be no such network."""

NO_PROGRAM = 127

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)

_SET_FLAGS, _UP = 0x8914, 0x1 | 0x40
"""The call that sets the flags of an interface, and those of one that is up and running."""


class Network(msgspec.Struct, frozen=True):
    """How a program and the machine reach each other.

    Attributes:
        listen: Port of the machine that leads to the program.
        inner: The one that the program listens at.
        reaches: Ports of the machine that it finds at its own loopback.
        shell: Whether signals are for its group, as it is started by a shell, which hands none on.
    """

    listen: int
    inner: int
    reaches: tuple[int, ...] = ()
    shell: bool = False


def wrapped(words: Sequence[str], network: Network) -> tuple[str, ...]:
    """The command that runs a command in such a network."""
    return (*_US, msgspec.json.encode(network).decode(), *words)


async def why_not() -> str:
    """Why this machine lets nobody have a network of their own; empty where it does."""
    process = await asyncio.create_subprocess_exec(
        *_US, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, told = await process.communicate()
    return told.decode(errors="replace").strip() if process.returncode else ""


# Variables for Python and the folder that it starts in are the program's: they are to change nothing here.
_US = (sys.executable, "-I", "-m", "hanse.deploy.own_network")


def main() -> int:
    """Run the process; its exit code."""
    try:
        if len(sys.argv) == 1:
            _leave()
            return 0
        return _stay(msgspec.json.decode(sys.argv[1], type=Network), sys.argv[2:])
    except OSError as error:
        print(error.strerror or error, file=sys.stderr)  # noqa: T201 - a person reads it in the log
        return CANNOT


def _stay(network: Network, words: Sequence[str]) -> int:
    """What the parent does: it stays on the machine."""
    # Whatever comes before there is somebody to hand it to waits.
    _ = signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    door = _listening(network.listen)
    here, there = socket.socketpair()
    us, child = os.getpid(), os.fork()
    if child == 0:
        here.close()
        die_with(us)
        os._exit(_guarded(network, words, door, there))
    # While nobody is inside, nobody is to be let in.
    door.close()
    there.close()
    told, fds, _, _ = socket.recv_fds(here, PIECE_BYTES, REACHES_MAX)
    ways = {socket.socket(fileno=fd): port for fd, port in zip(fds, network.reaches, strict=False)}
    program = int(told or 0)

    async def staying() -> int:
        loop = asyncio.get_running_loop()
        for number in FORWARDED if program else ():
            loop.add_signal_handler(number, _forward, program, number, network.shell)
        _ = signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
        return await _carried(ways, child)

    return _ended_as(asyncio.run(staying()))


def _guarded(network: Network, words: Sequence[str], door: socket.socket, link: socket.socket) -> int:
    """What the child does, which has no caller that errors could go to."""
    try:
        return _go(network, words, door, link)
    except OSError as error:
        print(f"hanse: no network of its own: {error.strerror or error}", file=sys.stderr)  # noqa: T201 - see `main`
        return CANNOT


def _go(network: Network, words: Sequence[str], door: socket.socket, link: socket.socket) -> int:
    for number in FORWARDED:
        _ = signal.signal(number, _nothing)  # they are for the program, which its grandparent tells
    _leave()
    ways = [_listening(port) for port in network.reaches]
    us, program = os.getpid(), os.fork()
    if program == 0:
        die_with(us)
        _become(words)
    _ = socket.send_fds(link, [str(program).encode()], [way.fileno() for way in ways])
    link.close()
    for way in ways:
        way.close()
    return _ended_as(asyncio.run(_carried({door: network.inner}, program)))


def _become(words: Sequence[str]) -> None:
    """Be the program."""
    os.setpgid(0, 0)
    # Python does not die of these, and its children are to.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        _ = signal.signal(number, signal.SIG_DFL)
    _ = signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        os.execvp(words[0], list(words))  # noqa: S606 - what the settings say
    except OSError as error:
        told = f"cannot start {words[0]!r}: {error.strerror}"
        print(f"hanse: {told}", file=sys.stderr, flush=True)  # noqa: T201 - a person reads it in the log
        os._exit(NO_PROGRAM)


def _leave() -> None:
    """Be in a network that has nothing but a loopback."""
    leave_network()
    with socket.socket() as any_socket:
        _ = fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh22x", b"lo", _UP))


def _listening(port: int) -> socket.socket:
    return socket.create_server((HOST, port), backlog=BACKLOG)


async def _carried(ways: Mapping[socket.socket, int], pid: int) -> int:
    """Carry what comes over these sockets to these ports, until a child has ended; how it did."""
    slots = asyncio.Semaphore(LINKS_MAX)
    for way, port in ways.items():
        _ = await asyncio.start_server(partial(_link, port=port, slots=slots), sock=way)
    _, status = await asyncio.get_running_loop().run_in_executor(None, os.waitpid, pid, 0)
    return status


async def _link(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, slots: asyncio.Semaphore
) -> None:
    """One connection, from end to end."""
    ends = [writer]
    try:
        async with slots:
            their_reader, their_writer = await asyncio.open_connection(HOST, port)
            ends.append(their_writer)
            async with asyncio.TaskGroup() as ways:
                _ = ways.create_task(_pumped(reader, their_writer))
                _ = ways.create_task(_pumped(their_reader, writer))
            for end in ends:
                end.close()
    except* OSError:
        # One side is gone: the other one has to see that this was no end.
        for end in ends:
            end.transport.abort()


async def _pumped(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry one way; whoever takes slowly slows down whoever sends."""
    while data := await reader.read(PIECE_BYTES):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


def _forward(program: int, number: int, shell: bool) -> None:  # noqa: FBT001 - as a loop hands it on
    with suppress(ProcessLookupError):
        (os.killpg if shell else os.kill)(program, number)


def _nothing(number: int, frame: FrameType | None) -> None:
    del number, frame


def _ended_as(status: int) -> int:
    """The exit code of a child that has ended; where it was killed, this process is, in the same way."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return code
    with suppress(OSError):
        _ = signal.signal(-code, signal.SIG_DFL)
    _ = signal.pthread_sigmask(signal.SIG_UNBLOCK, [-code])
    os.kill(os.getpid(), -code)
    return 128 - code


if __name__ == "__main__":
    sys.exit(main())
