"""A certificate and its key as an edge shows them, and others that take their place while it runs.

Whoever renews a certificate replaces its files, one after the other: until both belong to each other, the ones before
are shown.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from hanse.deploy.edge.base import Place
from hanse.kernel.faults import Fault, Misconfigured

LOOK_SECONDS = 1.0
"""Between two looks at the files: what they hold is compared, as they may be links, or have the times of others."""

_log = logging.getLogger("hanse.edge")


class Chain(msgspec.Struct, frozen=True):
    """What is shown.

    Attributes:
        certificate: With those of whoever signed it (PEM).
        key: Of the certificate (PEM); the same, where both are in one file.
    """

    certificate: bytes
    key: bytes

    @property
    def together(self) -> bytes:
        """Both in one text."""
        return b"\n".join(dict.fromkeys((self.certificate, self.key)))


def chain_of(place: Place) -> Chain:
    """The certificate and the key of an edge, which can be read and belong to each other.

    Raises:
        Misconfigured: They cannot, or do not.
    """
    try:
        chain = _read(place)
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(place.certificate, place.key or None)
        if chain == _read(place):
            return chain
        error: Exception = OSError("they are being replaced")
    except (OSError, ssl.SSLError) as failed:
        error = failed
    raise Misconfigured(
        f"edge.certificate: expected a certificate and its key (PEM) in {place.certificate} and "
        f"{place.key or place.certificate}: {error}"
    ) from None


async def follow(place: Place, shown: Chain, renew: Callable[[Chain], Awaitable[None]]) -> None:
    """Have another certificate shown each time that the files of an edge change; never returns.

    Args:
        place: Of the edge.
        shown: What it shows.
        renew: Has it show something else, to whoever connects from then on.
    """
    told = ""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            if _read(place) == shown:
                continue
            after = chain_of(place)
            await renew(after)
        except (Fault, OSError) as error:
            if str(error) != told:
                told = str(error)
                _log.error("the edge goes on with the certificate that it has: %s", error)
            continue
        shown, told = after, ""
        _log.info("the edge shows another certificate")


def _read(place: Place) -> Chain:
    certificate = Path(place.certificate).read_bytes()
    return Chain(certificate, Path(place.key).read_bytes() if place.key else certificate)
