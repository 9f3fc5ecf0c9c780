"""Hanse: microservices as plain, typed Python classes, and the platform that they run on.

The public names, and nothing else. They are imported when they are first asked for, so that `hanse --help` and a
process that needs only a part of them do not pay for the rest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hanse.contract.declare import Contract as Contract
    from hanse.contract.declare import rpc as rpc
    from hanse.contract.guard import (
        Guard as Guard,
    )
    from hanse.contract.guard import (
        anyone as anyone,
    )
    from hanse.contract.guard import (
        authenticated as authenticated,
    )
    from hanse.contract.guard import (
        scope as scope,
    )
    from hanse.contract.model import (
        Event as Event,
    )
    from hanse.contract.model import (
        Model as Model,
    )
    from hanse.contract.model import (
        Resource as Resource,
    )
    from hanse.gateway.gateway import Gateway as Gateway
    from hanse.kernel.context import Context as Context
    from hanse.kernel.context import current as current
    from hanse.kernel.faults import (
        BrokenContract as BrokenContract,
    )
    from hanse.kernel.faults import (
        Cancelled as Cancelled,
    )
    from hanse.kernel.faults import (
        Conflict as Conflict,
    )
    from hanse.kernel.faults import (
        CouldNotStart as CouldNotStart,
    )
    from hanse.kernel.faults import (
        DeadlineExceeded as DeadlineExceeded,
    )
    from hanse.kernel.faults import (
        Fault as Fault,
    )
    from hanse.kernel.faults import (
        Flaw as Flaw,
    )
    from hanse.kernel.faults import (
        Forbidden as Forbidden,
    )
    from hanse.kernel.faults import (
        Internal as Internal,
    )
    from hanse.kernel.faults import (
        Invalid as Invalid,
    )
    from hanse.kernel.faults import (
        Malformed as Malformed,
    )
    from hanse.kernel.faults import (
        Misconfigured as Misconfigured,
    )
    from hanse.kernel.faults import (
        Misdeclared as Misdeclared,
    )
    from hanse.kernel.faults import (
        NotFound as NotFound,
    )
    from hanse.kernel.faults import (
        Overloaded as Overloaded,
    )
    from hanse.kernel.faults import (
        PreconditionFailed as PreconditionFailed,
    )
    from hanse.kernel.faults import (
        RemoteFault as RemoteFault,
    )
    from hanse.kernel.faults import (
        TooLarge as TooLarge,
    )
    from hanse.kernel.faults import (
        Unauthenticated as Unauthenticated,
    )
    from hanse.kernel.faults import (
        Unavailable as Unavailable,
    )
    from hanse.kernel.faults import (
        UnknownOperation as UnknownOperation,
    )
    from hanse.kernel.host import Host as Host
    from hanse.kernel.message import Headers as Headers
    from hanse.kernel.message import Identity as Identity
    from hanse.kernel.settings import Settings as Settings
    from hanse.mesh.client import policy as policy
    from hanse.mesh.client import send as send
    from hanse.node.app import App as App
    from hanse.node.node import Node as Node
    from hanse.service.change import (
        Change as Change,
    )
    from hanse.service.change import (
        Created as Created,
    )
    from hanse.service.change import (
        Deleted as Deleted,
    )
    from hanse.service.change import (
        Existing as Existing,
    )
    from hanse.service.change import (
        Followed as Followed,
    )
    from hanse.service.change import (
        Ready as Ready,
    )
    from hanse.service.change import (
        Reset as Reset,
    )
    from hanse.service.change import (
        Updated as Updated,
    )
    from hanse.service.collection import Collection as Collection
    from hanse.service.collection import Page as Page
    from hanse.service.cpu import cpu as cpu
    from hanse.service.feed import CursorLost as CursorLost
    from hanse.service.held import Held as Held
    from hanse.service.query import (
        contains as contains,
    )
    from hanse.service.query import (
        desc as desc,
    )
    from hanse.service.query import (
        holds as holds,
    )
    from hanse.service.query import (
        not_ as not_,
    )
    from hanse.service.query import (
        one_of as one_of,
    )
    from hanse.service.reaction import (
        every as every,
    )
    from hanse.service.reaction import (
        on as on,
    )
    from hanse.service.reaction import (
        rule as rule,
    )
    from hanse.service.service import Service as Service

_HOMES = {
    "App": "hanse.node.app",
    "BrokenContract": "hanse.kernel.faults",
    "Cancelled": "hanse.kernel.faults",
    "Change": "hanse.service.change",
    "Collection": "hanse.service.collection",
    "Conflict": "hanse.kernel.faults",
    "Context": "hanse.kernel.context",
    "Contract": "hanse.contract.declare",
    "CouldNotStart": "hanse.kernel.faults",
    "Created": "hanse.service.change",
    "CursorLost": "hanse.service.feed",
    "DeadlineExceeded": "hanse.kernel.faults",
    "Deleted": "hanse.service.change",
    "Event": "hanse.contract.model",
    "Existing": "hanse.service.change",
    "Fault": "hanse.kernel.faults",
    "Flaw": "hanse.kernel.faults",
    "Followed": "hanse.service.change",
    "Forbidden": "hanse.kernel.faults",
    "Gateway": "hanse.gateway.gateway",
    "Guard": "hanse.contract.guard",
    "Headers": "hanse.kernel.message",
    "Held": "hanse.service.held",
    "Host": "hanse.kernel.host",
    "Identity": "hanse.kernel.message",
    "Internal": "hanse.kernel.faults",
    "Invalid": "hanse.kernel.faults",
    "Malformed": "hanse.kernel.faults",
    "Misconfigured": "hanse.kernel.faults",
    "Misdeclared": "hanse.kernel.faults",
    "Model": "hanse.contract.model",
    "Node": "hanse.node.node",
    "NotFound": "hanse.kernel.faults",
    "Overloaded": "hanse.kernel.faults",
    "Page": "hanse.service.collection",
    "PreconditionFailed": "hanse.kernel.faults",
    "Ready": "hanse.service.change",
    "RemoteFault": "hanse.kernel.faults",
    "Reset": "hanse.service.change",
    "Resource": "hanse.contract.model",
    "Service": "hanse.service.service",
    "Settings": "hanse.kernel.settings",
    "TooLarge": "hanse.kernel.faults",
    "Unauthenticated": "hanse.kernel.faults",
    "Unavailable": "hanse.kernel.faults",
    "UnknownOperation": "hanse.kernel.faults",
    "Updated": "hanse.service.change",
    "anyone": "hanse.contract.guard",
    "authenticated": "hanse.contract.guard",
    "contains": "hanse.service.query",
    "cpu": "hanse.service.cpu",
    "current": "hanse.kernel.context",
    "desc": "hanse.service.query",
    "every": "hanse.service.reaction",
    "holds": "hanse.service.query",
    "not_": "hanse.service.query",
    "on": "hanse.service.reaction",
    "one_of": "hanse.service.query",
    "policy": "hanse.mesh.client",
    "rpc": "hanse.contract.declare",
    "rule": "hanse.service.reaction",
    "scope": "hanse.contract.guard",
    "send": "hanse.mesh.client",
}

__all__ = [
    "App",
    "BrokenContract",
    "Cancelled",
    "Change",
    "Collection",
    "Conflict",
    "Context",
    "Contract",
    "CouldNotStart",
    "Created",
    "CursorLost",
    "DeadlineExceeded",
    "Deleted",
    "Event",
    "Existing",
    "Fault",
    "Flaw",
    "Followed",
    "Forbidden",
    "Gateway",
    "Guard",
    "Headers",
    "Held",
    "Host",
    "Identity",
    "Internal",
    "Invalid",
    "Malformed",
    "Misconfigured",
    "Misdeclared",
    "Model",
    "Node",
    "NotFound",
    "Overloaded",
    "Page",
    "PreconditionFailed",
    "Ready",
    "RemoteFault",
    "Reset",
    "Resource",
    "Service",
    "Settings",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
    "UnknownOperation",
    "Updated",
    "anyone",
    "authenticated",
    "contains",
    "cpu",
    "current",
    "desc",
    "every",
    "holds",
    "not_",
    "on",
    "one_of",
    "policy",
    "rpc",
    "rule",
    "scope",
    "send",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'hanse' has no attribute {name!r}")
    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
