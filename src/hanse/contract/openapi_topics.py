"""What an OpenAPI document tells of the events of a kind."""

from __future__ import annotations

import msgspec

from hanse.contract.cloud_events import CONTENT_TYPE, SPEC_VERSION
from hanse.contract.model import Event, topic_of
from hanse.contract.openapi_parts import answer_of, body_of, entry_of, parameter_of
from hanse.contract.openapi_shared import fields_of, filters_of
from hanse.contract.schema import Json


class TopicPath(msgspec.Struct, frozen=True):
    """A kind of event and where it is exposed.

    Attributes:
        kind: The exposed.
        path: Where its feed is.
        live: Whether the outside may follow it.
        emit: Whether the outside may emit it.
    """

    kind: type[Event]
    path: str
    live: bool = True
    emit: bool = False


def topic_paths(paths: dict[str, Json], exposed: TopicPath, schema: Json, definitions: Json) -> None:
    """Add the path of an event: its feed, and the way to emit one.

    Args:
        paths: Where it is added.
        exposed: The event.
        schema: Its schema.
        definitions: What the schema refers to.
    """
    topic = topic_of(exposed.kind)
    entry = paths.setdefault(exposed.path, {})
    if exposed.live:
        stream: Json = {"type": "string", "description": "Events in CloudEvents' JSON form; the id is the cursor."}
        answer: Json = {"description": "Events as they are told.", "content": {"text/event-stream": {"schema": stream}}}
        follow = entry_of(f"follow_{topic}", f"Each {topic} as it is told.", topic, {"200": answer})
        follow["parameters"] = [_LAST_ID, *following_of(exposed.kind, schema, definitions)]
        entry["get"] = follow
    if exposed.emit:
        told: Json = {"type": "object", "properties": {"id": {"type": "string"}, "type": {"type": "string"}}}
        content: Json = {"application/json": {"schema": schema}, CONTENT_TYPE: {"schema": _envelope(schema)}}
        answers: Json = {"202": answer_of("The event is kept, and will be told.", told)}
        body = {**body_of(schema), "content": content}
        entry["post"] = entry_of(f"emit_{topic}", f"Tell of {topic}.", topic, answers, body=body)


def following_of(kind: type[Event], schema: Json, definitions: Json) -> list[Json]:
    """What a query may ask of a feed of events: where it begins, and which of them are told."""
    return [_AFTER, *filters_of(kind, fields_of(schema, definitions), definitions, frozenset({"after"}))]


_CURSOR: Json = {"type": "string", "description": "The cursor to go on from; without one, the feed begins now."}
_AFTER = parameter_of("after", _CURSOR, required=False)
_LAST_ID = parameter_of("Last-Event-ID", _CURSOR, required=False, where="header")


def _envelope(schema: Json) -> Json:
    text: Json = {"type": "string", "minLength": 1}
    return {
        "type": "object",
        "properties": {
            "specversion": {"const": SPEC_VERSION},
            "id": text,
            "source": text,
            "type": text,
            "datacontenttype": {"const": "application/json"},
            "data": schema,
        },
        "required": ["specversion", "id", "source", "type", "data"],
    }
