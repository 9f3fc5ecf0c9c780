"""The documents of every example are valid, and so is every example in them."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import msgspec
import pytest
from jsonschema import Draft7Validator, Draft202012Validator, FormatChecker
from openapi_spec_validator import OpenAPIV31SpecValidator

from hanse import App, Gateway, Node, Service

Value = Any
Example = Callable[[str], ModuleType]

SCHEMAS = Path(__file__).parents[1] / "schemas"
APPS = ["countries/app.py", "greeter/greet.py", "power/power.py", "shop/shop.py", "tickets/tickets.py"]


async def asked(module: ModuleType, path: str) -> Value:
    """What the gateway of an example answers."""
    services = [
        one
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, Service) and one.__module__ == module.__name__
    ]
    app = next((one for one in vars(module).values() if isinstance(one, App)), None) or App("example", *services)
    gateway = cast("Gateway", app.gateway or Gateway.everything(app.services))
    node = Node(app)
    node.state = "ready"  # nothing of it is needed for a document
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request"}

    async def send(event: Any) -> None:  # noqa: ANN401 - an ASGI event
        sent.append(event)

    await gateway.asgi(node)({"type": "http", "method": "GET", "path": path, "headers": []}, receive, send)
    assert sent[0]["status"] == 200
    return msgspec.json.decode(sent[1]["body"])


def contents(value: Value) -> Iterator[dict[str, Any]]:
    """Everything in a document that has both a schema and an example."""
    if isinstance(value, dict):
        if "schema" in value and "example" in value:
            yield value
        for part in value.values():
            yield from contents(part)
    elif isinstance(value, list):
        for part in value:
            yield from contents(part)


@pytest.mark.parametrize("name", APPS)
async def test_the_openapi_document_is_valid(example: Example, name: str) -> None:
    document = await asked(example(name), "/openapi.json")

    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []


@pytest.mark.parametrize("name", APPS)
async def test_examples_in_the_document_fit_their_schemas(example: Example, name: str) -> None:
    document = await asked(example(name), "/openapi.json")
    found = list(contents(document["paths"]))

    for content in found:
        schema = {**content["schema"], "components": document["components"]}
        Draft202012Validator(schema, format_checker=FormatChecker()).validate(content["example"])
    assert len(found) > 1


async def test_operation_ids_are_stable(example: Example) -> None:
    """A client is generated from these names: a rename breaks it, and has to be meant."""
    document = await asked(example("shop/shop.py"), "/openapi.json")
    paths = document["paths"].values()
    ids = {entry["operationId"] for path in paths for entry in path.values() if "operationId" in entry}

    assert ids >= {
        "list_items",
        "create_item",
        "get_item",
        "put_item",
        "patch_item",
        "delete_item",
        "list_orders",
        "get_order",
        "rpc_orders_place",
    }


@pytest.mark.parametrize("name", APPS)
async def test_the_asyncapi_document_is_valid(example: Example, name: str) -> None:
    document = await asked(example(name), "/asyncapi.json")
    schema = msgspec.json.decode((SCHEMAS / "asyncapi-3.0.0.json").read_bytes())

    errors = [f"{error.json_path}: {error.message[:200]}" for error in Draft7Validator(schema).iter_errors(document)]
    assert errors == []


@pytest.mark.parametrize("name", APPS)
async def test_every_reference_of_the_asyncapi_document_leads_somewhere(example: Example, name: str) -> None:
    document = await asked(example(name), "/asyncapi.json")

    for reference in set(re.findall(r'"\$ref":"#/([^"]+)"', msgspec.json.encode(document).decode())):
        target = document
        for part in reference.split("/"):
            target = target[part]
        assert target
