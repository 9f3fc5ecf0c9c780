"""Whether a webhook that came is of whom it says: the schemes of those who send them. Pure: the second comes in.

A scheme gives the id by which a webhook that comes twice is known. It has to be part of what is signed, or whoever
has seen one could send it again under another.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from hanse.gateway.webhooks.signature import is_signed, key_of
from hanse.kernel.codec import codec_for
from hanse.kernel.faults import Fault, Invalid, Malformed, Misconfigured

TOLERANCE_SECONDS = 300.0
"""How far the time of a webhook may be from ours."""

ID_CHARACTERS_MAX = 255
"""Longest id of a webhook."""

TIMESTAMP_DIGITS_MAX = 12
"""Of a time that is read."""

SIGNATURES_MAX = 16
"""Signatures of one webhook that are looked at."""


Reason = Literal["unsigned", "forged", "stale", "malformed"]
"""Why a webhook is not believed, for figures: it has no signature, a wrong one, one of another time, or cannot be."""


class WebhookRefused(Fault, status=401, detail="expected a webhook that was signed for this path: {why}"):
    """A webhook that came was not believed: unsigned, forged, changed on its way, or too old.

    `reason` is one word for whoever counts: `unsigned`, `forged`, `stale` or `malformed`.
    """

    why: str
    reason: Reason = "forged"


class Scheme(Protocol):
    """How somebody signs what they send."""

    def verify(self, headers: Mapping[str, str], body: bytes, now: float) -> str:
        """The id of a webhook that is believed.

        Args:
            headers: By name in lower case.
            body: As it came, to the byte.
            now: Wall-clock second.

        Raises:
            WebhookRefused: It is not believed.
        """
        ...


class StandardScheme:
    """The Standard Webhooks, which Hanse sends too."""

    def __init__(self, secrets: Sequence[str], tolerance: float) -> None:
        self._keys = [key_of(secret) for secret in _some(secrets)]
        self._tolerance = tolerance

    def verify(self, headers: Mapping[str, str], body: bytes, now: float) -> str:
        """See `Scheme.verify`."""
        id, signatures = headers.get("webhook-id", ""), headers.get("webhook-signature", "")
        timestamp = _timestamp(headers.get("webhook-timestamp", ""), now, self._tolerance)
        if not id or not signatures:
            raise WebhookRefused("it has no webhook-id, or no webhook-signature", "unsigned")
        if len(id) > ID_CHARACTERS_MAX or not id.isascii():
            raise WebhookRefused(f"its webhook-id is no text of at most {ID_CHARACTERS_MAX} characters", "malformed")
        if not is_signed(self._keys, id, timestamp, body, signatures):
            raise WebhookRefused("no signature is by a secret that is known here")
        return id


class StripeScheme:
    """That of Stripe: `Stripe-Signature: t=...,v1=...`."""

    def __init__(self, secrets: Sequence[str], tolerance: float) -> None:
        self._keys = [secret.encode() for secret in _some(secrets)]
        self._tolerance = tolerance

    def verify(self, headers: Mapping[str, str], body: bytes, now: float) -> str:
        """See `Scheme.verify`; the id is that of Stripe's event, in the body."""
        pairs = [part.strip().partition("=") for part in headers.get("stripe-signature", "").split(",")]
        times = [value for name, _, value in pairs if name == "t"]
        timestamp = _timestamp(times[0] if times else "", now, self._tolerance)
        given = [value.encode() for name, _, value in pairs if name == "v1"][:SIGNATURES_MAX]
        if not _is_one_of(self._keys, b"%d.%b" % (timestamp, body), given):
            raise WebhookRefused("no signature is by a secret that is known here")
        try:
            id = _named.decode_json(body).id
        except (Invalid, Malformed):
            id = ""
        if not 0 < len(id) <= ID_CHARACTERS_MAX:
            raise WebhookRefused(f"its body has no id of at most {ID_CHARACTERS_MAX} characters", "malformed")
        return id


class GithubScheme:
    """That of GitHub: `X-Hub-Signature-256: sha256=...`. It has no time: what was seen is refused by its content."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._keys = [secret.encode() for secret in _some(secrets)]

    def verify(self, headers: Mapping[str, str], body: bytes, now: float) -> str:  # noqa: ARG002 - there is no time
        """See `Scheme.verify`; the id is made of the body, as the one in the header is not signed."""
        name, _, given = headers.get("x-hub-signature-256", "").partition("=")
        if not name:
            raise WebhookRefused("it has no x-hub-signature-256", "unsigned")
        if name != "sha256" or not _is_one_of(self._keys, body, [given.encode()]):
            raise WebhookRefused("no signature is by a secret that is known here")
        return hashlib.sha256(body).hexdigest()


class Signed:
    """The schemes that are known here: how somebody signs the webhooks that they send.

    Example:
        >>> scheme = Signed.github("what GitHub was told")
        >>> scheme.verify({"x-hub-signature-256": "sha256=forged"}, b"{}", now=0.0)
        Traceback (most recent call last):
        ...
        hanse.gateway.webhooks.verify.WebhookRefused: expected a webhook that was signed for this path: ...
    """

    @staticmethod
    def standard(*secrets: str, tolerance: float = TOLERANCE_SECONDS) -> Scheme:
        """The Standard Webhooks, which Hanse and many others send.

        Args:
            secrets: Those that are believed, `whsec_...`: two while one is replaced.
            tolerance: Seconds that a webhook may be old.

        Raises:
            Misconfigured: A secret is none, or there is none.
        """
        return StandardScheme(secrets, tolerance)

    @staticmethod
    def stripe(*secrets: str, tolerance: float = TOLERANCE_SECONDS) -> Scheme:
        """What Stripe sends; see `standard`."""
        return StripeScheme(secrets, tolerance)

    @staticmethod
    def github(*secrets: str) -> Scheme:
        """What GitHub sends. There is no time in it: what comes twice is known by its content, for `node.retention`."""
        return GithubScheme(secrets)


class _Named(msgspec.Struct):
    id: str


_named = codec_for(_Named)


def _some(secrets: Sequence[str]) -> Sequence[str]:
    if not secrets or not all(secrets):
        raise Misconfigured("expected a secret that webhooks are signed with; an empty one would let anybody in")
    return secrets


def _timestamp(text: str, now: float, tolerance: float) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= TIMESTAMP_DIGITS_MAX):
        raise WebhookRefused("it does not say when it was sent", "malformed" if text else "unsigned")
    timestamp = int(text)
    if abs(now - timestamp) > tolerance:
        said = f"{now - timestamp:.0f} s ago" if timestamp < now else f"{timestamp - now:.0f} s from now"
        why = f"it was sent {said}; at most {tolerance:g} s are believed"
        raise WebhookRefused(why, "stale")
    return timestamp


def _is_one_of(keys: Sequence[bytes], signed: bytes, given: Sequence[bytes]) -> bool:
    found = False
    for key in keys:
        expected = hmac.new(key, signed, hashlib.sha256).hexdigest().encode()
        for one in given:
            found |= hmac.compare_digest(expected, one)
    return found
