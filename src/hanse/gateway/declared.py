"""What a gateway has been told to expose, before there is a node: it is built by `hanse.gateway.build`."""

from __future__ import annotations

import msgspec

from hanse.contract.derive import Description
from hanse.contract.model import Event, Resource, collection_of
from hanse.contract.openapi import OperationPath
from hanse.contract.openapi_rest import ResourcePath
from hanse.contract.openapi_topics import TopicPath
from hanse.gateway.cors import Cors
from hanse.gateway.files import Folder
from hanse.gateway.front_door import Identify
from hanse.gateway.mount import Mount
from hanse.gateway.own_route import OwnRoute
from hanse.gateway.rates import Rate
from hanse.gateway.webhooks.receive import Received


class Declared(msgspec.Struct, frozen=True):
    """All that a gateway exposes."""

    prefix: str
    resources: tuple[ResourcePath, ...]
    operations: tuple[OperationPath, ...]
    descriptions: tuple[Description, ...]
    folders: tuple[Folder, ...]
    identify: Identify | None
    own: tuple[OwnRoute, ...] = ()
    mounts: tuple[Mount, ...] = ()
    cors: Cors | None = None
    rates: tuple[Rate, ...] = ()
    topics: tuple[TopicPath, ...] = ()
    received: tuple[Received, ...] = ()
    sent: tuple[type[Event], ...] = ()
    docs: bool = True

    @property
    def paths(self) -> list[str]:
        """All paths that are answered by what is declared here, templates as they are."""
        resources = [item.path for item in self.resources]
        operations = [item.path for item in self.operations]
        others = [*(own.about.path for own in self.own), *(topic.path for topic in self.topics), *self.signed]
        return [*resources, *operations, *others, f"{self.prefix}/live"]

    @property
    def signed(self) -> frozenset[str]:
        """Paths at which who asks is known by a signature."""
        return frozenset(one.path for one in self.received)


def list_methods(resource: ResourcePath) -> tuple[str, ...]:
    """The methods of a list path. Where each row has to be named with its revision, rows are not deleted together."""
    if not resource.write:
        return ("GET", "QUERY")
    return ("GET", "QUERY", "POST") if resource.require_match else ("GET", "QUERY", "POST", "DELETE")


def row_methods(resource: ResourcePath) -> tuple[str, ...]:
    """The methods of one row's path."""
    return ("GET", "PUT", "PATCH", "DELETE") if resource.write else ("GET",)


def default_path(kind: type[Resource]) -> str:
    """Where a resource is exposed unless one says otherwise.

    Example:
        >>> class Order(Resource): ...
        >>> default_path(Order)
        '/orders'
    """
    return f"/{collection_of(kind)}"
