"""What speaks against a release without any comparison of what requests come to: whoever sees it says it in one way."""

from __future__ import annotations

import msgspec


class Signal(msgspec.Struct, frozen=True):
    """Something that speaks against a release.

    Attributes:
        name: What kind of thing it is.
        says: What was seen.
        certain: Whether that is enough to roll back; else it only goes no further.
    """

    name: str
    says: str
    certain: bool = True
