"""Where a request comes from, as what carries it to a server sees that."""

from __future__ import annotations

from typing import Protocol

from hanse.kernel.faults import Fault


class Asker(Protocol):
    """Where a request comes from, and its answer goes."""

    @property
    def peer(self) -> str:
        """Address at the other end."""
        ...

    def write(self, data: bytes, /) -> None:
        """Send a part of the answer."""
        ...

    def read(self, *, on: bool) -> None:
        """Whether more of the request is wanted."""
        ...

    @property
    def full(self) -> bool:
        """Whether no more can be written for now."""
        ...

    def refuse(self, fault: Fault, trace_id: str, /) -> None:
        """Answer with a problem, and be over."""
        ...

    def over(self, *, keep: bool) -> None:
        """The answer is whole; whether the connection may be used again."""
        ...

    def end_writing(self) -> None:
        """The other side of a tunnel says nothing more."""
        ...

    def abort(self) -> None:
        """Break the connection off, as its answer cannot be whole."""
        ...
