"""Stands between a store and its server: cuts connections, holds them up, and swallows what is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Literal

from hanse.kernel.tasks import Tasks

Side = Literal["asked", "answered"]
"""A piece on its way to the server, or from it."""

_PIECE_BYTES = 65_536


class Proxy:
    """One port in front of another."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self.swallows_news = False
        self.refuses = False
        self.was_cut = asyncio.Event()
        self.was_refused = asyncio.Event()
        self.cuts = 0
        self._server_port = port
        self._at: tuple[Side, int] | None = None
        self._words, self._answers = b"", 0
        self._ends: set[asyncio.WriteTransport] = set()
        self._tasks = Tasks(lambda _: None)

    def cut_at(self, side: Side, pieces: int) -> None:
        """Cut the connection over which so many more pieces come from a side, in place of handing on the last."""
        self._at = (side, pieces)

    def cut_once_asked(self, words: bytes, answers: int) -> None:
        """Cut the connection over which some words go to the server, at so many answers to them; and let nobody in.

        With no answer, the words do not get there.
        """
        self._words, self._answers = words, answers

    def cut_all(self) -> None:
        """Cut all connections that there are."""
        for end in self._ends:
            end.abort()

    def url(self, url: str) -> str:
        """A URL of the server, by way of this."""
        return url.replace(f":{self._server_port}/", f":{self.port}/")

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuses:
            self.was_refused.set()
            writer.transport.abort()
            return
        there, onward = await asyncio.open_connection("127.0.0.1", self._server_port)
        # How many more answers to the words there are until this connection is cut.
        answers: list[int] = []
        asked = self._tasks.start(self._hand_on("asked", reader, onward, answers))
        answered = self._tasks.start(self._hand_on("answered", there, writer, answers))
        self._ends |= {writer.transport, onward.transport}
        try:
            _ = await asyncio.wait((asked, answered), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in (writer.transport, onward.transport):
                self._ends.discard(end)
                end.abort()

    async def _hand_on(
        self, side: Side, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: list[int]
    ) -> None:
        with suppress(ConnectionError):
            while piece := await reader.read(_PIECE_BYTES):
                if self._is_cut(side) or (side == "answered" and self._is_last(answers)):
                    return
                if side == "asked" and self._words and self._words in piece:
                    self._words, self.refuses = b"", True
                    answers.append(self._answers)
                    if not self._answers:
                        return
                writer.write(self._rest(piece) if side == "answered" and self.swallows_news else piece)

    @staticmethod
    def _rest(piece: bytes) -> bytes:
        """What is left without notifications; answers to what is asked here come in pieces of whole messages."""
        kept = b""
        while piece:
            end = 1 + int.from_bytes(piece[1:5], "big")
            kept += b"" if piece[:1] == b"A" else piece[:end]
            piece = piece[end:]
        return kept

    @staticmethod
    def _is_last(answers: list[int]) -> bool:
        if answers:
            answers[0] -= 1
        return answers == [0]

    def _is_cut(self, side: Side) -> bool:
        if self._at is None or self._at[0] != side:
            return False
        left = self._at[1] - 1
        self._at = (side, left) if left else None
        if not left:
            self.cuts += 1
            self.was_cut.set()
        return not left

    async def close(self) -> None:
        await self._tasks.cancel()


@asynccontextmanager
async def between(port: int) -> AsyncGenerator[Proxy]:
    """A proxy in front of a port."""
    proxy = Proxy(port)
    server = await asyncio.start_server(proxy.meet, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
