"""`About`: how a field says whose, of a contract that each service of an app serves about itself."""

from __future__ import annotations

from typing import NoReturn

import msgspec

from hanse.contract.derive import Description


class About(msgspec.Struct, frozen=True):
    """The default of a field that is a client of such a contract; a node puts the client in its place.

    Attributes:
        service: The class of the service that it is about.
        description: The contract, under the name that it has for that service.
    """

    service: type
    description: Description

    def __getattr__(self, name: str) -> NoReturn:
        msg = f"this client of {self.description.name} has no {name!r} before a node has wired its service"
        raise AttributeError(msg)
