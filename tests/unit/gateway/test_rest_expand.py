"""Links between rows, followed on the way out."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, NewType

import msgspec
import pytest

from hanse.contract.link import Link, links_of
from hanse.contract.model import Resource
from hanse.gateway.expansion import Expansion, Target
from hanse.gateway.gateway import Gateway
from hanse.gateway.limits import EXPANDED_BYTES_MAX, EXPANDED_MAX, EXPANDS_MAX
from hanse.kernel.faults import Invalid, Misdeclared, Unavailable
from hanse.kernel.host import Host
from hanse.node.app import App
from hanse.node.node import Node
from hanse.service.collection import Collection
from hanse.service.rows import ROWS_MAX
from hanse.service.service import Service
from hanse.store.base import Row

Door = Any
Opened = Any

pytestmark = pytest.mark.virtual_time


class Region(Resource):
    name: str


class Secret(Resource):
    word: str


class Customer(Resource):
    name: str
    region: Annotated[str | None, Link("regions")] = None
    boss: Annotated[str, Link("customers")] = ""


class Sale(Resource):
    customer: Annotated[str, Link(Customer)]
    payer: Annotated[str, Link("customers")] | None = None
    regions: Annotated[list[str], Link(Region)] = msgspec.field(default_factory=list)
    secret: Annotated[str, Link(Secret)] = "s"


class Desk(Service):
    regions: Collection[Region]
    secrets: Collection[Secret]
    customers: Collection[Customer]
    sales: Collection[Sale]


@pytest.fixture
async def node(host: Host) -> AsyncIterator[Node]:
    async with Node(App("desk", Desk), host=host) as node:
        yield node


@pytest.fixture
async def desk(opened: Opened) -> Door:
    door = opened(Gateway().resources(Region).resources(Customer).resources(Sale))
    await door("POST", "/regions", {"id": "n", "name": "North"})
    await door(
        "POST", "/customers", [{"id": "a", "name": "Ada", "region": "n"}, {"id": "b", "name": "Ben", "boss": "a"}]
    )
    await door("POST", "/sales", {"id": "1", "customer": "b", "payer": "a", "regions": ["n", "gone"]})
    await door("POST", "/sales", {"id": "2", "customer": "gone"})
    return door


@pytest.mark.parametrize(
    ("expand", "told"),
    [
        ("color", "sale has no link 'color'; it has customer, payer, regions"),
        ("secret", "sale has no link 'secret'; it has customer, payer, regions"),
        ("customer.name", "customer has no link 'name'; it has region, boss"),
        ("regions.x", "region has no link 'x'; it has nothing"),
        ("customer.boss.boss.boss", "at most 3 links"),
        (",".join(["customer"] * (EXPANDS_MAX + 1)), "at most"),
    ],
)
@pytest.mark.parametrize("path", ["/sales", "/sales/1"])
async def test_what_cannot_be_expanded_names_what_can(desk: Door, path: str, expand: str, told: str) -> None:
    answer = await desk("GET", f"{path}?expand={expand}")

    assert answer.status == 422
    assert answer.json["errors"][0]["pointer"] == "/expand"
    assert told in answer.json["detail"]


async def test_a_row_stays_as_it_is_and_has_beside_it_what_it_links_to(desk: Door) -> None:
    plain = await desk("GET", "/sales/1")
    row = await desk("GET", "/sales/1?expand=customer,payer,regions")

    expanded = row.json["expanded"]
    assert {name: value for name, value in row.json.items() if name != "expanded"} == plain.json
    assert (expanded["customer"]["name"], expanded["payer"]["name"]) == ("Ben", "Ada")
    assert [one and one["name"] for one in expanded["regions"]] == ["North", None]


async def test_a_link_that_leads_nowhere_is_null_beside_its_id(desk: Door) -> None:
    row = (await desk("GET", "/sales/2?expand=customer,payer,regions")).json

    assert row["customer"] == "gone"
    assert row["expanded"] == {"customer": None, "payer": None, "regions": []}


async def test_links_of_links_are_followed(desk: Door) -> None:
    row = (await desk("GET", "/sales/1?expand=customer.boss.region,payer")).json["expanded"]

    assert row["customer"]["expanded"]["boss"]["expanded"]["region"]["name"] == "North"
    assert "expanded" not in row["payer"]


async def test_lists_queries_and_lines_are_expanded_and_cut_alike(desk: Door) -> None:
    page = (await desk("GET", "/sales?expand=customer&fields=payer")).json["items"]
    query = (await desk("QUERY", "/sales", {"expand": ["customer"], "fields": ["payer"]})).json["items"]
    lines = await desk("GET", "/sales?expand=customer&fields=payer", accept="application/jsonl")

    assert list(page[0]) == ["id", "rev", "payer", "expanded"]
    assert page[0]["expanded"]["customer"]["name"] == "Ben"
    assert page == query == [msgspec.json.decode(line) for line in lines.body.splitlines()]


async def test_what_is_expanded_has_a_weak_etag_that_changes_with_it(desk: Door) -> None:
    first = await desk("GET", "/sales/1?expand=customer")
    same = await desk("GET", "/sales/1?expand=customer", if_none_match=first.headers["etag"])
    await desk("PATCH", "/customers/b", {"name": "Bea"})
    changed = await desk("GET", "/sales/1?expand=customer", if_none_match=first.headers["etag"])

    assert first.headers["etag"].startswith("W/")
    assert (same.status, changed.status) == (304, 200)


async def test_a_row_that_was_read_with_its_links_can_be_written_back_strictly(desk: Door) -> None:
    row = (await desk("GET", "/sales/1?expand=customer")).json

    assert (await desk("PUT", "/sales/1", row, prefer="handling=strict")).status == 200
    assert (await desk("PUT", "/sales/1", {**row, "more": 1}, prefer="handling=strict")).status == 422
    assert (await desk("GET", "/sales/1")).json.keys() == row.keys() - {"expanded"}


class Counting:
    """Rows of one owner that know what they were asked for."""

    def __init__(self, size: int = 10, **fields: str) -> None:
        self.asked: list[dict[str, list[str]]] = []
        self._value = msgspec.json.encode({"id": "x", "name": "n" * size, **fields})

    async def many(self, ids: dict[str, list[str]]) -> dict[str, list[Row]]:
        self.asked.append(ids)
        return {name: [Row(id, 1, self._value) for id in some] for name, some in ids.items()}


def rows(count: int, customer: str = "") -> list[Row]:
    return [
        Row(str(n), 1, msgspec.json.encode({"customer": customer or f"c{n}", "payer": f"c{n % 7}", "regions": ["all"]}))
        for n in range(count)
    ]


async def test_an_owner_is_asked_once_for_all_rows_and_links() -> None:
    parties: Any = Counting()
    expansion = Expansion(
        {"customers": Target(Customer, parties, "parties"), "regions": Target(Region, parties, "parties")}
    )

    found = await expansion.expanded(Sale, rows(50), expansion.steps(Sale, ["customer", "payer", "regions"]))

    assert len(found) == 50
    assert [{name: len(ids) for name, ids in asked.items()} for asked in parties.asked] == [
        {"customers": 50, "regions": 1}
    ]


async def test_each_owner_is_asked_once_for_each_level_of_links_and_never_for_a_row_it_gave() -> None:
    customers: Any = Counting(region="n", boss="c1")
    regions: Any = Counting()
    expansion = Expansion(
        {"customers": Target(Customer, customers, "parties"), "regions": Target(Region, regions, "places")}
    )
    names = ["customer.region", "payer.region", "payer.boss.region", "regions"]

    found = await expansion.expanded(Sale, rows(9), expansion.steps(Sale, names))

    boss = msgspec.json.decode(found[0])["payer"]["expanded"]["boss"]
    assert boss["expanded"]["region"]["name"] == "n" * 10
    assert customers.asked == [{"customers": [f"c{n}" for n in range(9)]}]
    assert regions.asked == [{"regions": ["all"]}, {"regions": ["n"]}]


async def test_more_rows_than_one_call_may_ask_for_are_asked_for_in_pieces() -> None:
    customers: Any = Counting()
    expansion = Expansion({"customers": Target(Customer, customers, "parties")})

    found = await expansion.expanded(Sale, rows(ROWS_MAX + 1), expansion.steps(Sale, ["customer"]))

    assert all(msgspec.json.decode(one)["customer"] for one in found)
    assert [len(asked["customers"]) for asked in customers.asked] == [ROWS_MAX, 1]


async def test_a_service_that_is_away_is_told_as_it_said_it() -> None:
    class Away:
        async def many(self, ids: dict[str, list[str]]) -> dict[str, list[Row]]:
            raise Unavailable(f"nobody has {', '.join(ids)}")

    there: Any = Counting()
    away: Any = Away()
    expansion = Expansion({"customers": Target(Customer, there, "parties"), "regions": Target(Region, away, "places")})
    with pytest.raises(Unavailable, match="nobody has regions"):
        await expansion.expanded(Sale, rows(3), expansion.steps(Sale, ["customer", "regions"]))


async def test_links_that_lead_to_too_much_are_refused() -> None:
    many: Any = Counting()
    expansion = Expansion({"customers": Target(Customer, many, "parties")})
    with pytest.raises(Invalid):
        await expansion.expanded(Sale, rows(EXPANDED_MAX + 1), expansion.steps(Sale, ["customer"]))

    wide: Any = Counting(size=EXPANDED_BYTES_MAX // 10)
    expansion = Expansion({"customers": Target(Customer, wide, "parties")})
    with pytest.raises(Invalid):
        await expansion.expanded(Sale, rows(11, "same"), expansion.steps(Sale, ["customer"]))


def test_a_link_that_cannot_be_is_misdeclared() -> None:
    class Number(Resource):
        to: Annotated[int, Link("customers")]

    class Either(Resource):
        to: Annotated[str | int, Link("customers")]

    class Taken(Resource):
        expanded: bool
        to: Annotated[str, Link("customers")]

    for kind in (Number, Either, Taken):
        with pytest.raises(Misdeclared):
            Gateway().resources(kind)
    for target in (str, "", 7):
        wrong: Any = target
        with pytest.raises(Misdeclared):
            Link(wrong)


def test_links_are_found_however_they_are_written() -> None:
    Id = NewType("Id", str)

    class Post(Resource):
        plain: str
        named: Annotated[Id, Link("a")]
        one: Annotated[str, Link("a")]
        maybe: Annotated[str, Link("a")] | None = None
        also: Annotated[str | None, Link("a")] = None
        items: list[Annotated[str, Link("b")]]
        pair: Annotated[tuple[Id, ...], Link("b")] = ()
        renamed: Annotated[str, Link("c")] = msgspec.field(default="", name="newName")

    assert [(link.name, link.collection, link.many) for link in links_of(Post)] == [
        ("named", "a", False),
        ("one", "a", False),
        ("maybe", "a", False),
        ("also", "a", False),
        ("items", "b", True),
        ("pair", "b", True),
        ("newName", "c", False),
    ]


async def test_links_are_told_in_the_document(desk: Door) -> None:
    document = (await desk("GET", "/openapi.json")).json
    parameters = {one.get("name"): one for one in document["paths"]["/sales"]["get"]["parameters"]}
    row = document["paths"]["/sales/{id}"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]

    assert parameters["expand"]["description"].endswith("customer, payer, regions.")
    assert set(row["allOf"][1]["properties"]["expanded"]["properties"]) == {"customer", "payer", "regions"}
    assert "expand" not in {one.get("name") for one in document["paths"]["/regions"]["get"]["parameters"]}
