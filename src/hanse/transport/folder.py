"""Discovery on one machine: a folder is the registry, and nodes find each other by the socket files in it.

Each node listens at a file of its own. A newcomer dials everybody who is there; both say who they are, and say so again
when that changes. So a newcomer is known as soon as it knows, and nobody looks again and again. The connection stays:
its end tells at once that the other has gone, be it by goodbye or by kill -9. A slow look at the folder mends what was
missed, and removes the files of the dead.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast, final
from urllib.parse import quote, unquote

import msgspec

from hanse.kernel.faults import Malformed
from hanse.kernel.tasks import Tasks
from hanse.transport.discovery import Announcement
from hanse.transport.stream.frame import PREFACE, Unpacker, pack
from hanse.transport.stream.socket_file import BACKLOG, in_folder, listen_at, own, remove_dead, remove_own, short

_log = logging.getLogger("hanse.discovery")

SUFFIX: Final = ".node"

ANNOUNCE: Final = 16
"""The kind of a frame with an `Announcement`."""
PING: Final = 17
"""Wants a `PONG` at once."""
PONG: Final = 18

ANNOUNCEMENT_BYTES_MAX: Final = 64 * 1024
"""Of one announcement; whoever sends more is not listened to."""

CHUNK_BYTES: Final = 4 * 1024

NODES_MAX: Final = 1_000
"""Connections at once, where nothing else is said."""

GREET_SECONDS: Final = 1.0
"""How long a newcomer waits until those who are there have said who they are."""

LOOK_SECONDS: Final = 1.0
"""How often the folder is looked at."""

SUSPECT_SECONDS: Final = 0.5
"""A node that is suspected has gone when it does not answer for so long: it may be stopped, or hang."""

_decode = msgspec.msgpack.Decoder(Announcement).decode


@final
class FolderDiscovery:
    """Tells of the nodes in a folder; see `Discovery` for what it promises."""

    def __init__(self, folder: Path | str, *, nodes_max: int = NODES_MAX) -> None:
        """Be ready to take part.

        Args:
            folder: The same for all nodes that are to find each other; it is made where it is missing.
            nodes_max: Connections at once; further nodes are not listened to, with a line in the log.
        """
        self._nodes_max = nodes_max
        self._folder = Path(folder).absolute()
        self._here = Announcement("", "")
        self._told: Callable[[Announcement], None] = _ignore
        self._gone: Callable[[str], None] = _ignore
        self._server: asyncio.Server | None = None
        self._own: tuple[Path, int] | None = None
        self._peers: dict[_Peer, None] = {}
        self._known: dict[str, Announcement] = {}
        self._tasks = Tasks(_report)

    async def open(
        self, here: Announcement, told: Callable[[Announcement], None], gone: Callable[[str], None], /
    ) -> None:
        """See `Discovery.open`; returns when those who are there have said who they are, or do not answer."""
        self._here, self._told, self._gone = here, told, gone
        path = self._folder / f"{quote(here.instance, safe='')}{SUFFIX}"
        listening = await listen_at(path)
        self._own = own(path)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(self._peer, sock=listening, backlog=BACKLOG)
        await self._look()
        _ = self._tasks.start(self._keep_looking(), name="discovery")

    def announce(self, here: Announcement, /) -> None:
        """See `Discovery.announce`."""
        self._here = here
        for peer in self._peers:
            peer.say(ANNOUNCE, here)

    def suspect(self, instance: str, /) -> None:
        """See `Discovery.suspect`."""
        for peer in self._peers:
            if peer.instance == instance:
                peer.doubt()

    async def close(self) -> None:
        """See `Discovery.close`; the end of its connections is a node's goodbye."""
        self._gone = self._told = _ignore
        await self._tasks.cancel()
        if self._server is not None:
            self._server.close()
        if self._own is not None:
            remove_own(*self._own)
        for peer in list(self._peers):
            peer.close()
        await asyncio.sleep(0)  # See `StreamDirect.close`.

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self._look()

    async def _look(self) -> None:
        """Connect to all who are in the folder and not known, and wait until they have said who they are."""
        greeted: list[asyncio.Future[None]] = []
        connected = {self._here.instance, *(peer.instance for peer in self._peers)}
        for path in in_folder(self._folder, SUFFIX):
            if unquote(path.stem) not in connected:
                try:
                    with short(path) as name:
                        _, peer = await asyncio.get_running_loop().create_unix_connection(self._peer, name)
                except OSError:
                    await remove_dead(self._folder, SUFFIX)
                else:
                    greeted.append(peer.greeted)
        if greeted:
            _ = await asyncio.wait(greeted, timeout=GREET_SECONDS)

    def _peer(self) -> _Peer:
        return _Peer(self)

    # What connections tell.

    def made(self, peer: _Peer) -> bool:
        """Somebody is connected; whether there is room for it."""
        if len(self._peers) >= self._nodes_max:
            _log.warning("a node in %s is not listened to: %d are, which is the limit", self._folder, self._nodes_max)
            return False
        self._peers[peer] = None
        peer.say(ANNOUNCE, self._here)
        return True

    def announced(self, announcement: Announcement) -> None:
        """Somebody said who it is; over each of its connections, so it is told of what is new alone."""
        known = self._known.get(announcement.instance)
        if announcement.instance == self._here.instance or announcement.app != self._here.app:
            return
        if known is None or announcement.version > known.version:
            self._known[announcement.instance] = announcement
            self._told(announcement)

    def lost(self, peer: _Peer) -> None:
        """A connection has ended."""
        _ = self._peers.pop(peer, None)
        if peer.instance in self._known and all(other.instance != peer.instance for other in self._peers):
            del self._known[peer.instance]
            self._gone(peer.instance)


