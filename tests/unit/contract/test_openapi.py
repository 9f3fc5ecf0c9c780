"""The OpenAPI document of what a gateway exposes."""

import re
from collections.abc import AsyncIterator
from typing import Any, cast

import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from hanse.contract.declare import rpc
from hanse.contract.guard import scope
from hanse.contract.model import Model, Resource
from hanse.contract.openapi import Exposed, OperationPath, openapi
from hanse.contract.openapi_rest import ResourcePath
from hanse.kernel.faults import Fault
from hanse.service.service import Service, descriptions_of


class SoldOut(Fault, status=409):
    """Nothing is left."""


class TooLate(Fault, status=409):
    """The shop is closed."""


class Line(Model):
    text: str


class Item(Resource):
    name: str
    lines: list[Line] = msgspec.field(default_factory=list)


class Shop(Service, version="1.4"):
    """Sells items."""

    @rpc(faults=(TooLate, SoldOut), route="PUT /buy/{name}")
    async def buy(self, name: str, count: int, note: str = "") -> Item:
        """Buy some.

        They are gone then.
        """
        raise NotImplementedError

    @rpc(route="GET /look/{name}")
    async def look(self, name: str, size: int = 3) -> AsyncIterator[Line]:
        """Look at it."""
        yield Line(text=name * size)

    @rpc
    async def close(self) -> None: ...


[DESCRIPTION] = descriptions_of(Shop)
OPERATIONS = [OperationPath(one, f"/rpc/shop/{name}") for name, one in DESCRIPTION.operations.items()]
OWN = [
    OperationPath(DESCRIPTION.operations["buy"], "/buy/{name}", "PUT", own=True),
    OperationPath(DESCRIPTION.operations["look"], "/look/{name}", "GET", own=True),
]
EXPOSED = Exposed("shop", [ResourcePath(Item, "/items")], [*OPERATIONS, *OWN], [DESCRIPTION])


def document(exposed: Exposed = EXPOSED) -> Any:  # noqa: ANN401 - JSON
    return msgspec.json.decode(msgspec.json.encode(openapi(exposed)))


def references(value: object) -> set[str]:
    return set(re.findall(r'"\$ref":"([^"]+)"', msgspec.json.encode(value).decode()))


def test_every_reference_leads_somewhere() -> None:
    for reference in references(document()):
        target: Any = document()
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]
        assert target


def test_every_operation_has_an_id_of_its_own() -> None:
    entries = [entry for path in document()["paths"].values() for key, entry in path.items() if key != "parameters"]
    ids = [entry["operationId"] for entry in entries]

    assert len(ids) == len(set(ids))
    assert {"list_items", "create_item", "get_item", "put_item", "patch_item", "delete_item"} <= set(ids)
    assert {"rpc_shop_buy", "shop_buy", "rpc_shop_close"} <= set(ids)


def test_every_placeholder_is_a_parameter() -> None:
    for path, entry in document()["paths"].items():
        for name in re.findall(r"\{(\w+)\}", path):
            for method, operation in entry.items():
                parameters = [
                    *entry.get("parameters", []),
                    *(operation.get("parameters", []) if method != "parameters" else []),
                ]
                assert method == "parameters" or any(p["name"] == name and p["in"] == "path" for p in parameters)


def test_the_same_exposure_gives_the_same_bytes() -> None:
    assert msgspec.json.encode(openapi(EXPOSED)) == msgspec.json.encode(openapi(EXPOSED))


def test_any_error_is_a_problem() -> None:
    entry = document()["paths"]["/rpc/shop/close"]["post"]

    assert entry["responses"]["default"] == {"$ref": "#/components/responses/Problem"}
    problem = document()["components"]["responses"]["Problem"]["content"]["application/problem+json"]["schema"]
    assert problem == {"$ref": "#/components/schemas/Problem"}


def test_faults_stand_with_their_status() -> None:
    answers = document()["paths"]["/buy/{name}"]["put"]["responses"]

    assert answers["409"]["description"] == "The code is sold_out or too_late."


