"""What `hanse dev` sets where nobody has said anything, and refuses: the same in the parent and in its children."""

from __future__ import annotations

import msgspec

from hanse.cli.net import is_loopback
from hanse.kernel.faults import Misconfigured
from hanse.kernel.settings import Settings, Sources

STORE = ".hanse/dev"
"""Folder of the rows of services that nobody gave a store: they outlive a change of the code, and the day."""
KEPT = f"sqlite:///{STORE}"

GRACE_SECONDS = 1.0
"""How long requests may go on when the code has changed, unless `node.grace` says otherwise."""


def for_development(settings: Settings, sources: Sources) -> Settings:
    """The settings, with what suits development where nobody has said anything.

    Example:
        >>> found = for_development(Settings(), {})
        >>> found.node.store, found.node.grace, found.log.format
        ('sqlite:///.hanse/dev', 1.0, 'text')
    """
    node, log = settings.node, settings.log
    if "node.store" not in sources:
        node = msgspec.structs.replace(node, store=KEPT)
    if "node.grace" not in sources:
        node = msgspec.structs.replace(node, grace=GRACE_SECONDS)
    if "log.format" not in sources:
        log = msgspec.structs.replace(log, format="text")
    if "log.access" not in sources:
        log = msgspec.structs.replace(log, access="off")  # it has lines of its own
    return msgspec.structs.replace(settings, node=node, log=log)


def check_address(settings: Settings) -> None:
    """Make sure that nobody else can look at the code's errors.

    Raises:
        Misconfigured: Other machines could.
    """
    host = settings.gateway.host
    if not is_loopback(host):
        raise Misconfigured(
            f"expected a gateway.host on this machine, such as 127.0.0.1, got {host!r}: `hanse dev` shows code to "
            f"whoever asks; use `hanse run` to be reached by others"
        )
