"""`str.casefold` as a function of SQL: PostgreSQL folds as its own tables have it, and the reference as Python's do.

Folding goes character by character, whatever stands beside it: most become one other, about a hundred become several.
The function is named by what it does, so that two versions of Python that disagree have one each.
"""

from __future__ import annotations

import sys
from functools import cache
from hashlib import blake2b

import msgspec

from hanse.store.postgresql.text import literal


class Fold(msgspec.Struct, frozen=True):
    """The function: its name, and what it is made of."""

    name: str
    body: str


@cache
def fold() -> Fold:
    """The function that folds a text as this Python does.

    Example:
        >>> fold().name.startswith("fold_")
        True
    """
    folded = {one: other for one in map(chr, range(sys.maxunicode + 1)) if (other := one.casefold()) != one}
    single = {one: other for one, other in folded.items() if len(other) == 1}
    text = f"translate(text, {literal(''.join(single))}, {literal(''.join(single.values()))})"
    for one, other in folded.items():
        if one not in single:
            text = f"replace({text}, {literal(one)}, {literal(other)})"
    ascii_only = {one: other for one, other in single.items() if one.isascii()}
    plain = f"translate(text, {literal(''.join(ascii_only))}, {literal(''.join(ascii_only.values()))})"
    body = f"SELECT CASE WHEN octet_length(text) = length(text) THEN {plain} ELSE {text} END"
    return Fold(f"fold_{blake2b(body.encode(), digest_size=6).hexdigest()}", body)
