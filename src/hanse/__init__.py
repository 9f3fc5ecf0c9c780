"""Hanse: microservices as plain, typed Python classes, and the platform that they run on.

The public names, and nothing else. They are imported when they are first asked for, so that `hanse --help` and a
process that needs only a part of them do not pay for the rest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hanse.contract.declare import Contract as Contract, rpc as rpc
    from hanse.contract.guard import (
        Guard as Guard,
        anyone as anyone,
        authenticated as authenticated,
        scope as scope,
    )
    from hanse.contract.link import Link as Link
    from hanse.contract.model import (
        Event as Event,
        Model as Model,
        Resource as Resource,
    )
    from hanse.delivery.retry import Terminal as Terminal
    from hanse.delivery.saga_machine import (
        SagaAborted as SagaAborted,
        SagaStuck as SagaStuck,
        SagaUndone as SagaUndone,
    )
    from hanse.gateway.asgi import Request as Request, Response as Response
    from hanse.gateway.cors import Cors as Cors
    from hanse.gateway.embed import asgi as asgi
    from hanse.gateway.gateway import Gateway as Gateway
    from hanse.gateway.parameters import Header as Header
    from hanse.gateway.rates import Rate as Rate
    from hanse.gateway.webhooks.verify import Signed as Signed
    from hanse.kernel.context import Context as Context, current as current
    from hanse.kernel.faults import (
        BrokenContract as BrokenContract,
        Cancelled as Cancelled,
        Conflict as Conflict,
        CouldNotStart as CouldNotStart,
        DeadlineExceeded as DeadlineExceeded,
        Fault as Fault,
        Flaw as Flaw,
        Forbidden as Forbidden,
        Internal as Internal,
        Invalid as Invalid,
        Malformed as Malformed,
        Misconfigured as Misconfigured,
        Misdeclared as Misdeclared,
        NotFound as NotFound,
        Overloaded as Overloaded,
        PreconditionFailed as PreconditionFailed,
        RemoteFault as RemoteFault,
        TooLarge as TooLarge,
        Unauthenticated as Unauthenticated,
        Unavailable as Unavailable,
        UnknownOperation as UnknownOperation,
    )
    from hanse.kernel.host import Host as Host
    from hanse.kernel.message import Headers as Headers, Identity as Identity
    from hanse.kernel.settings import Settings as Settings
    from hanse.mesh.client import policy as policy, send as send
    from hanse.node.app import App as App
    from hanse.node.node import Node as Node
    from hanse.service.change import (
        Change as Change,
        Created as Created,
        Deleted as Deleted,
        Existing as Existing,
        Followed as Followed,
        Ready as Ready,
        Reset as Reset,
        Updated as Updated,
    )
    from hanse.service.cluster import Leader as Leader, Lock as Lock
    from hanse.service.collection import Collection as Collection, Page as Page
    from hanse.service.cpu import cpu as cpu
    from hanse.service.expose import expose as expose
    from hanse.service.held import Held as Held
    from hanse.service.job import progress as progress
    from hanse.service.leases import Grant as Grant, LeaseLost as LeaseLost, LeaseTaken as LeaseTaken
    from hanse.service.log_reader import CursorLost as CursorLost
    from hanse.service.query import (
        contains as contains,
        desc as desc,
        holds as holds,
        not_ as not_,
        one_of as one_of,
    )
    from hanse.service.reaction import (
        cron as cron,
        every as every,
        on as on,
        rule as rule,
    )
    from hanse.service.replica import Replica as Replica, ReplicaBehind as ReplicaBehind, replica as replica
    from hanse.service.saga import Saga as Saga
    from hanse.service.saga_method import saga as saga
    from hanse.service.service import Service as Service
    from hanse.sim.declare import simulation as simulation
    from hanse.sim.setup import Setup as Setup
    from hanse.sim.simulation import simulate as simulate
    from hanse.sim.world import World as World

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
    "CursorLost": "hanse.service.log_reader",
    "DeadlineExceeded": "hanse.kernel.faults",
    "Deleted": "hanse.service.change",
    "Event": "hanse.contract.model",
    "Existing": "hanse.service.change",
    "Fault": "hanse.kernel.faults",
    "Flaw": "hanse.kernel.faults",
    "Followed": "hanse.service.change",
    "Forbidden": "hanse.kernel.faults",
    "Cors": "hanse.gateway.cors",
    "Gateway": "hanse.gateway.gateway",
    "Rate": "hanse.gateway.rates",
    "Grant": "hanse.service.leases",
    "Guard": "hanse.contract.guard",
    "Header": "hanse.gateway.parameters",
    "Headers": "hanse.kernel.message",
    "Held": "hanse.service.held",
    "Host": "hanse.kernel.host",
    "Identity": "hanse.kernel.message",
    "Internal": "hanse.kernel.faults",
    "Invalid": "hanse.kernel.faults",
    "Leader": "hanse.service.cluster",
    "LeaseLost": "hanse.service.leases",
    "LeaseTaken": "hanse.service.leases",
    "Link": "hanse.contract.link",
    "Lock": "hanse.service.cluster",
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
    "Replica": "hanse.service.replica",
    "ReplicaBehind": "hanse.service.replica",
    "Request": "hanse.gateway.asgi",
    "Resource": "hanse.contract.model",
    "Response": "hanse.gateway.asgi",
    "Saga": "hanse.service.saga",
    "SagaAborted": "hanse.delivery.saga_machine",
    "SagaStuck": "hanse.delivery.saga_machine",
    "SagaUndone": "hanse.delivery.saga_machine",
    "Service": "hanse.service.service",
    "Settings": "hanse.kernel.settings",
    "Setup": "hanse.sim.setup",
    "Signed": "hanse.gateway.webhooks.verify",
    "Terminal": "hanse.delivery.retry",
    "TooLarge": "hanse.kernel.faults",
    "Unauthenticated": "hanse.kernel.faults",
    "Unavailable": "hanse.kernel.faults",
    "UnknownOperation": "hanse.kernel.faults",
    "Updated": "hanse.service.change",
    "World": "hanse.sim.world",
    "anyone": "hanse.contract.guard",
    "asgi": "hanse.gateway.embed",
    "authenticated": "hanse.contract.guard",
    "contains": "hanse.service.query",
    "cpu": "hanse.service.cpu",
    "cron": "hanse.service.reaction",
    "current": "hanse.kernel.context",
    "desc": "hanse.service.query",
    "every": "hanse.service.reaction",
    "expose": "hanse.service.expose",
    "holds": "hanse.service.query",
    "not_": "hanse.service.query",
    "on": "hanse.service.reaction",
    "one_of": "hanse.service.query",
    "policy": "hanse.mesh.client",
    "progress": "hanse.service.job",
    "replica": "hanse.service.replica",
    "rpc": "hanse.contract.declare",
    "rule": "hanse.service.reaction",
    "saga": "hanse.service.saga_method",
    "scope": "hanse.contract.guard",
    "send": "hanse.mesh.client",
    "simulate": "hanse.sim.simulation",
    "simulation": "hanse.sim.declare",
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
    "Cors",
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
    "Grant",
    "Guard",
    "Header",
    "Headers",
    "Held",
    "Host",
    "Identity",
    "Internal",
    "Invalid",
    "Leader",
    "LeaseLost",
    "LeaseTaken",
    "Link",
    "Lock",
    "Malformed",
    "Misconfigured",
    "Misdeclared",
    "Model",
    "Node",
    "NotFound",
    "Overloaded",
    "Page",
    "PreconditionFailed",
    "Rate",
    "Ready",
    "RemoteFault",
    "Replica",
    "ReplicaBehind",
    "Request",
    "Reset",
    "Resource",
    "Response",
    "Saga",
    "SagaAborted",
    "SagaStuck",
    "SagaUndone",
    "Service",
    "Settings",
    "Setup",
    "Signed",
    "Terminal",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
    "UnknownOperation",
    "Updated",
    "World",
    "anyone",
    "asgi",
    "authenticated",
    "contains",
    "cpu",
    "cron",
    "current",
    "desc",
    "every",
    "expose",
    "holds",
    "not_",
    "on",
    "one_of",
    "policy",
    "progress",
    "replica",
    "rpc",
    "rule",
    "saga",
    "scope",
    "send",
    "simulate",
    "simulation",
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
