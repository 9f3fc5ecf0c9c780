"""Whatever strangers send, they are told what is wrong with it, and nothing fails inside."""

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

# What the fixtures give is defined in conftest.py, which cannot be imported.
Door = Any

pytestmark = pytest.mark.virtual_time

hostile = settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])

METHODS = st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "x"])
PLACES = [
    "/",
    "/orders",
    "/orders/1",
    "/orders/%ff",
    "/stock/tea",
    "/rpc/shop/reserve",
    "/rpc/shop/who",
    "/live",
    "//",
    "/%00",
]
PATHS = st.sampled_from(PLACES) | st.text(st.characters(codec="ascii", exclude_characters="?#"), max_size=20).map(
    "/{}".format
)
FILTERS = st.sampled_from(
    ["sku", "count", "at", "tags", "amount", "labels.x", "address.city", "limit", "cursor", "sort", "total"]
)
OPERATORS = st.sampled_from(["", "[gt]", "[in]", "[contains]", "[ne]", "[x]", "[", "[]"])
VALUES = st.sampled_from(
    ["", "1", "-1", "tea", "null", "true", "2026-01-01T00:00:00Z", "1e999", "%00", "%ff", "9" * 40, "-id", "nan"]
)
PAIRS = st.builds("{}{}={}".format, FILTERS, OPERATORS, VALUES)
QUERIES = st.lists(PAIRS, max_size=4).map("&".join)
FIELDS = st.sampled_from(["sku", "count", "amount", "tags", "labels", "address", "at", "id", "rev", "status", "upto"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS | st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)
BODIES = st.binary(max_size=30) | JSON.map(msgspec.json.encode)
HEADERS = st.dictionaries(
    st.sampled_from(
        [
            "if_match",
            "if_none_match",
            "traceparent",
            "baggage",
            "idempotency_key",
            "content_type",
            "origin",
            "content_length",
            "x_request_id",
            "accept",
        ]
    ),
    st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=20)
    | st.sampled_from(["*", '"1"', "application/json", "a=b,c", "7"]),
    max_size=4,
)


@hostile
@given(method=METHODS, path=PATHS, query=QUERIES, body=BODIES, headers=HEADERS)
async def test_no_request_fails_inside(
    door: Door, method: str, path: str, query: str, body: bytes, headers: dict[str, str]
) -> None:
    answer = await door(method, f"{path}?{query}", body or None, **headers)

    assert answer.status < 500 or answer.status == 501
    if answer.status >= 400 and method != "HEAD":
        assert answer.json["status"] == answer.status
        assert answer.json["code"]


OPS = st.sampled_from(["create", "get", "list", "put", "patch", "delete", "call", "unsubscribe", "subscribe", "x"])
ASKS = st.fixed_dictionaries(
    {"op": OPS, "id": st.integers(0, 3) | st.none() | st.text(max_size=2)},
    optional={
        "collection": st.just("orders") | JSON,
        "key": st.just("1") | JSON,
        "value": JSON,
        "where": JSON,
        "rev": JSON,
        "limit": JSON,
        "sort": st.sampled_from(["sku", "-x", "tags"]) | JSON,
        "service": st.just("shop"),
        "operation": st.sampled_from(["reserve", "who", "rob"]),
        "arguments": JSON,
        "after": st.sampled_from(["", "x", "x.1"]) | JSON,
        "snapshot": st.booleans(),
    },
)


@hostile
@given(ask=ASKS | JSON)
async def test_no_message_fails_inside(door: Door, ask: object) -> None:
    wire = await door.socket()
    await wire.say(ask)
    told = await wire.hear()
    wire.leave("websocket")
    await wire.ended.wait()

    assert told.get("error", {}).get("status", 0) < 500
