"""`str.casefold` as a function of SQL: PostgreSQL folds as its own tables have it, and the reference as Python's do.

Folding goes character by character, whatever stands beside it: most become one other, about a hundred become several.
`translate` looks for each character of a text in all those that it is told to replace, so they are told by scripts, and
only those that occur. The function is named by what it does: two versions of Python that disagree have one each.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from hashlib import blake2b
from itertools import pairwise

import msgspec

from hanse.store.sql import literal

_SCRIPTS = (0x80, 0x370, 0x400, 0x600, 0x1E00, 0x1F00, 0x2000, 0xA000, 0x10000, 0x20000)
"""Where Latin, Greek, Cyrillic and Armenian, Georgian and Cherokee, and so on begin; at the last, no case is left."""


class Fold(msgspec.Struct, frozen=True):
    """The function: its name, and what it does, in PL/pgSQL."""

    name: str
    body: str


@cache
def fold() -> Fold:
    """The function that folds a text as this Python does.

    Example:
        >>> fold().name.startswith("fold_")
        True
    """
    folded = {one: other for one in map(chr, range(_SCRIPTS[-1])) if (other := one.casefold()) != one}
    body = f"BEGIN {' '.join(_steps(folded))} RETURN text; END"
    return Fold(f"fold_{blake2b(body.encode(), digest_size=6).hexdigest()}", body)


def _steps(folded: dict[str, str]) -> Iterator[str]:
    yield f"text := {_translated({one: other for one, other in folded.items() if one.isascii()})};"
    yield "IF octet_length(text) = length(text) THEN RETURN text; END IF;"
    single = {one: other for one, other in folded.items() if len(other) == 1 and not one.isascii()}
    for begin, end in pairwise(_SCRIPTS):
        if script := {one: other for one, other in single.items() if begin <= ord(one) < end}:
            yield _where_any(script, _translated(script))
    several = {one: other for one, other in folded.items() if len(other) > 1}
    replaced = "text"
    for one, other in several.items():
        replaced = f"replace({replaced}, {literal(one)}, {literal(other)})"
    yield _where_any(several, replaced)


def _translated(folded: dict[str, str]) -> str:
    return f"translate(text, {literal(''.join(folded))}, {literal(''.join(folded.values()))})"


def _where_any(folded: dict[str, str], text: str) -> str:
    """What a text with any of some characters becomes; none of them has a meaning within the brackets."""
    return f"IF text ~ {literal('[' + ''.join(folded) + ']')} THEN text := {text}; END IF;"
