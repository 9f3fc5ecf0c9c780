"""What `hanse doctor` finds."""

from __future__ import annotations

from typing import Literal

import msgspec

State = Literal["ok", "warn", "fail"]
OK: State = "ok"
WARN: State = "warn"
FAIL: State = "fail"


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was found at one look.

    Attributes:
        check: What was looked at.
        state: `ok`; `warn` where it works, but not as it could; `fail` where it does not.
        says: What was found.
        why: What it is good for.
        do: The next thing to try.
        more: Details, for programs.
    """

    check: str
    state: State
    says: str
    why: str = ""
    do: str = ""
    more: list[str] = []
