"""Everything that REST does is done over a WebSocket too, and answered alike: each ask goes over both."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Annotated, Any, cast

import msgspec
import pytest

from hanse.contract.declare import rpc
from hanse.contract.link import Link
from hanse.contract.model import Resource, collection_of
from hanse.gateway.gateway import Gateway
from hanse.gateway.socket_protocol import ASKS, Listen, Ping, Subscribe, Unsubscribe
from hanse.kernel.faults import Fault
from hanse.kernel.host import Host
from hanse.kernel.tasks import Tasks
from hanse.node.app import App
from hanse.node.node import Node
from hanse.service.collection import Collection
from hanse.service.service import Service

# What the fixtures give is defined in conftest.py, which cannot be imported.
Door = Any
Value = Any

pytestmark = pytest.mark.virtual_time


class Customer(Resource):
    name: str


class Order(Resource):
    sku: str
    count: int = 1
    tags: list[str] = msgspec.field(default_factory=list)
    customer: Annotated[str, Link(Customer)] = ""


class Careful(Resource):
    """Written only at a revision that was read, and only with fields that exist."""

    sku: str


class Fixed(Resource):
    """Only read."""

    sku: str = ""


class Gone(Fault, status=410, detail="{sku} is gone"):
    sku: str


class Shop(Service):
    orders: Collection[Order]
    customers: Collection[Customer]
    careful: Collection[Careful]
    fixed: Collection[Fixed]

    @rpc(faults=(Gone,))
    async def sell(self, sku: str, price: float = 1.0) -> dict[str, float]:
        if sku == "rum":
            raise Gone(sku)
        return {sku: price}

    @rpc
    async def counting(self, upto: int) -> AsyncIterator[int]:
        for number in range(upto):
            yield number


class Case(msgspec.Struct, frozen=True):
    """One ask, for both.

    Attributes:
        rest: Method and path.
        value: The body.
        message: What is said over the socket, without its id.
        headers: Those of the request.
        at: Where the body is in the message.
        rest_at: Where the same stands for HTTP.
        worded: Whether a problem is told in the same words.
    """

    rest: str
    message: dict[str, Value]
    value: Value = None
    headers: dict[str, str] = {}
    at: str = ""
    rest_at: str = ""
    worded: bool = True


def orders(op: str, **members: Value) -> dict[str, Value]:
    return {"op": op, "collection": "orders", **members}


def writing(rest: str, message: dict[str, Value], value: Value, **headers: str) -> Case:
    return Case(rest, {**message, "value": value}, value, headers, "/value")


def calling(operation: str, arguments: Value, **headers: str) -> Case:
    message = {"op": "call", "service": "shop", "operation": operation, "arguments": arguments}
    if headers:
        message["strict"] = headers["prefer"] == "handling=strict"
    return Case(f"POST /rpc/shop/{operation}", message, arguments, headers, "/arguments")


def querying(**document: Value) -> Case:
    return Case("QUERY /orders", orders("list", **document), document)


def careful(op: str, **members: Value) -> dict[str, Value]:
    return {"op": op, "collection": collection_of(Careful), **members}


MERGE, PATCH = "application/merge-patch+json", "application/json-patch+json"
KEY = "8e03978e-40d5"
SEVERAL = [{"id": "7", "sku": "tea"}, {"id": "8", "sku": "ink"}]
CAREFUL = f"/{collection_of(Careful)}"

CASES = {
    # What goes well.
    "a row": Case("GET /orders/1", orders("get", key="1")),
    "fields of a row": Case("GET /orders/1?fields=sku,count", orders("get", key="1", fields="sku,count")),
    "fields in a list": Case("GET /orders/1?fields=sku,count", orders("get", key="1", fields=["sku", "count"])),
    "a row with its links": Case("GET /orders/1?expand=customer", orders("get", key="1", expand=["customer"])),
    "a row at its revision": Case("GET /orders/1", orders("get", key="1", rev=2), None, {"if_match": '"2"'}),
    "a page": Case("GET /orders", orders("list")),
    "a page of a query": querying(
        where={"count": {"gte": 2}}, sort="-count", limit=1, fields="sku", expand="customer", total=True, cursor=None
    ),
    "a page in two orders": querying(sort=["sku", "-count"]),
    "all rows": Case(
        "GET /orders?sort=-count&fields=count",
        orders("list", all=True, sort="-count", fields="count"),
        None,
        {"accept": "application/jsonl"},
    ),
    "a new row": writing("POST /orders", orders("create"), {"id": "9", "sku": "cup"}),
    "a new row, strictly": writing("POST /orders", orders("create", strict=True), {"id": "9", "sku": "cup"}),
    "a new row under a key": writing("PUT /orders/9", orders("put", key="9"), {"sku": "cup"}),
    "a new row and no other": writing(
        "PUT /orders/9", orders("put", key="9", rev=0), {"sku": "cup"}, if_none_match="*"
    ),
    "a new row under a key beside its value": Case(
        "POST /orders", orders("create", key="9", value={"sku": "cup"}), {"id": "9", "sku": "cup"}
    ),
    "several new rows": Case("POST /orders", orders("create", values=SEVERAL), SEVERAL),
    "a row over another": writing("PUT /orders/1", orders("put", key="1", rev=2), {"sku": "cup"}, if_match='"2"'),
    "a changed row": writing("PATCH /orders/1", orders("patch", key="1"), {"count": 7}),
    "a changed row, strictly": writing(
        "PATCH /orders/1", orders("patch", key="1", strict=True), {"count": 7}, prefer="handling=strict"
    ),
    "a row changed by operations": writing(
        "PATCH /orders/1",
        orders("patch", key="1", form="json", rev=2),
        [{"op": "add", "path": "/tags/-", "value": "new"}],
        content_type=PATCH,
        if_match='"2"',
    ),
    "no row any more": Case("DELETE /orders/1", orders("delete", key="1", rev=2), None, {"if_match": '"2"'}),
    "no rows any more": Case("DELETE /orders?id[in]=1,2", orders("delete", keys=["1", "2"])),
    "a row over whichever is there": writing(
        "PUT /orders/1", orders("put", key="1", rev="*"), {"sku": "cup"}, if_match="*"
    ),
    "a careful write": writing(f"PUT {CAREFUL}/1", careful("put", key="1", rev=5), {"sku": "a"}, if_match='"5"'),
    "a call": calling("sell", {"sku": "tea", "price": 2.5}),
    "a call of who may be newer": calling("sell", {"sku": "tea", "x": 1}, prefer="handling=lenient"),
    "items": calling("counting", {"upto": 3}),
    "nothing but the revision": writing(
        "PUT /orders/1", orders("put", key="1", minimal=True, strict=False), {"sku": "cup"}, prefer="return=minimal"
    ),
    "nothing but the revision of a patch": writing(
        "PATCH /orders/1", orders("patch", key="1", minimal=True), {"sku": "cup"}, prefer="return=minimal"
    ),
    "nothing but the revision of what is new": writing(
        "POST /orders", orders("create", minimal=True), {"id": "9", "sku": "cup"}, prefer="return=minimal"
    ),
    "nothing but the revisions": Case(
        "POST /orders", orders("create", values=SEVERAL, minimal=True), SEVERAL, {"prefer": "return=minimal"}
    ),
    # What does not.
    "no such row": Case("GET /orders/4", orders("get", key="4")),
    "no such field": Case("GET /orders/1?fields=rank", orders("get", key="1", fields="rank")),
    "no such link": Case("GET /orders/1?expand=sku", orders("get", key="1", expand="sku")),
    "another revision": Case("GET /orders/1", orders("get", key="1", rev=1), None, {"if_match": '"1"'}, worded=False),
    "a page that cannot be": querying(
        where={"count": {"gte": "two"}, "rank": 1, "$or": [{"sku": {"near": "x"}}]},
        sort="tags",
        limit=0,
        fields=["rank"],
    ),
    "a link of rows that is none": querying(expand=["sku"]),
    "too many conditions": querying(where={"$or": [{"count": number} for number in range(60)]}),
    "a filter that is none": Case("QUERY /orders", orders("list", where=[]), {"where": []}, worded=False),
    "a cursor that is none": querying(cursor="x"),
    "a total of all": Case(
        "GET /orders?total=true",
        orders("list", all=True, total=True),
        None,
        {"accept": "application/jsonl"},
    ),
    "a row that is there": writing("POST /orders", orders("create"), {"id": "1", "sku": "cup"}),
    "a row that is none": writing("POST /orders", orders("create"), {"count": "many", "tags": [1]}),
    "no object": writing("PUT /orders/1", orders("put", key="1"), "cup"),
    "an id that is another": writing("PUT /orders/1", orders("put", key="1"), {"id": "2", "sku": "cup"}),
    "fields that are none": writing(
        "POST /orders", orders("create", strict=True), {"sku": "cup", "skus": 1}, prefer="handling=strict"
    ),
    "fields of several that are none": Case(
        "POST /orders",
        orders("create", values=[{"sku": "a"}, {"sku": "b", "x": 1}], strict=True),
        [{"sku": "a"}, {"sku": "b", "x": 1}],
        {"prefer": "handling=strict"},
        "/values",
    ),
    "several of which one is none": Case(
        "POST /orders",
        orders("create", values=[{"sku": "a"}, {"count": 2}]),
        [{"sku": "a"}, {"count": 2}],
        at="/values",
    ),
    "several of which one is there": Case(
        "POST /orders",
        orders("create", values=[{"sku": "a"}, {"id": "2", "sku": "b"}]),
        [{"sku": "a"}, {"id": "2", "sku": "b"}],
        at="/values",
    ),
    "none of several": Case("POST /orders", orders("create", values=[]), b"[]", at="/values"),
    "a row over none": writing("PUT /orders/9", orders("put", key="9", rev="*"), {"sku": "cup"}, if_match="*"),
    "a careful write over whichever is there": writing(
        f"PUT {CAREFUL}/1", careful("put", key="1", rev="*"), {"sku": "a"}, if_match="*"
    ),
    "an old revision": writing("PUT /orders/1", orders("put", key="1", rev=1), {"sku": "cup"}, if_match='"1"'),
    "a row that is not new": writing("PUT /orders/1", orders("put", key="1", rev=0), {"sku": "cup"}, if_none_match="*"),
    "a patch that does not fit": writing("PATCH /orders/1", orders("patch", key="1"), {"count": "many"}),
    "a patch of nothing": writing("PATCH /orders/4", orders("patch", key="4"), {"count": 1}),
    "a patch at an old revision": writing(
        "PATCH /orders/1", orders("patch", key="1", rev=1), {"count": 1}, if_match='"1"'
    ),
    "fields of a patch that are none": writing(
        "PATCH /orders/1", orders("patch", key="1", strict=True), {"rank": 1}, prefer="handling=strict"
    ),
    "an operation that fails": writing(
        "PATCH /orders/1",
        orders("patch", key="1", form="json"),
        [{"op": "add", "path": "/tags/-", "value": "a"}, {"op": "test", "path": "/count", "value": 100}],
        content_type=PATCH,
    ),
    "an operation that is none": writing(
        "PATCH /orders/1", orders("patch", key="1", form="json"), [{"op": "swap", "path": "/sku"}], content_type=PATCH
    ),
    "a deletion of nothing": Case("DELETE /orders/4", orders("delete", key="4")),
    "a deletion at an old revision": Case(
        "DELETE /orders/1", orders("delete", key="1", rev=1), None, {"if_match": '"1"'}
    ),
    "deletions of which one is of nothing": Case(
        "DELETE /orders?id[in]=1,4", orders("delete", keys=["1", "4"]), at="/keys"
    ),
    "no deletion": Case("DELETE /orders?id[in]=", orders("delete", keys=[]), at="/keys", rest_at="/id"),
    "a careless write": writing(f"PUT {CAREFUL}/1", careful("put", key="1"), {"sku": "a"}),
    "a careless patch": writing(f"PATCH {CAREFUL}/1", careful("patch", key="1"), {"sku": "a"}),
    "a careless deletion": Case(f"DELETE {CAREFUL}/1", careful("delete", key="1")),
    "a careful write of what is none": writing(
        f"PUT {CAREFUL}/1", careful("put", key="1", rev=5), {"sku": "a", "x": 1}, if_match='"5"'
    ),
    "wrong arguments": calling("sell", {"price": "much"}),
    "arguments that do not exist": calling("sell", {"sku": "tea", "prise": 2}),
    "arguments that do not exist for items": calling("counting", {"upto": 3, "x": 1}),
    "arguments that are none": calling("sell", []),
    "a fault that is listed": calling("sell", {"sku": "rum"}),
    "wrong arguments for items": calling("counting", {}),
    "a key that is none": Case(
        "POST /orders",
        orders("create", value={"sku": "a"}, idempotency_key="ä"),
        {"sku": "a"},
        {"idempotency_key": '"a" b'},
        worded=False,
    ),
    "a key that is too long": Case(
        "DELETE /orders/1", orders("delete", key="1", idempotency_key="k" * 256), None, {"idempotency_key": "k" * 256}
    ),
}


@pytest.fixture
async def doors(host: Host, door: Door) -> AsyncIterator[tuple[Door, Door]]:
    """Two that are alike, of nodes that know nothing of each other."""
    failures: list[BaseException] = []
    gateway = (
        Gateway()
        .resources(Order)
        .resources(Customer)
        .resources(Careful, require_match=True, strict=True)
        .resources(Fixed, write=False, live=False)
        .rpc(Shop)
    )
    async with AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(Tasks(failures.append))
        doors: list[Door] = []
        for _ in range(2):
            node = await stack.enter_async_context(Node(App("shop", Shop), host=host))
            await node.collection(Customer).create(Customer(id="7", name="Ann"))
            for number in (1, 2, 3):
                await node.collection(Order).create(
                    Order(id=str(number), sku="tea", count=number, customer="7" if number < 3 else "gone")
                )
            await node.collection(Careful).create(Careful(id="1", sku="old"))
            doors.append(type(door)(gateway.asgi(node), tasks))
        yield doors[0], doors[1]
    assert failures == []


def problem(came: Mapping[str, Value], at: str) -> dict[str, Value]:
    """A problem without its story, and with pointers as if what was sent were all there is."""
    errors = [{**flaw, "pointer": flaw["pointer"].removeprefix(at)} for flaw in came.get("errors", [])]
    told = came["detail"].replace(f"{at}/", "/") if at else came["detail"]
    named = {name: value for name, value in came.items() if name != "trace_id"}
    return {**named, "errors": errors, "detail": told}


def unworded(told: Mapping[str, Value]) -> dict[str, Value]:
    """A problem without its words."""
    errors = [{**flaw, "detail": ""} for flaw in told["errors"]]
    return {**told, "detail": "", "errors": errors}


async def over_rest(door: Door, case: Case) -> Value:
    method, path = case.rest.split(" ", 1)
    headers = dict(case.headers)
    if method == "PATCH":
        headers.setdefault("content_type", MERGE)
    answer = await door(method, path, case.value, **headers)
    if answer.status >= 400:
        return problem(answer.json, case.rest_at)
    kind = answer.headers.get("content-type", "")
    if kind.startswith("application/jsonl"):
        return [msgspec.json.decode(line) for line in answer.body.splitlines()]
    return msgspec.json.decode(answer.body) if answer.body else answer.headers.get("etag", "").strip('"') or None


async def over_socket(door: Door, case: Case) -> Value:
    wire = await door.socket()
    await wire.say({**case.message, "id": 1})
    items: list[Value] = []
    while "item" in (told := await wire.hear()):
        items.append(told["item"])
    wire.leave("websocket")
    assert told["id"] == 1
    if "error" in told:
        return problem(told["error"], case.at)
    if case.message.get("all") or case.message.get("operation") == "counting":
        assert told["result"] is None
        return items
    return told["result"]


def unwrapped(result: Value, *, minimal: bool) -> Value:
    """What HTTP would answer: there, the revision and the id are told by headers."""
    if not isinstance(result, dict):
        return result
    result = cast("dict[str, Value]", result)
    if "key" not in result:
        rows: list[Value] = result.get("items", [])
        wrapped = bool(rows) and all("key" in row for row in rows)
        return {"items": [unwrapped(row, minimal=False) for row in rows]} if wrapped else result
    if "value" in result:
        assert (result["value"]["id"], result["value"]["rev"]) == (result["key"], result["rev"])
        return result["value"]
    return str(result["rev"]) if minimal else {"id": result["key"], "rev": result["rev"]}


@pytest.mark.parametrize("name", CASES)
async def test_each_ask_is_answered_alike(doors: tuple[Door, Door], name: str) -> None:
    case = CASES[name]
    rest, socket = await over_rest(doors[0], case), await over_socket(doors[1], case)

    if not case.worded:
        rest, socket = unworded(rest), unworded(socket)
    assert unwrapped(socket, minimal=bool(case.message.get("minimal"))) == rest
    left = [(await door("GET", "/orders")).json for door in doors]
    ids = [[row["id"] for row in each["items"]] for each in left]
    assert (left[0] == left[1], len(ids[0])) == (ids[0] == ids[1], len(ids[1]))


@pytest.mark.parametrize("kind", [kind for kind in ASKS if kind not in {Subscribe, Listen, Unsubscribe, Ping}])
def test_each_member_of_each_ask_is_compared(kind: type[msgspec.Struct]) -> None:
    op = kind.__struct_config__.tag
    said = {name for case in CASES.values() if case.message["op"] == op for name in case.message}
    # What an idempotency key does takes more than one ask: see below.
    assert set(kind.__struct_encode_fields__) - said <= {"id", "idempotency_key"}


WRITES = {
    "create": orders("create", value={"sku": "tea"}),
    "create several": orders("create", values=[{"sku": "tea"}, {"sku": "ink"}]),
    "put": orders("put", key="1", value={"sku": "ink"}),
    "put a new one": orders("put", key="new", value={"sku": "ink"}),
    "patch": orders("patch", key="1", value={"count": 9}),
    "delete": orders("delete", key="1"),
    "delete several": orders("delete", keys=["1", "2"]),
    "call": {"op": "call", "service": "shop", "operation": "sell", "arguments": {"sku": "tea"}},
}


@pytest.mark.parametrize("name", WRITES)
async def test_a_repeat_under_a_key_gets_the_first_answer(doors: tuple[Door, Door], name: str) -> None:
    door = doors[0]
    wire = await door.socket()
    await wire.say({**WRITES[name], "id": 1, "idempotency_key": KEY})
    first = await wire.hear()
    await door("PUT", "/orders/1", {"sku": "newer"})
    before = (await door("GET", "/orders")).body
    await wire.say({**WRITES[name], "id": 1, "idempotency_key": KEY})

    assert "result" in first
    assert await wire.hear() == first
    assert (await door("GET", "/orders")).body == before


async def test_a_key_is_the_same_whichever_way_it_comes(doors: tuple[Door, Door]) -> None:
    door = doors[0]
    posted = await door("POST", "/orders", {"sku": "tea"}, idempotency_key=KEY)
    wire = await door.socket()
    await wire.say(orders("create", id=1, value={"sku": "tea"}, idempotency_key=KEY))
    assert (await wire.hear())["result"]["value"] == posted.json
    await wire.say(orders("create", id=2, value={"sku": "ink"}, idempotency_key=KEY))
    assert (await wire.hear())["error"]["code"] == "key_reused"
    await wire.say(orders("create", id=3, value={"sku": "ink"}))
    assert "result" in (await wire.hear()), "a key is that of one message, not of the socket"


@pytest.mark.parametrize(
    ("message", "pointer", "code"),
    [
        (orders("create"), "/value", "missing"),
        (orders("create", value={"sku": "a"}, values=[{"sku": "a"}]), "/values", "choice"),
        (orders("create", key="9", values=[{"sku": "a"}]), "/key", "choice"),
        (orders("delete"), "/key", "missing"),
        (orders("delete", key="1", keys=["1"]), "/keys", "choice"),
        (orders("delete", keys=["1"], rev=2), "/rev", "choice"),
        (orders("put", key="1", value={"sku": "a"}, revision=2), "/revision", "unknown_field"),
        (orders("patch", key="1", value={"sku": "a"}, form="yaml"), "/form", "choice"),
        (orders("list", limit="ten"), "/limit", "type"),
    ],
)
async def test_a_message_that_could_be_meant_otherwise_is_refused(
    doors: tuple[Door, Door], message: dict[str, Value], pointer: str, code: str
) -> None:
    wire = await doors[0].socket()
    before = (await doors[0]("GET", "/orders")).body
    await wire.say({**message, "id": 1})
    error = (await wire.hear())["error"]

    assert (error["status"], [(flaw["pointer"], flaw["code"]) for flaw in error["errors"]]) == (422, [(pointer, code)])
    assert (await doors[0]("GET", "/orders")).body == before


async def test_what_is_only_read_is_not_written(doors: tuple[Door, Door]) -> None:
    wire = await doors[0].socket()
    for op in ("create", "put", "patch"):
        await wire.say({"op": op, "id": 1, "collection": "fixed", "key": "1", "value": {}})
        assert (await wire.hear())["error"]["code"] in {"forbidden", "not_found"}
