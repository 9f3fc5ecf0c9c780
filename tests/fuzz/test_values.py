"""Values at the edges of their types, through every part that looks into them: codec, filters, orders, both stores."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from hanse.gateway.gateway import Gateway
from hanse.kernel.codec import codec_for
from hanse.kernel.faults import Invalid, Malformed
from hanse.kernel.settings import NodeSettings, Settings
from hanse.node.app import App
from hanse.node.node import Node

Value = Any
Ask = Callable[..., Any]

usual = settings(
    max_examples=150 * int(os.environ.get("HANSE_FUZZ_TIMES", "1")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

TEXTS = st.sampled_from(
    ["", "a", "A", "ä", "a\u0300", "\0", "a\0b", "null", "true", "1", "%", "_", "'", '"', "\u2028", "💥"]
)
INTEGERS = st.sampled_from([0, -1, 1, 2**31, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 2**63, 2**64 - 1, 2**64])
FLOATS = st.sampled_from([0.0, -0.0, 1.5, 1e308, -1e308, 5e-324, 2.0**53, 2.0**53 + 2, 9.3e18]) | INTEGERS
DECIMALS = st.sampled_from(
    ["0", "-0", "1", "1.0", "1.00", "0.1", "1e2", "100", "1e-400", "1e400", "1e999999", "-1e999999", "1e99999999"]
) | st.sampled_from(["NaN", "sNaN", "-NaN", "Infinity", "-Infinity", "inf", "9" * 50, "0." + "9" * 50, "1_0", " 1"])
MOMENTS = (
    st.sampled_from(
        ["2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00", "2026-01-01T00:00:00", "9999-12-31T23:59:59.999999Z"]
    )
    | st.sampled_from(
        ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "2026-02-30T00:00:00Z"]
    )
    | st.sampled_from(
        ["2026-01-01T24:00:00Z", "2016-12-31T23:59:60Z", "2026-01-01T00:00:00.123456789Z", "1969-12-31T23:59:59.9Z"]
    )
)
SPANS = st.sampled_from(
    ["PT1S", "PT0S", "-PT1S", "P1D", "PT86400S", "P999999999D", "-P999999999D", "P9999999999D", "PT0.1S"]
)
DAYS = st.sampled_from(["2026-01-01", "0001-01-01", "9999-12-31", "2026-02-30", "10000-01-01"])
HOURS = st.sampled_from(["12:00:00", "23:59:59.999999", "24:00:00", "12:00:00Z", "12:00:00+14:00", "00:00:00-14:00"])
FIELDS: dict[str, st.SearchStrategy[Value]] = {
    "name": TEXTS,
    "count": INTEGERS,
    "share": FLOATS,
    "price": DECIMALS | INTEGERS,
    "at": MOMENTS,
    "day": DAYS,
    "hour": HOURS,
    "lasts": SPANS,
    "note": TEXTS | st.none(),
    "either": INTEGERS | TEXTS,
    "tags": st.lists(TEXTS, max_size=3),
    "labels": st.dictionaries(TEXTS, INTEGERS, max_size=2),
    "uuid": st.sampled_from([None, "0" * 32, "00000000-0000-0000-0000-000000000000", "x", "F" * 32]),
    "blob": st.sampled_from(["", "YQ==", "YQ", "-_-_", "a"]),
    "parts": st.lists(st.fixed_dictionaries({"name": TEXTS, "weight": FLOATS | st.none()}), max_size=2),
}
ROWS = st.fixed_dictionaries({"name": TEXTS}, optional={name: kind for name, kind in FIELDS.items() if name != "name"})
OPERATORS = ["", "[ne]", "[gt]", "[gte]", "[lt]", "[lte]", "[in]", "[contains]", "[starts]", "[ends]"]


@st.composite
def queries(draw: st.DrawFn) -> str:
    """A few filters, by values at the edges too, and an order."""
    pairs: list[tuple[str, str]] = []
    for name in draw(st.lists(st.sampled_from(sorted(FIELDS)), max_size=2)):
        value = draw(FIELDS[name])
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        pairs.append((name + draw(st.sampled_from(OPERATORS)), text))
    order = draw(st.lists(st.sampled_from([*FIELDS, *(f"-{name}" for name in FIELDS)]), max_size=2))
    return urlencode([*pairs, *([("sort", ",".join(order))] if order else [])])


@pytest.fixture
async def both(tmp_path: Path, things: type[Any], thing: type[Any]) -> AsyncIterator[list[Ask]]:
    """The same gateway over rows in memory, and over rows in SQLite."""
    async with (
        Node(App("things", things)) as near,
        Node(App("things", things), Settings(node=NodeSettings(store=f"sqlite:///{tmp_path}"))) as far,
    ):
        yield [asking(Gateway().resources(thing).rpc(things).asgi(node)) for node in (near, far)]


def asking(app: Value) -> Ask:
    async def ask(method: str, path: str, body: bytes = b"", *more: tuple[bytes, bytes]) -> tuple[int, Value]:
        raw, _, query = path.partition("?")
        sent: list[Value] = []

        async def receive() -> Value:
            return (
                {"type": "http.request", "body": body, "more_body": False} if not sent else {"type": "http.disconnect"}
            )

        async def send(event: Value) -> None:
            sent.append(event)

        headers = [(b"content-type", b"application/json"), *more]
        scope = {"type": "http", "method": method, "path": raw, "raw_path": raw.encode(), "headers": headers}
        await app({**scope, "query_string": query.encode()}, receive, send)
        told = b"".join(event.get("body", b"") for event in sent[1:])
        return sent[0]["status"], msgspec.json.decode(told) if told else None

    return ask


@usual
@given(rows=st.lists(ROWS, min_size=1, max_size=4), asked=st.lists(queries(), min_size=1, max_size=3))
async def test_values_at_the_edges_are_the_same_in_every_store(
    both: list[Ask], rows: list[Value], asked: list[str]
) -> None:
    for number in range(4):
        for ask in both:
            await ask("DELETE", f"/things/{number}")
    for number, row in enumerate(rows):
        body = msgspec.json.encode(row)
        statuses = [(await ask("PUT", f"/things/{number}", body))[0] for ask in both]
        assert statuses[0] == statuses[1], row
        assert statuses[0] < 500, row
    for query in asked:
        (status, near), (other, far) = [await ask("GET", f"/things?{query}") for ask in both]
        assert status == other, (query, near.get("detail"), far.get("detail"))
        assert status < 500, query
        if status == 200:
            assert [row["id"] for row in near["items"]] == [row["id"] for row in far["items"]], query


def packed(row: Value) -> bytes:
    try:
        return msgspec.msgpack.encode(row)
    except OverflowError:
        return b""


@usual
@given(data=st.binary(max_size=200) | ROWS.map(msgspec.json.encode) | ROWS.map(packed))
def test_no_bytes_do_more_than_not_decode(thing: type[Any], data: bytes) -> None:
    codec = codec_for(thing)
    for decode in (codec.decode, codec.decode_json):
        with suppress(Malformed, Invalid):
            value = decode(data)
            assert "NaN" in repr(value) or codec.decode_json(codec.encode_json(value)) == value


@usual
@given(row=ROWS)
async def test_no_value_of_an_argument_fails_inside(both: list[Ask], row: Value) -> None:
    for path, body in (("/rpc/things/echo", {"thing": row}), ("/rpc/things/anything", {"value": row})):
        status, told = await both[0]("POST", path, msgspec.json.encode(body))
        assert status < 500, told


@usual
@given(after=TEXTS | st.text(max_size=10), snapshot=TEXTS | st.sampled_from(["true", "false"]), query=queries())
async def test_no_parameter_of_a_stream_fails_inside(both: list[Ask], after: str, snapshot: str, query: str) -> None:
    more = urlencode({"after": after, "snapshot": snapshot})
    cursor = after.encode(errors="replace").decode("latin-1").encode("latin-1")
    for headers in ([], [(b"last-event-id", cursor)]):
        status, _ = await asked_for_a_stream(both[0], f"/things?{query}&{more}", headers)
        assert status < 500


async def asked_for_a_stream(ask: Ask, path: str, headers: list[tuple[bytes, bytes]]) -> tuple[int, Value]:
    try:
        told: tuple[int, Value] = await ask("GET", path, b"", (b"accept", b"text/event-stream"), *headers)
    except msgspec.DecodeError:
        return 200, None  # a stream is no JSON
    return told
