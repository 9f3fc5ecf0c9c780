"""The AsyncAPI document of what a gateway exposes."""

from typing import Any

import msgspec
import pytest

from hanse.contract.asyncapi import EventPath, Talk, asyncapi
from hanse.contract.model import Event, Resource
from hanse.contract.openapi import Exposed
from hanse.contract.openapi_rest import ResourcePath


class Item(Resource):
    """A thing on the shelf."""

    name: str
    size: tuple[int, int] = (1, 1)


class ItemSold(Event, version=2):
    """Somebody took it."""

    item: str


class Say(msgspec.Struct, tag_field="op", tag="say"):
    """Say something."""

    value: msgspec.Raw
    more: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    tags: list[str] = []
    loud: bool = False


class Said(msgspec.Struct):
    """Somebody said something."""

    what: object


TALK = Talk((Say,), (Said,))
LIVE = Exposed("shop", [ResourcePath(Item, "/api/items")], prefix="/api")


def document(exposed: Exposed = LIVE, *, root: str = "", emit: bool = False) -> Any:  # noqa: ANN401 - JSON
    events = [EventPath(ItemSold, "shop", "/api/events" if emit else None, emit)]
    return msgspec.json.decode(msgspec.json.encode(asyncapi(exposed, TALK, events, root=root)))


def test_what_is_not_live_has_no_channel() -> None:
    told = document(Exposed("shop", [ResourcePath(Item, "/items", live=False)]))

    assert "items" not in told["channels"]
    assert "Item" not in told["components"]["schemas"]


def test_a_collection_tells_its_changes() -> None:
    told = document()
    channel = told["channels"]["items"]

    assert channel["address"] == "/api/items"
    assert list(channel["messages"]) == ["snapshot", "created", "updated", "deleted", "ready", "reset"]
    assert told["operations"]["follow_items"]["action"] == "send"
    created = told["components"]["messages"]["items_created"]
    assert created["payload"]["properties"]["value"] == {"$ref": "#/components/schemas/Item"}
    assert created["x-hanse-event-type"] == "shop.item.created.v1"


def test_an_event_is_a_cloud_event() -> None:
    told = document()
    payload = told["components"]["messages"]["shop.item_sold.v2"]["payload"]["properties"]

    assert payload["type"] == {"const": "shop.item_sold.v2"}
    assert payload["source"] == {"const": "/shop/shop"}
    assert told["channels"]["shop.item_sold.v2"]["address"] is None
    assert told["operations"]["shop.item_sold.v2"]["action"] == "send"


def test_an_event_that_may_be_emitted_is_received() -> None:
    told = document(emit=True)

    assert told["operations"]["shop.item_sold.v2"]["action"] == "receive"
    assert told["channels"]["shop.item_sold.v2"]["address"] == "/api/events"


def test_the_conversation_has_all_that_may_be_said() -> None:
    told = document()
    say = told["components"]["schemas"]["Say"]["properties"]

    assert told["channels"]["live"]["address"] == "/api/live"
    assert told["operations"]["ask"]["messages"] == [{"$ref": "#/channels/live/messages/live_say"}]
    assert told["operations"]["ask"]["reply"]["messages"] == [{"$ref": "#/channels/live/messages/live_said"}]
    assert told["components"]["messages"]["live_said"]["summary"] == "Somebody said something."
    assert (say["op"], say["value"], say["more"]) == ({"enum": ["say"]}, {}, {})


@pytest.mark.parametrize("root", ["", "/old"])
def test_addresses_begin_where_the_application_is_mounted(root: str) -> None:
    told = document(root=root)

    assert told["channels"]["live"]["address"] == f"{root}/api/live"
    assert told["channels"]["shop.item_sold.v2"]["address"] is None


def test_fixed_items_are_written_as_older_drafts_do() -> None:
    size = document()["components"]["schemas"]["Item"]["properties"]["size"]

    assert size["items"] == [{"type": "integer"}, {"type": "integer"}]
    assert size["additionalItems"] is False
