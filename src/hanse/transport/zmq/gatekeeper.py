"""Answers ZeroMQ's question whether a key may connect (ZAP, https://rfc.zeromq.org/spec/27/)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final, final

import zmq
from zmq.utils import z85

from hanse.kernel.faults import CouldNotStart
from hanse.transport.zmq.driven import NOW, Driven, Raw
from hanse.transport.zmq.keys import KEY_BYTES

_log = logging.getLogger("hanse.transport")

ENDPOINT: Final = "inproc://zeromq.zap.01"
"""Where ZeroMQ asks, in each context."""

DOMAIN: Final = b"hanse"

_VERSION: Final = b"1.0"
_PARTS: Final = 7
"""Version, request, domain, address, name, mechanism, key."""


def verdict(question: Sequence[bytes], allows: Callable[[str], bool]) -> list[bytes]:
    """The answer to a question of ZeroMQ's: 200 and the key for a name, or 400 and why not.

    Args:
        question: Its parts.
        allows: Whether a public key may connect.
    """
    number = question[1] if len(question) > 1 else b""
    key = _key(question)
    if not key:
        return [_VERSION, number, b"400", b"a key was expected", b"", b""]
    if not allows(key):
        return [_VERSION, number, b"400", b"the key is not in the list", b"", b""]
    return [_VERSION, number, b"200", b"", key.encode(), b""]


def _key(question: Sequence[bytes]) -> str:
    if len(question) != _PARTS or question[0] != _VERSION or question[2] != DOMAIN or question[5] != b"CURVE":
        return ""
    return z85.encode(question[6]).decode() if len(question[6]) == KEY_BYTES else ""


@final
class Gatekeeper:
    """Answers in one context, from now on."""

    def __init__(self, context: zmq.Context[Raw], allows: Callable[[str], bool]) -> None:
        """Be asked.

        Args:
            context: Of the sockets whose connections are asked for.
            allows: Whether a public key may connect. Raises `CouldNotStart` where that cannot be known.
        """
        self._allows = allows
        socket = context.socket(zmq.REP)
        socket.bind(ENDPOINT)
        self._driven = Driven(socket, self._take)

    def close(self) -> None:
        """Answer no more: nobody can connect."""
        self._driven.close(0)

    def _take(self) -> None:
        question = self._driven.socket.recv_multipart(NOW)
        answer = verdict(question, self._may)
        if answer[2] != b"200":
            _log.warning("a connection from %s was refused: %s", question[3].decode("ascii", "replace"), answer[3])
        self._driven.socket.send_multipart(answer, NOW)

    def _may(self, key: str) -> bool:
        try:
            return self._allows(key)
        except CouldNotStart as fault:
            _log.error("nobody can connect: %s", fault.problem)
            return False
