"""TLS between nodes: each shows a certificate of one authority, and no others are listened to."""

from __future__ import annotations

import ssl

import msgspec

from hanse.kernel.faults import CouldNotStart


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """What a node shows of itself, and whom it believes.

    Attributes:
        certificate: Path of its certificate, with the chain up to the authority (PEM).
        key: Path of the certificate's private key (PEM).
        authority: Path of the certificates of whoever signs those of the other nodes (PEM).
        mutual: Whether who connects has to show a certificate too; without, anybody may call everything.
        name: The name that other nodes' certificates are for, where that is one for all; empty where each is for the
            host of the node's address.
    """

    certificate: str
    key: str
    authority: str
    mutual: bool = True
    name: str = ""


def listening_context(tls: Tls) -> ssl.SSLContext:
    """For connections that others make. Raises `CouldNotStart`, naming what cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if tls.mutual:
        context.verify_mode = ssl.CERT_REQUIRED
    return _loaded(context, tls)


def dialing_context(tls: Tls) -> ssl.SSLContext:
    """For connections to others. Raises as `listening_context` does."""
    return _loaded(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), tls)


def _loaded(context: ssl.SSLContext, tls: Tls) -> ssl.SSLContext:
    # Both ends are ours, so there is nobody to be polite to.
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(tls.authority)
    except (OSError, ValueError) as error:
        raise CouldNotStart(f"the authority {tls.authority!r} cannot be used: {error}") from None
    try:
        context.load_cert_chain(tls.certificate, tls.key)
    except (OSError, ValueError) as error:
        raise CouldNotStart(f"the certificate {tls.certificate!r} or its key cannot be used: {error}") from None
    return context
