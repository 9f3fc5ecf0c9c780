"""What an OpenAPI document tells of the webhooks that are sent."""

from __future__ import annotations

from collections.abc import Mapping

from hanse.contract.schema import Json

_TEXT: Json = {"type": "string"}
_HEADERS = {
    "webhook-id": "Stays the same however often it is sent.",
    "webhook-timestamp": "Second of this attempt.",
    "webhook-signature": "`v1,` and the HMAC-SHA256 of `id.timestamp.body` in base64; several, with spaces between.",
}


def webhooks_of(schemas: Mapping[str, Json]) -> Json:
    """The section of the webhooks, by topic; nothing where none is sent.

    Args:
        schemas: Of the events, by topic.

    Example:
        >>> list(webhooks_of({"order_paid": {}})["webhooks"])
        ['order_paid']
    """
    return {"webhooks": {topic: {"post": _sent(topic, schema)} for topic, schema in schemas.items()}} if schemas else {}


def _sent(topic: str, schema: Json) -> Json:
    fields: Json = {
        "type": {"const": topic},
        "timestamp": {"type": "string", "format": "date-time"},
        "data": schema,
    }
    body: Json = {"type": "object", "properties": fields, "required": list(fields)}
    headers: list[Json] = [
        {"name": name, "in": "header", "required": True, "description": text, "schema": _TEXT}
        for name, text in _HEADERS.items()
    ]
    return {
        "operationId": f"webhook_{topic}",
        "summary": f"Sent to whoever subscribed to {topic}.",
        "parameters": headers,
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "2XX": {"description": "It was taken."},
            "410": {"description": "No more of this subscription is wanted."},
            "default": {"description": "It is sent again later."},
        },
    }
