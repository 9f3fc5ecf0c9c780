"""Asks a running system, from a command."""

from __future__ import annotations

import socket

import msgspec

from hanse.deploy.control_words import ANSWER_BYTES_MAX, Answer, Ask, Status
from hanse.deploy.home import Home
from hanse.deploy.release_words import ReleasesTold
from hanse.kernel.faults import Fault, Malformed, Unavailable
from hanse.transport.stream.socket_file import short

ANSWER_SECONDS = 30.0
"""That a supervisor has for an answer; one that was killed is followed by another in that time."""

RELEASE_SECONDS = 320.0
"""The same, where it may have to pull an image or to lay out a revision first."""

POLL_SECONDS = 0.1
"""Between two asks of whoever waits."""


class NotDone(Fault, status=409, exit_code=1, detail="{problem}"):
    """A running system does not do what a command asks for."""

    problem: str


def asked(home: Home, ask: Ask) -> Status:
    """How a running system is, once it has done what it is asked for.

    Raises:
        Unavailable: No system runs in that folder, or it does not answer.
        NotDone: It does not do it; says why.
    """
    status = _answered(home, ask).status
    assert status is not None
    return status


def asked_of_releases(home: Home, ask: Ask) -> ReleasesTold:
    """How the releases of a running system are, once it has done what it is asked for. Raises what `asked` does."""
    releases = _answered(home, ask).releases
    assert releases is not None
    return releases


def _answered(home: Home, ask: Ask) -> Answer:
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(ANSWER_SECONDS if ask.release is None else RELEASE_SECONDS)
        try:
            with short(home.control) as name:
                link.connect(name)
            link.sendall(msgspec.json.encode(ask) + b"\n")
            line = _line(link)
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            raise Unavailable(f"no system runs in {home.project}; start one with `hanse up`") from None
        except OSError as error:
            raise Unavailable(f"the system in {home.project} does not answer: {error}") from None
    try:
        answer = msgspec.json.decode(line, type=Answer)
    except msgspec.DecodeError:
        raise Malformed(f"expected how the system in {home.project} is, got {line[:80]!r}") from None
    if answer.refused is not None:
        raise NotDone(answer.refused.detail)
    return answer


def _line(link: socket.socket) -> bytes:
    data = bytearray()
    while not data.endswith(b"\n"):
        piece = link.recv(65_536)
        if not piece:
            raise ConnectionResetError("it hung up")
        data += piece
        if len(data) > ANSWER_BYTES_MAX:
            raise Malformed(f"expected an answer of at most {ANSWER_BYTES_MAX} bytes, got a longer one")
    return bytes(data)
