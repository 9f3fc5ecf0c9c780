"""Asks the nodes of a service what they have counted, beat after beat, at the door of each on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from http.client import HTTPConnection, HTTPException
from typing import final

import msgspec

from hanse.control.instances import Instance
from hanse.kernel.host import Host
from hanse.node.ledger import Ledger

PATH = "/ledgerz"
ADDRESS = "127.0.0.1"

ASK_SECONDS = 1.0
"""How long a node may take to answer; then what it told last is told again."""

BYTES_MAX = 4 * 2**20
"""Of an answer: that of ten thousand operations. A node that says more is not heard."""

OK = 200

FORGET_SECONDS = 10.0
"""After which what a node told last is of another rollout, and is told no more."""

_decoder = msgspec.json.Decoder(Ledger)


@final
class Ledgers:
    """See the module.

    What a node had counted before it could be heard for the first time, while it ran, is left out: in the window of a
    judge it would be a burst of what is long past.

    Args of the constructor:
        host: Its clock.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._told: dict[str, tuple[float, Ledger]] = {}
        self._unheard: set[str] = set()
        self._before: dict[str, Ledger] = {}

    async def heard(self, instances: Iterable[Instance], token: str = "") -> dict[str, Ledger]:
        """What the nodes have counted, by name of the process.

        Args:
            instances: Nodes that run.
            token: That they show their figures for; empty for none.
        """
        asked = [one for one in instances if one.is_alive and one.port]
        found = await asyncio.gather(*(asyncio.to_thread(_ask, one.port, token) for one in asked))
        now = self._host.monotonic()
        for one, ledger in zip(asked, found, strict=True):
            if ledger is not None:
                self._hear(one.process, ledger, now)
        names = {one.process for one in asked}
        self._told = {name: told for name, told in self._told.items() if now - told[0] < FORGET_SECONDS}
        self._unheard = names - self._told.keys()
        self._before = {name: ledger for name, ledger in self._before.items() if name in names}
        return {name: self._told[name][1] for name in names if name in self._told}

    def _hear(self, process: str, ledger: Ledger, now: float) -> None:
        if process in self._unheard:
            self._before[process] = ledger
        self._told[process] = (now, ledger.since(self._before.get(process, Ledger())))


def _ask(port: int, token: str) -> Ledger | None:
    """What a node tells; None where it does not."""
    link = HTTPConnection(ADDRESS, port, timeout=ASK_SECONDS)
    try:
        link.request("GET", PATH, headers={"Authorization": f"Bearer {token}"} if token else {})
        answer = link.getresponse()
        body = answer.read(BYTES_MAX + 1)
        return _decoder.decode(body) if answer.status == OK and len(body) <= BYTES_MAX else None
    except (OSError, HTTPException, msgspec.MsgspecError):
        # It starts, or ends, or is no node of ours: what it said last is all that is known of it.
        return None
    finally:
        link.close()
