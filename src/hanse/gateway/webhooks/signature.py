"""Standard Webhooks: the headers by which a receiver knows who sent a webhook, and that nobody changed it.

See https://www.standardwebhooks.com. What is signed is `id.timestamp.body`, so that neither can be taken from another
message; while a secret is being replaced there are two signatures, and a receiver believes either.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence

from hanse.kernel.faults import Misconfigured

PREFIX = "whsec_"
"""Stands before a secret, so that it is known for one wherever it turns up."""

SECRET_BYTES = 32
"""Of a secret that we make."""

SECRET_BYTES_MIN = 24
SECRET_BYTES_MAX = 64
"""Of one that is brought along, as the standard says."""

SIGNATURES_MAX = 16
"""Signatures of one message that are looked at."""

VERSION = "v1"


def secret_of(entropy: bytes) -> str:
    """A secret as it is shown, once.

    Example:
        >>> secret_of(bytes(24))
        'whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'
    """
    return PREFIX + b64encode(entropy).decode()


def key_of(secret: str) -> bytes:
    """The bytes of a secret.

    Raises:
        Misconfigured: It is none; it is not repeated in the error.
    """
    expected = f"expected a secret such as {PREFIX}..., of {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes in base64"
    try:
        key = b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise Misconfigured(f"{expected}, got something else") from None
    if not SECRET_BYTES_MIN <= len(key) <= SECRET_BYTES_MAX:
        raise Misconfigured(f"{expected}, got {len(key)} bytes")
    return key


def signed(key: bytes, id: str, timestamp: int, body: bytes) -> str:
    """One signature.

    Args:
        key: The bytes of the secret.
        id: Of the message.
        timestamp: Wall-clock second of this attempt.
        body: What is sent.
    """
    digest = hmac.new(key, b"%b.%d.%b" % (id.encode(), timestamp, body), hashlib.sha256).digest()
    return f"{VERSION},{b64encode(digest).decode()}"


def headers_of(secrets: Sequence[str], id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers of a webhook, with a signature for each secret.

    Example:
        >>> sorted(headers_of([secret_of(bytes(32))], "msg_1", 1_700_000_000, b"{}"))
        ['webhook-id', 'webhook-signature', 'webhook-timestamp']
    """
    signatures = " ".join(signed(key_of(secret), id, timestamp, body) for secret in secrets)
    return {"webhook-id": id, "webhook-timestamp": str(timestamp), "webhook-signature": signatures}


def is_signed(keys: Iterable[bytes], id: str, timestamp: int, body: bytes, signatures: str) -> bool:
    """Whether one of the signatures is by one of the keys; takes as long for a near miss as for any other.

    Args:
        keys: That are believed.
        id: As the header says.
        timestamp: As the header says.
        body: As it came.
        signatures: The header, with spaces between them; of other versions are passed over.
    """
    given = [text.encode() for text in signatures.split(" ")[:SIGNATURES_MAX]]
    found = False
    for key in keys:
        expected = signed(key, id, timestamp, body).encode()
        for one in given:
            found |= hmac.compare_digest(expected, one)
    return found