@final
class _Peer(asyncio.BufferedProtocol):
    """A connection to one other node, whoever made it."""

    def __init__(self, owner: FolderDiscovery) -> None:
        self.instance: str = ""
        self.greeted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._owner = owner
        self._unpacker = Unpacker(ANNOUNCEMENT_BYTES_MAX, CHUNK_BYTES)
        self._transport: asyncio.Transport | None = None
        self._doubt: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(PREFACE)
        if not self._owner.made(self):
            self._transport.close()

    def get_buffer(self, sizehint: int) -> memoryview:
        del sizehint
        return self._unpacker.room()

    def buffer_updated(self, nbytes: int) -> None:
        try:
            for kind, _, content in self._unpacker.took(nbytes):
                self._came(kind, content)
        except (Malformed, msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            _log.warning("discovery does not listen to %s: %s", self.instance or "a node that did not say who", error)
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._doubt is not None:
            self._doubt.cancel()
        if not self.greeted.done():
            self.greeted.set_result(None)
        self._transport = None
        self._owner.lost(self)

    def say(self, kind: int, content: object = None) -> None:
        """Send a frame."""
        if self._transport is not None:
            out = bytearray()
            pack(kind, 0, content, out, ANNOUNCEMENT_BYTES_MAX)
            self._transport.write(out)
            if self._transport.get_write_buffer_size() > ANNOUNCEMENT_BYTES_MAX:
                self.abort()  # It does not listen: it is stopped, or hangs.

    def doubt(self) -> None:
        """Ask whether it lives; without an answer it is lost."""
        if self._doubt is None:
            self._doubt = asyncio.get_running_loop().call_later(SUSPECT_SECONDS, self.abort)
            self.say(PING)

    def close(self) -> None:
        """End, once what was said has gone out."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End at once."""
        if self._transport is not None:
            self._transport.abort()

    def _came(self, kind: int, content: memoryview) -> None:
        # Whatever it says, it lives.
        if self._doubt is not None:
            self._doubt.cancel()
            self._doubt = None
        if kind == ANNOUNCE:
            announcement = _decode(content)
            if self.instance not in {"", announcement.instance}:
                raise Malformed(
                    f"{self.instance!r} was expected to speak for itself, not for {announcement.instance!r}"
                )
            self.instance = announcement.instance
            self._owner.announced(announcement)
            if not self.greeted.done():
                self.greeted.set_result(None)
        elif kind == PING:
            self.say(PONG)
        elif kind != PONG:
            raise Malformed(f"an announcement was expected, a frame of kind {kind} came")


def _ignore(what: object) -> None:
    del what


def _report(error: BaseException) -> None:
    _log.error("looking for other nodes failed", exc_info=error)
