"""Where a node's keys for ZeroMQ are; known without ZeroMQ."""

from __future__ import annotations

import msgspec


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """What a node proves of itself, and whom it believes.

    Attributes:
        secret: Path of the file that has its secret key: 40 letters, as ZeroMQ's own tools write them.
        allowed: Path of the list of the nodes' public keys, this one's among them: one a line; what comes behind a key
            and a space is a remark, and so is a line that begins with `#`.
    """

    secret: str
    allowed: str
