"""uvicorn's connections on h11 (pure Python, always there), with limits on the head of a request."""

from __future__ import annotations

from typing import cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from hanse.gateway.pace import REFUSAL
from hanse.gateway.paced import Paced, refuse


class PacedH11(Paced, H11Protocol):
    """A paced connection, whose request is over when h11 says so."""

    def send_400_response(self, msg: str) -> None:
        """See uvicorn: what cannot be read is told as a problem, unless an answer is on its way."""
        del msg
        refuse(self.transport, cast("RequestResponseCycle | None", self.cycle))

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        in_body = self.conn.their_state is h11.SEND_BODY  # as in `paced_httptools`
        super().data_received(data)
        cycle = cast("RequestResponseCycle | None", self.cycle)
        answered = cycle is None or cycle.response_complete
        in_body = in_body or self.conn.their_state is h11.SEND_BODY
        if self.head.took(len(data), self.loop.time(), answered=answered, in_body=in_body):
            self.transport.write(REFUSAL)
            self.transport.close()
