"""AsyncAPI 3.0 of what a gateway tells by itself: changes of rows, the conversation over `/live`, events. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import msgspec

from hanse.contract.cloud_events import CHANGES, CONTENT_TYPE, SPEC_VERSION, change_type, event_type, source_of
from hanse.contract.model import Event, collection_of
from hanse.contract.openapi import Exposed
from hanse.contract.openapi_finish import with_prose
from hanse.contract.openapi_rest import ResourcePath
from hanse.contract.openapi_topics import following_of
from hanse.contract.prose import prose_of
from hanse.contract.schema import Json, schemas_of

_AT = "#/components/schemas/{name}"
_REF = "#/components/messages/"
_TEXT: Json = {"type": "string"}
_CURSOR: Json = {"type": "string", "description": "Where to go on from after this."}
_AT_TIME: Json = {"type": "string", "format": "date-time", "description": "When it was changed."}
_TOLD = ("snapshot", *CHANGES)


class EventPath(msgspec.Struct, frozen=True):
    """An event, who emits it, and where the outside meets it.

    Attributes:
        kind: The event.
        service: Whose contract lists it.
        path: Where it is followed or emitted over HTTP; None where it is heard inside the app only.
        emit: Whether the outside may emit it.
        live: Whether the outside may follow it.
    """

    kind: type[Event]
    service: str
    path: str | None = None
    emit: bool = False
    live: bool = False


class Talk(msgspec.Struct, frozen=True):
    """The conversation over a WebSocket, as the types of its messages.

    Attributes:
        asks: What a client may say.
        tells: What it is told.
    """

    asks: tuple[type[msgspec.Struct], ...]
    tells: tuple[type[msgspec.Struct], ...]


def asyncapi(exposed: Exposed, talk: Talk | None, events: Sequence[EventPath], *, root: str = "") -> Json:
    """The AsyncAPI 3.0 document of what is exposed. The same exposure gives the same document, byte for byte.

    Args:
        exposed: What it tells of.
        talk: The messages over `/live`; None where there is no such thing.
        events: Events that contracts list.
        root: Path that the whole application is mounted at.

    Example:
        >>> asyncapi(Exposed("shop"), None, [])["info"]
        {'title': 'shop', 'version': '1'}
    """
    live = [resource for resource in exposed.resources if resource.live]
    said = (*talk.asks, *talk.tells) if talk is not None else ()
    kinds = [*(one.kind for one in live), *(one.kind for one in events), *said]
    schemas, definitions = schemas_of(kinds, at=_AT)
    with_prose(definitions)
    taken = iter(schemas)
    messages: Json = {}
    channels: Json = {}
    operations: Json = {}
    for resource in live:
        _follow(resource, exposed.title, next(taken), (channels, operations, messages))
    for event in events:
        _event(event, exposed.title, (next(taken), definitions), (channels, operations, messages))
    if talk is not None:
        schemas_by_kind = dict(zip(said, taken, strict=True))
        _converse(f"{exposed.prefix}/live", talk, schemas_by_kind, (channels, operations, messages))
    for channel in cast("dict[str, Json]", channels).values():
        if root and channel["address"] is not None:
            channel["address"] = f"{root}{channel['address']}"
    alone = exposed.descriptions[0] if len(exposed.descriptions) == 1 else None
    return {
        "asyncapi": "3.0.0",
        "info": {"title": exposed.title, "version": alone.version if alone else "1"},
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": cast("Json", _draft_7(definitions))},
    }


Into = tuple[Json, Json, Json]
"""Channels, operations and messages, to be added to."""


def _follow(resource: ResourcePath, app: str, row: Json, into: Into) -> None:
    """The event stream of a collection."""
    channels, operations, messages = into
    name = collection_of(resource.kind)
    told = {change: f"{name}_{change}" for change in (*_TOLD, "ready", "reset")}
    for change in _TOLD:
        messages[told[change]] = _change(resource, app, change, row)
    ready: Json = {"type": "object", "properties": {"cursor": _CURSOR}, "required": ["cursor"]}
    messages[told["ready"]] = _message("ready", "All that is there has been told; from now on it is news.", ready)
    messages[told["reset"]] = _message("reset", "Forget what you had: a new snapshot comes.", {"type": "object"})
    channels[name] = {
        "address": resource.path,
        "title": f"Changes of {name}",
        "description": (
            f"{prose_of(resource.kind.__doc__ or '').summary} GET with `Accept: text/event-stream`; `event:` names the "
            "message, `id:` is the cursor; `Last-Event-ID` or `?after=` goes on from one. Filters as of the list."
        ).strip(),
        "messages": {change: {"$ref": _REF + message} for change, message in told.items()},
        "bindings": {"http": {"bindingVersion": "0.3.0"}},
    }
    operations[f"follow_{name}"] = _operation("send", name, f"Follow {name} over Server-Sent Events.")


def _change(resource: ResourcePath, app: str, change: str, row: Json) -> Json:
    gone = change == "deleted"
    properties: Json = {
        "key": {**_TEXT, "description": "Id of the row."},
        "rev": {"type": "integer", "description": "Its revision."},
        "value": {"type": "null"} if gone else row,
        **({"before": row} if change in {"updated", "deleted"} else {}),
        **({} if change == "snapshot" else {"at": _AT_TIME, "cursor": _CURSOR}),
    }
    words = {"snapshot": "is there", "created": "was made", "updated": "was changed", "deleted": "is gone"}
    schema: Json = {"type": "object", "properties": properties, "required": ["key", "rev", "value"]}
    message = _message(change, f"A row {words[change]}.", schema)
    if change in CHANGES:
        message["x-hanse-event-type"] = change_type(app, resource.kind, change)
    return message


def _event(event: EventPath, app: str, schemas: tuple[Json, Json], into: Into) -> None:
    """An event as CloudEvents in JSON: its schema, and what that refers to."""
    channels, operations, messages = into
    data, definitions = schemas
    name = event_type(app, event.kind)
    properties: Json = {
        "specversion": {"const": SPEC_VERSION},
        "id": {**_TEXT, "description": "A UUIDv7; the same event has the same."},
        "source": {"const": source_of(app, event.service)},
        "type": {"const": name},
        "subject": {**_TEXT, "description": "What it is in order with."},
        "time": {"type": "string", "format": "date-time"},
        "datacontenttype": {"const": "application/json"},
        "data": data,
        "traceparent": _TEXT,
        "sequence": _TEXT,
        "correlationid": _TEXT,
        "causationid": _TEXT,
    }
    schema: Json = {"type": "object", "properties": properties, "required": ["specversion", "id", "source", "type"]}
    told = prose_of(event.kind.__doc__ or "").summary or f"The event {name}."
    messages[name] = {**_message(name, told, schema), "contentType": CONTENT_TYPE}
    where = {} if event.path else {"description": "Heard inside the app; the outside does not reach it."}
    channels[name] = {"address": event.path, "title": told, **where, "messages": {"event": {"$ref": _REF + name}}}
    if event.emit:
        operations[name] = _operation("receive", name, f"Emit {name}.")
    if event.live or not event.emit:
        hear = _operation("send", name, f"Hear of {name}.")
        asked = following_of(event.kind, data, definitions) if event.live else []
        operations[f"follow_{name}" if event.emit else name] = {**hear, **_asked(asked)}


def _asked(parameters: Sequence[Json]) -> Json:
    """What a GET of the channel's address may ask."""
    if not parameters:
        return {}
    told: dict[str, Json] = {}
    for one in parameters:
        said = {"description": one["description"]} if "description" in one else {}
        told[cast("str", one["name"])] = {**cast("Json", one["schema"]), **said}
    query = _draft_7({"type": "object", "properties": told, "additionalProperties": False})
    return {"bindings": {"http": {"method": "GET", "query": query, "bindingVersion": "0.3.0"}}}


