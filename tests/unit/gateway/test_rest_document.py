"""What the OpenAPI document tells of rows is what the gateway does."""

from typing import Any
from urllib.parse import quote

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from hanse.contract.model import Resource
from hanse.contract.openapi_shared import PAGE_MAX as TOLD_MAX
from hanse.gateway.gateway import Gateway
from hanse.service.json_patch import OPERATIONS_MAX
from hanse.service.rows import ROWS_MAX
from hanse.store.query import PAGE_MAX

Door = Any
Opened = Any
Json = Any

pytestmark = pytest.mark.virtual_time

SAMPLES = {
    "amount": "1.5",
    "status": "paid",
    "paid": "true",
    "count": "3",
    "at": "2026-01-01T00:00:00Z",
    "rank": "7",
}


@pytest.fixture
async def document(door: Door) -> Json:
    return (await door("GET", "/openapi.json")).json


def listed(document: Json, path: str, method: str) -> list[Json]:
    found = document["paths"][path][method].get("parameters", [])
    return [
        document["components"]["parameters"][one["$ref"].rpartition("/")[2]] if "$ref" in one else one for one in found
    ]


async def test_the_document_is_openapi(document: Json) -> None:
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []


async def test_every_filter_that_is_told_can_be_asked(door: Door, document: Json) -> None:
    names = [one["name"] for one in listed(document, "/orders", "get") if one["in"] == "query"]
    filters = [name for name in names if name not in {"limit", "cursor", "sort", "total", "fields"}]

    assert {"sku", "sku[starts]", "amount[gte]", "at[lt]", "status[in]", "paid[ne]", "tags", "id[in]"} <= set(filters)
    assert not {"address", "labels", "sku[lt]"} & set(filters)
    for name in filters:
        value = SAMPLES.get(name.partition("[")[0], "x")
        assert (await door("GET", f"/orders?{quote(name)}={quote(value)}")).status == 200, name


async def test_every_status_of_a_write_is_told(document: Json) -> None:
    row = document["paths"]["/orders/{id}"]
    patch = row["patch"]["requestBody"]["content"]

    assert {"200", "201", "202", "204", "400", "409", "412", "413", "415", "422"} <= set(row["put"]["responses"])
    assert "304" in row["get"]["responses"]
    assert "428" not in row["put"]["responses"]
    assert set(patch) == {"application/merge-patch+json", "application/json-patch+json", "application/json"}
    assert document["paths"]["/operations/{id}"]["get"]["operationId"] == "get_operation"


async def test_a_revision_that_is_required_is_told(opened: Opened, order: type[Resource]) -> None:
    document = (await opened(Gateway("/api").resources(order, require_match=True))("GET", "/api/openapi.json")).json

    for method in ("put", "patch", "delete"):
        assert "428" in document["paths"]["/orders/{id}"][method]["responses"]
    assert "/operations/{id}" in document["paths"]


async def test_what_is_for_reading_only_has_nothing_answered_later(opened: Opened, order: type[Resource]) -> None:
    document = (await opened(Gateway().resources(order, write=False))("GET", "/openapi.json")).json

    assert "/operations/{id}" not in document["paths"]
    assert set(document["paths"]["/orders"]) == {"get", "x-query"}


def test_the_limits_that_are_told_are_those_that_hold() -> None:
    assert TOLD_MAX == PAGE_MAX == ROWS_MAX == OPERATIONS_MAX
