"""Names of events as the outside hears them: CloudEvents 1.0.2 types. One place, for documents and for the wire."""

from __future__ import annotations

from typing import Literal

from hanse.contract.model import Event, Resource, topic_of, version_of

SPEC_VERSION = "1.0"
CONTENT_TYPE = "application/cloudevents+json"
CHANGES: tuple[Literal["created", "updated", "deleted"], ...] = ("created", "updated", "deleted")
"""What happens to rows."""


def event_type(app: str, kind: type[Event]) -> str:
    """The type of an event that a service emits.

    Args:
        app: Name of the app.
        kind: The event.

    Example:
        >>> class OrderPlaced(Event, version=2): ...
        >>> event_type("shop", OrderPlaced)
        'shop.order_placed.v2'
    """
    return f"{app}.{topic_of(kind)}.v{version_of(kind)}"


def change_type(app: str, kind: type[Resource], change: Literal["created", "updated", "deleted"]) -> str:
    """The type of the event that tells of a row's change.

    Args:
        app: Name of the app.
        kind: The resource.
        change: What happened to the row.

    Example:
        >>> class Order(Resource): ...
        >>> change_type("shop", Order, "created")
        'shop.order.created.v1'
    """
    return f"{app}.{topic_of(kind)}.{change}.v{version_of(kind)}"


def source_of(app: str, service: str) -> str:
    """Who tells: a URI reference that names the service within its app.

    Example:
        >>> source_of("shop", "orders")
        '/shop/orders'
    """
    return f"/{app}/{service}"
