"""What the secrets of webhooks are sealed with while they lie in the store: AES-256-GCM, by keys of the settings.

A secret is bound to its subscription, so that it opens in no other row, and says which key has sealed it: so keys are
replaced one after the other, and who lacks one is told which. What was stored before there was a key lies open until it
is sealed; the two are told apart by the dots, which no secret has.
"""

from __future__ import annotations

import binascii
import hashlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, final

from hanse.kernel.faults import Misconfigured

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
NONCE_BYTES = 12
"""Drawn for each secret that is sealed: 2^32 of them under one key leave no chance worth naming of one twice."""

NAME_DIGITS = 8
"""Hexadecimal digits by which a key is known; they tell nothing of it."""

MARK = "aes256gcm"


@final
class Seal:
    """Seals and opens secrets.

    Args of the constructor:
        keys: In base64, 32 bytes each: the first seals, all open. Without any, secrets are left as they are.

    Raises:
        Misconfigured: One is no such key, or what it needs is not installed.

    Example:
        >>> seal = Seal([b64encode(bytes(32)).decode()])
        >>> sealed = seal.close("one", "whsec_c2VjcmV0", bytes)
        >>> sealed.split(".")[:2], seal.open("one", sealed)
        (['aes256gcm', '66687aad'], 'whsec_c2VjcmV0')
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = {_name(key): _cipher(key) for key in map(_key_of, keys)}
        self._first = next(iter(self._keys), "")

    def close(self, id: str, secret: str, entropy: Callable[[int], bytes]) -> str:
        """A secret as it is stored.

        Args:
            id: Of the subscription.
            secret: As it signs.
            entropy: Draws bytes.
        """
        if not self._first or not secret:
            return secret
        nonce = entropy(NONCE_BYTES)
        sealed = nonce + self._keys[self._first].encrypt(nonce, secret.encode(), id.encode())
        return f"{MARK}.{self._first}.{b64encode(sealed).decode()}"

    def open(self, id: str, stored: str) -> str:
        """A secret as it signs.

        Raises:
            Misconfigured: None of the keys has sealed it, or it is not what was sealed for this subscription.
        """
        if not is_sealed(stored):
            return stored
        from cryptography.exceptions import InvalidTag

        _, name, text = stored.split(".")
        if name not in self._keys:
            raise Misconfigured(
                f"the secret of the subscription {id} is sealed with the key {name}, and "
                f"services.webhooks.settings.keys has {', '.join(self._keys) or 'none'}; give it back its key"
            )
        sealed = b64decode(text)
        try:
            return self._keys[name].decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], id.encode()).decode()
        except InvalidTag:
            raise Misconfigured(
                f"the secret of the subscription {id} was changed in the store, or moved there from another; rotate it"
            ) from None

    def is_current(self, stored: str) -> bool:
        """Whether a secret lies as it would be stored now."""
        return not stored or not self._first or stored.startswith(f"{MARK}.{self._first}.")


def is_sealed(stored: str) -> bool:
    """Whether a secret is sealed.

    Example:
        >>> is_sealed("whsec_c2VjcmV0"), is_sealed("aes256gcm.66687aad.AAAA")
        (False, True)
    """
    return stored.startswith(f"{MARK}.")


def _key_of(text: str) -> bytes:
    expected = (
        f"expected services.webhooks.settings.keys to be {KEY_BYTES} random bytes each, in base64, "
        f"such as `openssl rand -base64 {KEY_BYTES}` makes"
    )
    try:
        key = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Misconfigured(f"{expected}, got something else") from None
    if len(key) != KEY_BYTES:
        raise Misconfigured(f"{expected}, got {len(key)} bytes")
    return key


def _name(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()[:NAME_DIGITS]


def _cipher(key: bytes) -> AESGCM:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise Misconfigured(f"to seal secrets of webhooks needs {error.name}: pip install 'hanse[webhooks]'") from None
    return AESGCM(key)