def test_prose_comes_from_docstrings() -> None:
    entry = document()["paths"]["/rpc/shop/buy"]["post"]

    assert (entry["summary"], entry["description"]) == ("Buy some.", "They are gone then.")
    assert document()["x-hanse-services"][0]["description"] == "Sells items."


def test_the_version_is_that_of_the_only_contract() -> None:
    assert document()["info"] == {"title": "shop", "version": "1.4", "description": "Sells items."}
    assert document(Exposed("empty"))["info"]["version"] == "1"


def test_a_route_has_its_arguments_where_they_go() -> None:
    look = document()["paths"]["/look/{name}"]["get"]
    buy = document()["paths"]["/buy/{name}"]["put"]

    assert [(p["name"], p["in"], p["required"]) for p in look["parameters"]] == [
        ("name", "path", True),
        ("size", "query", False),
    ]
    body = buy["requestBody"]["content"]["application/json"]["schema"]
    assert (list(body["properties"]), body["required"]) == (["count", "note"], ["count"])


def test_a_stream_is_lines_or_events() -> None:
    content = document()["paths"]["/look/{name}"]["get"]["responses"]["200"]["content"]

    assert set(content) == {"application/jsonl", "text/event-stream"}


def test_a_resource_is_filtered_by_its_fields() -> None:
    listing = document()["paths"]["/items"]["get"]

    names = [p.get("name", p.get("$ref", "").rpartition("/")[2]) for p in listing["parameters"]]
    assert names[:6] == ["limit", "cursor", "total", "IfNoneMatch", "sort", "fields"]
    assert names[6:] == ["id[in]", "name", "name[ne]", "name[starts]", "name[ends]", "name[contains]", "name[in]"]
    assert "text/event-stream" in listing["responses"]["200"]["content"]


def test_what_is_read_only_is_only_read() -> None:
    exposed = Exposed("shop", [ResourcePath(Item, "/items", live=False, write=False)])
    paths = cast("dict[str, Any]", document(exposed)["paths"])

    assert set(paths["/items"]) == {"get", "x-query"}
    assert set(paths["/items/{id}"]) == {"parameters", "get"}
    assert "text/event-stream" not in paths["/items"]["get"]["responses"]["200"]["content"]


def test_the_prefix_stands_before_all_paths() -> None:
    resource = ResourcePath(Item, "/api/items")
    told = msgspec.json.decode(msgspec.json.encode(openapi(Exposed("shop", [resource], prefix="/api"), root="/old")))

    assert told["servers"] == [{"url": "/old/api"}]
    assert set(told["paths"]) == {"/items", "/items/{id}"}
    assert document()["servers"] == [{"url": "/"}]


class Spent(Fault, status=402, detail="only {left} left"):
    """There is not enough money."""

    left: int
    line: Line
    anything: object


class Bank(Service):
    """Keeps money.

    All of it.
    """

    @rpc(allow=scope("money"), faults=(Spent, SoldOut), route="GET /pay/{to}")
    async def pay(self, to: str, amount: int = 1) -> int:
        """Pay somebody.

        Args:
            to: Who gets it.
            amount: How much.

        Returns:
            What is left.

        Raises:
            Spent: There was less.

        Deprecated: use transfer.
        """
        raise NotImplementedError


[BANK] = descriptions_of(Bank)
PAY = BANK.operations["pay"]
PAID = Exposed(
    "bank", operations=[OperationPath(PAY, "/rpc/bank/pay"), OperationPath(PAY, "/pay/{to}", "GET", own=True)]
)


def test_a_declared_fault_tells_its_code_and_its_fields() -> None:
    told = document(PAID)
    answer = told["paths"]["/rpc/bank/pay"]["post"]["responses"]["402"]
    problem = told["components"]["schemas"]["SpentProblem"]

    assert answer["content"] == {"application/problem+json": {"schema": {"$ref": "#/components/schemas/SpentProblem"}}}
    assert answer["description"] == "The code is spent.\nspent: There was less."
    assert problem["properties"]["code"] == {"const": "spent"}
    assert problem["properties"]["fields"]["properties"] == {
        "left": {"type": "integer"},
        "line": {"$ref": "#/components/schemas/Line"},
        "anything": {},
    }
    assert "fields" not in told["components"]["schemas"]["SoldOutProblem"]["properties"]
    assert "SpentFields" not in told["components"]["schemas"]


