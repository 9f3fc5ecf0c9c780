"""Which form of an answer a client likes best (RFC 9110, section 12.5.1), of those that it names. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

MEDIA_TYPES_MAX = 50
"""Of one `Accept` header; those after them are ignored."""

_QUALITY = re.compile(r"\s*q\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\s*", re.IGNORECASE)


def liked_best(accept: str, offers: Sequence[str]) -> str:
    """The offer that an `Accept` header names with the highest quality; of equals the one that it names first.

    A wildcard names nothing: who takes anything is given the usual, which is the first offer.

    Example:
        >>> liked_best("text/html, application/jsonl;q=0.9, */*;q=0.8", ["application/json", "application/jsonl"])
        'application/jsonl'
        >>> liked_best("application/json, application/jsonl", ["application/json", "application/jsonl"])
        'application/json'
    """
    best, quality = offers[0], 0.0
    for part in accept.split(",", MEDIA_TYPES_MAX)[:MEDIA_TYPES_MAX]:
        name, *parameters = part.split(";")
        kind = name.strip().lower()
        if kind in offers and (liked := _quality(parameters)) > quality:
            best, quality = kind, liked
    return best


def wants_only(accept: str, kind: str, offers: Sequence[str]) -> bool:
    """Whether an `Accept` header names a form that is not offered, and would take none of the offers instead.

    A client that waits for a stream reads nothing of another answer; others are better off with the usual than with
    nothing, whatever they name.

    Example:
        >>> wants_only("text/event-stream", "text/event-stream", ["application/json"])
        True
        >>> wants_only("text/event-stream, */*;q=0.1", "text/event-stream", ["application/json"])
        False
    """
    if kind in offers or kind not in accept.lower():
        return False
    taken: set[str] = set()
    for part in accept.split(",", MEDIA_TYPES_MAX)[:MEDIA_TYPES_MAX]:
        name, *parameters = part.split(";")
        if _quality(parameters) > 0.0:
            taken.add(name.strip().lower())
    instead = {"*/*", *offers, *(f"{offer.partition('/')[0]}/*" for offer in offers)}
    return kind in taken and not taken & instead


def _quality(parameters: Sequence[str]) -> float:
    found = next((match for one in parameters if (match := _QUALITY.fullmatch(one))), None)
    return 1.0 if found is None else float(found[1])
