"""Others find our services on NATS and call them: by nats-py, which knows nothing of us."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import jsonschema
import msgspec
import nats
import nats.errors
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.micro.service import ServiceInfo, ServicePing, ServiceStats

from hanse import App, Fault, Model, Node, Service, current, rpc
from hanse.kernel.host import Host
from hanse.node.described import described
from hanse.service.service import descriptions_of
from hanse.testing.transport_things import Things
from hanse.transport.nats.login import Options
from hanse.transport.nats.transport import NatsTransport

from .server import Server

_apps = map("services-%d".__mod__, itertools.count(1))
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ANSWER_SECONDS = 60.0


class OutOfStock(Fault, status=409, detail="no {sku} left\r\nNats-Service-Error-Code: 200"):
    sku: str


class Tea(Model):
    sku: str
    grams: float


class Shelf(Service):
    """Keeps tea."""

    @rpc(faults=(OutOfStock,))
    async def take(self, sku: str, grams: float = 50.0) -> Tea:
        """Take some tea."""
        if sku == "none":
            raise OutOfStock(sku)
        return Tea(sku=sku, grams=grams)

    @rpc
    async def trace(self) -> str:
        return current().headers.traceparent

    @rpc
    async def fill(self, size: int) -> str:
        return "x" * size

    @rpc
    async def all(self) -> AsyncIterator[int]:
        yield 1


class Reached:
    """A node that serves the shelf, and a client of others."""

    def __init__(self, node: NatsTransport, client: Client, app: str) -> None:
        self.node = node
        self.client = client
        self.app = app

    async def ask(self, subject: str, body: object = None, headers: dict[str, str] | None = None) -> Msg:
        payload = b"" if body is None else json.dumps(body).encode()
        return await self.client.request(subject, payload, timeout=ANSWER_SECONDS, headers=headers)

    async def call(self, operation: str, body: object = None, headers: dict[str, str] | None = None) -> Msg:
        return await self.ask(f"hanse.{self.app}.json.shelf.{operation}", body, headers)

    async def told(self, subject: str) -> dict[str, Any]:
        return cast("dict[str, Any]", json.loads((await self.ask(subject)).data))


@asynccontextmanager
async def reached(server: Server) -> AsyncGenerator[Reached]:
    app = next(_apps)
    transport = NatsTransport(server.url, Host.system(), Options(app=app))
    async with Node(App(app, Shelf), transport=transport):
        await transport.flush()
        client = await nats.connect(server.url)
        try:
            yield Reached(transport, client, app)
        finally:
            await client.close()


async def test_a_ping_is_answered_by_each_instance_in_three_ways(server: Server) -> None:
    async with reached(server) as shelf:
        ping = ServicePing.from_dict(await shelf.told("$SRV.PING"))
        assert (ping.name, ping.version, ping.type) == ("shelf", "1.0.0", "io.nats.micro.v1.ping_response")
        assert ping.metadata["app"] == shelf.app
        for subject in ("$SRV.PING.shelf", f"$SRV.PING.shelf.{ping.id}"):
            assert ServicePing.from_dict(await shelf.told(subject)) == ping


async def test_operations_are_told_with_schemas_that_hold(server: Server) -> None:
    async with reached(server) as shelf:
        told = await shelf.told("$SRV.INFO.shelf")
        info = ServiceInfo.from_dict(told)
        assert info.description == "Keeps tea."
        endpoints = {endpoint.name: endpoint for endpoint in info.endpoints}
        assert set(endpoints) == {"take", "trace", "fill"}
        assert endpoints["take"].subject == f"hanse.{shelf.app}.json.shelf.take"
        metadata = endpoints["take"].metadata
        assert metadata is not None
        assert metadata["description"] == "Take some tea."
        arguments, answer = {"sku": "green"}, json.loads((await shelf.call("take", {"sku": "green"})).data)
        assert answer == {"sku": "green", "grams": 50.0}
        jsonschema.validate(arguments, json.loads(metadata["request_schema"]))
        jsonschema.validate(answer, json.loads(metadata["response_schema"]))
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"grams": 1}, json.loads(metadata["request_schema"]))


async def test_faults_are_headers_on_one_line_and_a_body(server: Server) -> None:
    async with reached(server) as shelf:
        answer = await shelf.call("take", {"sku": "none"})
        assert answer.headers is not None
        assert answer.headers["Nats-Service-Error-Code"] == "409"
        assert answer.headers["Nats-Service-Error"] == "no none left Nats-Service-Error-Code: 200"
        assert json.loads(answer.data)["code"] == "out_of_stock"
        assert json.loads(answer.data)["fields"] == {"sku": "none"}


@pytest.mark.parametrize("body", [{}, {"sku": 7}, {"sku": "green", "grams": "many"}, [1], "x"])
async def test_what_does_not_validate_never_reaches_a_handler(server: Server, body: object) -> None:
    async with reached(server) as shelf:
        answer = await shelf.call("take", body)
        assert answer.headers is not None
        assert answer.headers["Nats-Service-Error-Code"] in {"400", "422"}


async def test_what_is_no_json_is_refused(server: Server) -> None:
    async with reached(server) as shelf:
        answer = await shelf.client.request(f"hanse.{shelf.app}.json.shelf.take", b"\xff{", timeout=ANSWER_SECONDS)
        assert answer.headers is not None
        assert answer.headers["Nats-Service-Error-Code"] == "400"


async def test_a_trace_goes_on_and_nonsense_does_not(server: Server) -> None:
    async with reached(server) as shelf:
        assert json.loads((await shelf.call("trace", {}, {"Traceparent": TRACE})).data) == TRACE
        assert json.loads((await shelf.call("trace", None, {"traceparent": "nonsense"})).data) != "nonsense"


async def test_an_answer_that_is_too_large_is_refused(server: Server) -> None:
    async with reached(server) as shelf:
        answer = await shelf.call("fill", {"size": 1_048_576})
        assert answer.headers is not None
        assert answer.headers["Nats-Service-Error-Code"] == "413"


async def test_what_was_asked_is_counted(server: Server) -> None:
    async with reached(server) as shelf:
        for sku in ("green", "none", "black"):
            await shelf.call("take", {"sku": sku})
        stats = ServiceStats.from_dict(await shelf.told("$SRV.STATS.shelf"))
        take = next(endpoint for endpoint in stats.endpoints if endpoint.name == "take")
        assert (take.num_requests, take.num_errors) == (3, 1)
        assert take.last_error is not None
        assert take.last_error.startswith("409:no none left")
        assert take.processing_time > 0


async def test_who_leaves_is_not_found_any_more(server: Server) -> None:
    async with reached(server) as shelf:
        shelf.node.leave("shelf")
        await shelf.node.flush()
        for subject in ("$SRV.PING.shelf", f"hanse.{shelf.app}.json.shelf.take"):
            with pytest.raises(nats.errors.NoRespondersError):
                await shelf.ask(subject, {})


async def test_others_that_send_what_is_none_of_ours_are_refused_and_harm_nobody(server: Server) -> None:
    async with reached(server) as shelf:
        subject = f"hanse.{shelf.app}.rpc.shelf.take"
        for body in (b"", b"{}", b"\x01", b"\x01\xc1", b"\x09abc"):
            answer = await shelf.client.request(subject, body, timeout=ANSWER_SECONDS)
            assert answer.data[:1] == b"\x04"
        for token in ("c", "1", "n", "nx"):
            for body in (b"", b"\x05", b"\x05\xc1", b"\x01\x01"):
                await shelf.client.publish(f"hanse.{shelf.app}.node.{shelf.node.names.node.decode()}.{token}", body)
        await shelf.client.publish(subject, b"\x01 nobody is to answer this")
        await shelf.client.flush()
        assert json.loads((await shelf.call("take", {"sku": "green"})).data)["sku"] == "green"


async def test_schemas_that_are_more_than_a_message_takes_are_left_out(tmp_path: Path) -> None:
    config = tmp_path / "server.conf"
    config.write_text("max_payload: 17000")
    server = Server(tmp_path, "-c", str(config))
    server.start()
    try:
        server.wait_ready()
        async with reached(server) as shelf:
            info = await shelf.told("$SRV.INFO.shelf")
            assert {"request_schema"} & info["endpoints"][0]["metadata"].keys() == set()
            assert json.loads((await shelf.call("take", {"sku": "green"})).data)["sku"] == "green"
    finally:
        server.kill()


async def test_names_that_others_cannot_write_are_not_told_of(server: Server) -> None:
    async with reached(server) as shelf:
        rows = msgspec.structs.replace(described(descriptions_of(Shelf)[0]), name="rows/teas")
        shelf.node.listen("rows/teas", Things("rows/teas").server)
        shelf.node.describe(rows)
        await shelf.node.flush()
        with pytest.raises(nats.errors.NoRespondersError):
            await shelf.ask("$SRV.PING.rows/teas")


async def test_a_service_may_be_described_after_it_is_served(server: Server) -> None:
    async with reached(server) as shelf:
        teas = msgspec.structs.replace(described(descriptions_of(Shelf)[0]), name="teas", version="spring")
        shelf.node.listen("teas", Things("teas").server)
        shelf.node.describe(teas)
        await shelf.node.flush()
        assert (await shelf.told("$SRV.PING.teas"))["version"] == "0.0.0"
        answer = await shelf.call("take", {"sku": "green"})
        assert answer.headers is None
        shelf.node._station.served.open = False
        refused = await shelf.call("take", {"sku": "green"})
        assert refused.headers is not None
        assert refused.headers["Nats-Service-Error-Code"] == "503"
        shelf.node._station.served.open = True


async def test_calls_of_others_end_when_the_node_closes(server: Server) -> None:
    async with reached(server) as shelf, asyncio.TaskGroup() as group:
        asked = [group.create_task(shelf.call("take", {"sku": "green"})) for _ in range(20)]
        assert {json.loads((await one).data)["sku"] for one in asked} == {"green"}
