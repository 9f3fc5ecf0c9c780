"""The `Prefer` header (RFC 7240): how a client would like to be answered. Pure.

A preference that is unknown, or does not fit the request, is ignored, as the RFC says; `Preference-Applied` names those
that were honoured.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import msgspec

WAIT_SECONDS_MAX = 30.0
"""That `wait` may ask for at most; it is cut to that."""

CHARACTERS_MAX = 500
"""Of a `Prefer` header; a longer one is ignored."""

_NAME = r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*"
_VALUE = r'(?:=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,;"]*)))?\s*(?:;[^,]*)?(?:,|$)'
_ONE = re.compile(_NAME + _VALUE)


_RETURN: Mapping[bool | None, str] = {True: "return=minimal", False: "return=representation"}
_HANDLING: Mapping[bool | None, str] = {True: "handling=strict", False: "handling=lenient"}


class Preferences(msgspec.Struct, frozen=True):
    """What a client prefers.

    Attributes:
        minimal: No body where it would only repeat what was sent; None where it does not say.
        strict: Fields that do not exist are refused rather than ignored; None where it does not say.
        later: The answer may come later (202), if it takes longer than `wait`.
        wait: Seconds that the client would wait for an answer before that.
    """

    minimal: bool | None = None
    strict: bool | None = None
    later: bool = False
    wait: float = 0.0

    def applied(self, *names: Literal["return", "handling", "respond-async"]) -> bytes:
        """The value of `Preference-Applied`, of those of the preferences named that the client has.

        Example:
            >>> preferences_in("return=minimal, handling=lenient").applied("return", "respond-async")
            b'return=minimal'
        """
        texts = {
            "return": _RETURN.get(self.minimal, ""),
            "handling": _HANDLING.get(self.strict, ""),
            "respond-async": "respond-async" if self.later else "",
        }
        return ", ".join(filter(None, (texts[name] for name in names))).encode()


NONE = Preferences()


def preferences_in(header: str) -> Preferences:
    """What a `Prefer` header says; of what it says twice, the first counts.

    Example:
        >>> preferences_in('return=minimal; a=1, handling="strict", shiny')
        Preferences(minimal=True, strict=True, later=False, wait=0.0)
    """
    if not header or len(header) > CHARACTERS_MAX:
        return NONE
    found: dict[str, str] = {}
    for match in _ONE.finditer(header):
        found.setdefault(match[1].lower(), (match[2] or match[3] or "").lower())
    return Preferences(
        _chosen(found.get("return"), "minimal", "representation"),
        _chosen(found.get("handling"), "strict", "lenient"),
        "respond-async" in found,
        _seconds(found.get("wait", "")),
    )


def _chosen(value: str | None, yes: str, no: str) -> bool | None:
    return value == yes if value in {yes, no} else None


def _seconds(text: str) -> float:
    digits = len(str(round(WAIT_SECONDS_MAX)))
    if not text.isascii() or not text.isdigit():
        return 0.0
    return WAIT_SECONDS_MAX if len(text) > digits else min(float(text), WAIT_SECONDS_MAX)