def test_faults_of_one_status_are_alternatives() -> None:
    schema = document()["paths"]["/buy/{name}"]["put"]["responses"]["409"]["content"]["application/problem+json"]

    assert [one["$ref"].rpartition("/")[2] for one in schema["schema"]["oneOf"]] == ["SoldOutProblem", "TooLateProblem"]


def test_sections_of_a_docstring_go_where_they_belong() -> None:
    told = document(PAID)
    entry = told["paths"]["/pay/{to}"]["get"]
    arguments = told["components"]["schemas"]["BankPayArguments"]["properties"]

    assert entry["description"] == "Deprecated: use transfer.\n\nNeeds the scope money."
    assert entry["deprecated"] is True
    assert entry["responses"]["200"]["description"] == "What is left."
    assert [one["description"] for one in entry["parameters"]] == ["Who gets it.", "How much."]
    assert arguments["to"]["description"] == "Who gets it."


def test_who_may_call_is_told_where_it_is_asked() -> None:
    told = document(PAID)

    assert told["paths"]["/pay/{to}"]["get"]["security"] == [{"bearer": []}]
    assert told["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    assert "security" not in told
    assert document(Exposed("bank", identified=True))["security"] == [{}, {"bearer": []}]
    assert "securitySchemes" not in document()["components"]


def test_limits_are_told() -> None:
    assert document(Exposed("shop", limits={"body_bytes": 9}))["info"]["x-hanse-limits"] == {"body_bytes": 9}


class Trap(Resource):
    """A row whose fields are called like the parameters of a list.

    Attributes:
        limit: Where it ends.
    """

    limit: int = 3
    total: int = 4


def test_a_field_that_is_called_like_a_parameter_is_no_parameter_twice() -> None:
    told = document(Exposed("shop", [ResourcePath(Trap, "/traps")]))
    shared = told["components"]["parameters"]
    listed = told["paths"]["/traps"]["get"]["parameters"]
    parameters = [shared[one["$ref"].rpartition("/")[2]] if "$ref" in one else one for one in listed]
    names = [one["name"] for one in parameters]

    assert len(names) == len(set(names))
    assert "maximum" in next(one for one in parameters if one["name"] == "limit")["schema"]
    assert "limit[eq]" in names
    assert told["components"]["schemas"]["Trap"]["properties"]["limit"]["description"] == "Where it ends."
    assert told["components"]["schemas"]["Trap"]["description"].endswith("parameters of a list.")


def test_a_body_under_several_types_is_told_once() -> None:
    told = document()
    content = told["paths"]["/items/{id}"]["patch"]["requestBody"]["content"]
    shared = {"$ref": "#/components/schemas/PatchItemBody"}

    assert content["application/merge-patch+json"]["schema"] == shared
    assert content["application/json"]["schema"] == shared
    assert told["components"]["schemas"]["PatchItemBody"]["type"] == "object"


class Foreign:
    """No schema is known of it."""


class Strange(Fault):
    foreign: Foreign


class Nameless(Fault):
    what: "Missing"  # type: ignore[name-defined]  # noqa: F821 - it cannot be found, which is the point


class Odd(Service):
    @rpc(faults=(Strange, Nameless))
    async def be(self) -> None: ...


def test_a_field_of_a_fault_that_has_no_schema_may_be_anything() -> None:
    [odd] = descriptions_of(Odd)
    told = document(Exposed("odd", operations=[OperationPath(odd.operations["be"], "/rpc/odd/be")]))
    schemas = told["components"]["schemas"]

    assert schemas["StrangeProblem"]["properties"]["fields"]["properties"] == {"foreign": {}}
    assert schemas["NamelessProblem"]["properties"]["fields"]["properties"] == {"what": {}}


@pytest.mark.parametrize("exposed", [EXPOSED, PAID, Exposed("none"), Exposed("id", identified=True, prefix="/api")])
def test_the_document_is_one_by_the_official_schema(exposed: Exposed) -> None:
    assert list(OpenAPIV31SpecValidator(document(exposed)).iter_errors()) == []