def _converse(path: str, talk: Talk, schemas: Mapping[type[msgspec.Struct], Json], into: Into) -> None:
    """The WebSocket: what a client asks, and what it is told."""
    channels, operations, messages = into
    for kind, schema in schemas.items():
        messages[_live(kind)] = _message(kind.__name__.lower(), prose_of(kind.__doc__ or "").summary, schema)
    asked, told = [_live(kind) for kind in talk.asks], [_live(kind) for kind in talk.tells]
    channels["live"] = {
        "address": path,
        "title": "Everything over one WebSocket",
        "description": "One JSON object a message; each is answered under the id that the client chose.",
        "messages": {name: {"$ref": _REF + name} for name in (*asked, *told)},
        "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
    }
    reply = {"channel": {"$ref": "#/channels/live"}, "messages": _chosen("live", told)}
    operations["ask"] = {**_operation("receive", "live", "Subscribe, call, read and write.", asked), "reply": reply}
    operations["tell"] = _operation("send", "live", "Tell of changes, results and errors.", told)


def _live(kind: type[msgspec.Struct]) -> str:
    return f"live_{kind.__name__.lower()}"


def _operation(action: str, channel: str, summary: str, messages: Iterable[str] = ()) -> Json:
    chosen = _chosen(channel, messages)
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": summary,
        **({"messages": chosen} if chosen else {}),
    }


def _chosen(channel: str, messages: Iterable[str]) -> list[Json]:
    return [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in messages]


def _message(name: str, summary: str, payload: Json) -> Json:
    return {"name": name, "summary": summary, "payload": _draft_7(payload)}


def _draft_7(value: object) -> object:
    """A schema in the draft that AsyncAPI speaks: arrays of fixed items are written otherwise there."""
    if isinstance(value, list):
        return [_draft_7(item) for item in cast("list[object]", value)]
    if not isinstance(value, dict):
        return value
    node = {name: _draft_7(item) for name, item in cast("Json", value).items()}
    if isinstance(first := node.get("prefixItems"), list) and "type" in node:
        rest = node.get("items", True)
        del node["prefixItems"]
        node |= {"items": cast("list[object]", first), "additionalItems": rest}
    return node
