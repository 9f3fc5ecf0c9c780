"""What a key belongs to, by weighted rendezvous: the same wherever it is asked, and who comes or goes moves no others.

Source: Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", IEEE/ACM Transactions on Networking,
1998; weights: Schindelhauer and Schomaker, "Weighted Distributed Hash Tables", SPAA 2005.
"""

from __future__ import annotations

import hashlib
import math

_BYTES = 8
_HASHES = 256**_BYTES


def score(key: str, name: str, weight: float) -> float:
    """How much a key belongs to a name; it belongs to the one with the highest score.

    Args:
        key: What is to stay with one.
        name: One of those that it may belong to.
        weight: Its share of keys, beside those of the others; of 0 it gets none.

    Example:
        >>> max(["red", "blue"], key=lambda name: score("42", name, 1.0))
        'red'
    """
    text = f"{len(key)}:{key}{name}".encode(errors="surrogatepass")
    drawn = int.from_bytes(hashlib.blake2b(text, digest_size=_BYTES).digest(), "big") + 0.5
    return -weight / math.log(drawn / _HASHES) if drawn < _HASHES - _BYTES else math.inf
