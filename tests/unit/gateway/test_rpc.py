"""Operations over HTTP, by their address and by routes of their own."""

from typing import Any

import msgspec
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from hanse.gateway.gateway import Gateway
from hanse.kernel.faults import Unauthenticated
from hanse.kernel.message import Identity
from hanse.kernel.telemetry import Tracer
from hanse.service.service import Service

# What the fixtures give is defined in conftest.py, which cannot be imported.
Door = Any
Opened = Any
Value = Any

pytestmark = pytest.mark.virtual_time

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def test_a_declared_fault_arrives_as_its_problem(door: Door) -> None:
    answer = await door("POST", "/rpc/shop/reserve", {"sku": "tea"}, traceparent=TRACE)

    assert answer.status == 409
    assert answer.json["code"] == "out_of_stock"
    assert answer.json["detail"] == "only 2 of tea left"
    assert answer.json["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"


async def test_what_nobody_expected_is_told_without_its_cause(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    answer = await door("POST", "/rpc/shop/crash", {})

    assert answer.status == 500
    assert "secret" not in answer.body.decode()
    assert "Traceback" not in answer.body.decode()
    assert answer.json["detail"].split()[-1] in caplog.text


async def test_wrong_arguments_are_listed(door: Door) -> None:
    answer = await door("POST", "/rpc/shop/reserve", {"count": "many"})

    assert answer.status == 422
    assert {(error["pointer"], error["code"]) for error in answer.json["errors"]} == {
        ("/sku", "missing"),
        ("/count", "type"),
    }


@pytest.mark.parametrize("body", [b"[]", b"7", b'"text"'])
async def test_arguments_are_an_object(door: Door, body: bytes) -> None:
    assert (await door("POST", "/rpc/shop/reserve", body)).status == 422
    assert (await door("POST", "/stock/tea", body)).status == 422


@pytest.mark.parametrize("body", [b"{", b"[" * 100_000, b"\xff"])
async def test_what_is_no_json_is_malformed(door: Door, body: bytes) -> None:
    assert (await door("POST", "/rpc/shop/reserve", body)).status == 400
    assert (await door("POST", "/stock/tea", body)).status == 400


async def test_an_operation_answers_with_json(door: Door) -> None:
    assert (await door("POST", "/rpc/shop/reserve", {"sku": "rum"})).json == {"rum": 1}
    assert (await door("POST", "/rpc/shop/nap", {"seconds": 0})).json == "rested"


async def test_no_body_stands_for_no_arguments(door: Door) -> None:
    assert (await door("POST", "/rpc/shop/who")).json["who"] == ""


@pytest.mark.parametrize("path", ["/rpc/shop/reserve", "/stock/tea"])
async def test_arguments_that_do_not_exist_are_listed(door: Door, path: str) -> None:
    given = {"sku": "rum", "count": 2, "cuont": 3, "a/b": None}
    answer = await door("POST", path, given)
    lenient = await door("POST", path, given, prefer="handling=lenient")

    assert (answer.status, lenient.status) == (422, 200)
    assert [(error["pointer"], error["code"], error["detail"]) for error in answer.json["errors"]] == [
        (pointer, "unknown_field", "expected one of sku, count") for pointer in ("/cuont", "/a~1b")
    ]


async def test_an_unknown_operation_is_not_there(door: Door) -> None:
    assert (await door("POST", "/rpc/shop/rob", {})).status == 404
    assert (await door("GET", "/rpc/shop/who")).headers["allow"] == "OPTIONS, POST"


async def test_a_call_that_takes_too_long_ends(door: Door) -> None:
    answer = await door("POST", "/rpc/shop/nap", {"seconds": 60})

    assert (answer.status, answer.json["code"]) == (504, "deadline_exceeded")


async def test_the_guard_of_an_operation_holds(door: Door) -> None:
    answer = await door("POST", "/rpc/shop/close", {})

    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")


async def test_the_gateway_says_who_is_asking(opened: Opened, shop: type[Service]) -> None:
    async def identify(headers: Value) -> Identity:
        if "x-key" not in headers:
            raise Unauthenticated
        return Identity(subject=headers["x-key"])

    door = opened(Gateway(identify=identify).rpc(shop))

    assert (await door("POST", "/rpc/shop/who", {})).status == 401
    assert (await door("POST", "/rpc/shop/who", {}, x_key="ada")).json["who"] == "ada"
    assert (await door("POST", "/rpc/shop/close", {}, x_key="ada")).status == 403


async def test_a_gateway_that_cannot_tell_who_asks_says_no_more(
    opened: Opened, shop: type[Service], caplog: pytest.LogCaptureFixture
) -> None:
    async def identify(headers: object) -> Identity:
        raise ConnectionError("secret")

    answer = await opened(Gateway(identify=identify).rpc(shop))("POST", "/rpc/shop/who", {})

    assert (answer.status, answer.json["code"]) == (500, "internal")
    assert "secret" not in answer.json["detail"]
    assert "secret" in caplog.text


async def test_a_recorded_request_is_a_span_of_its_route(door: Door) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    door.app.tracer = Tracer(provider)
    answer = await door("GET", "/stock/tea", traceparent=TRACE)
    await door("POST", "/rpc/shop/reserve", {"sku": "tea"})
    read, failed = exporter.get_finished_spans()

    assert answer.status == 200
    assert (read.name, read.context.trace_id) == ("GET /stock/{sku}", int(TRACE[3:35], 16))
    assert failed.attributes is not None
    assert failed.attributes["error.type"] == "out_of_stock"
    provider.shutdown()


async def test_who_leaves_amid_a_body_is_not_answered(door: Door) -> None:
    wire = door.open("/orders", method="POST")
    wire.sent.get_nowait()
    wire.leave()
    await wire.ended.wait()

    assert wire.came.empty()


async def test_trace_and_tags_reach_the_operation(door: Door) -> None:
    answer = await door("POST", "/rpc/shop/who", {}, traceparent=TRACE, baggage="booking=A%201")

    assert answer.json == {"who": "", "trace": TRACE, "booking": "A 1"}


async def test_the_id_of_a_request_is_echoed_or_made(door: Door) -> None:
    assert (await door("POST", "/rpc/shop/who", {}, x_request_id="mine")).headers["x-request-id"] == "mine"
    assert len((await door("POST", "/rpc/shop/who", {}, x_request_id="two words")).headers["x-request-id"]) == 32
    assert len((await door("POST", "/rpc/shop/who", {}, traceparent=TRACE)).headers["x-request-id"]) == 36


async def test_a_route_takes_arguments_from_path_and_query(door: Door) -> None:
    answer = await door("GET", "/stock/green%20tea?at_least=3&colors=red&colors=blue&note=7")

    assert answer.json == {"sku": "green tea", "at_least": 3, "colors": ["red", "blue"], "note": "7"}


async def test_a_wrong_parameter_is_named(door: Door) -> None:
    assert (await door("GET", "/stock/tea?at_least=some")).json["errors"][0]["pointer"] == "/at_least"
    assert "at_least" in (await door("GET", "/stock/tea?size=3")).json["errors"][0]["detail"]
    [twice] = (await door("GET", "/stock/tea?at_least=3&at_least=3")).json["errors"]
    assert twice == {"pointer": "/at_least", "code": "choice", "detail": "expected one at_least, got several"}


async def test_a_route_takes_the_rest_from_the_body(door: Door) -> None:
    assert (await door("POST", "/stock/tea", {"count": 3})).json == 3
    assert (await door("POST", "/stock/tea?count=3")).json == 3
    assert (await door("POST", "/stock/tea", {"count": "3"})).status == 422


async def test_a_stream_answers_line_by_line(door: Door) -> None:
    answer = await door("GET", "/count/2")

    assert answer.headers["content-type"] == "application/jsonl"
    assert answer.body == b"0\n1\n"


async def test_a_stream_answers_with_events(door: Door) -> None:
    answer = await door("POST", "/rpc/shop/counting", {"upto": 1}, accept="text/event-stream")

    assert answer.body == b"retry: 1000\n\ndata: 0\n\nevent: end\ndata: {}\n\n"


async def test_a_stream_that_fails_tells_why(door: Door) -> None:
    lines = (await door("GET", "/count/3")).body.splitlines()

    assert msgspec.json.decode(lines[-1])["error"]["code"] == "out_of_stock"
    assert b"event: fault" in (await door("GET", "/count/3", accept="text/event-stream")).body


async def test_many_wrong_parameters_are_not_all_listed(door: Door) -> None:
    answer = await door("GET", "/stock/tea?" + "&".join(f"x{n}=1" for n in range(500)))

    assert len(answer.json["errors"]) == 100


async def test_a_stream_of_wrong_arguments_fails_with_a_status(door: Door) -> None:
    assert (await door("GET", "/count/many")).status == 422


async def test_a_fault_that_the_contract_lists_tells_what_it_carries(door: Door) -> None:
    answer = await door("POST", "/rpc/shop/reserve", {"sku": "tea"})

    assert (answer.status, answer.json["code"]) == (409, "out_of_stock")
    assert answer.json["fields"] == {"sku": "tea", "left": 2}


async def test_a_fault_that_no_contract_lists_tells_its_text_only(door: Door) -> None:
    assert "fields" not in (await door("GET", "/orders/none")).json


async def test_a_fault_amid_a_stream_tells_what_it_carries_too(door: Door) -> None:
    lines = (await door("GET", "/count/3")).body.splitlines()

    assert msgspec.json.decode(lines[-1])["error"]["fields"] == {"sku": "numbers", "left": 0}
