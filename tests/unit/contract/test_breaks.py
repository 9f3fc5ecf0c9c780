"""What of a contract does not fit any more, told to whoever releases."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from hanse import Event, Resource, Service, rpc
from hanse.contract.breaks import breaks
from hanse.contract.derive import Description
from hanse.contract.schema import Json
from hanse.service.service import descriptions_of


class Drunk(Event, topic="drunk"):
    drink: str
    size: int = 1


class Fewer(Event, topic="drunk"):
    drink: str


class Cup(Resource, collection="cups"):
    colour: str


class Bigger(Resource, collection="cups"):
    colour: str
    size: int


class Till(Service, name="till"):
    @rpc(idempotent=True)
    async def price(self, drink: str, size: int = 1) -> int:
        raise NotImplementedError

    @rpc
    async def drinks(self) -> AsyncIterator[str]:
        yield ""


class Gone(Service, name="till"):
    @rpc
    async def price(self, drink: str) -> int | None:
        raise NotImplementedError


class Listed(Service, name="till"):
    @rpc(idempotent=True)
    async def price(self, drink: str, size: int = 1, note: str = "") -> int:
        raise NotImplementedError

    @rpc
    async def drinks(self) -> list[str]:
        raise NotImplementedError

    @rpc
    async def more(self) -> int:
        raise NotImplementedError


def published(cls: type[Service]) -> Json:
    return descriptions_of(cls)[0].publish()


def shapes(*, event: type[Event] = Drunk, resource: type[Resource] = Cup) -> Json:
    return Description("", "", "", {}, (event,), (resource,)).publish()


def test_whoever_expects_the_same_gets_along() -> None:
    assert breaks(published(Till), published(Till), newer=True) == []
    assert breaks(shapes(), shapes(), newer=True) == []


@pytest.mark.parametrize(
    ("offered", "told"),
    [
        (
            Gone,
            [
                "till.price: callers repeat it, as it was idempotent, and it is not",
                "till.price: arguments: field size is not known there",
                "till.price: answer: expected integer, comes as null",
                "till.drinks: is not there",
            ],
        ),
        (Listed, ["till.drinks: expected a stream of answers, it is one answer"]),
    ],
)
def test_what_callers_know_and_do_not_get_is_told(offered: type[Service], told: list[str]) -> None:
    assert breaks(published(Till), published(offered), newer=True) == told


def test_whoever_is_newer_may_know_answers_that_the_older_does_not_tell_only_with_a_default() -> None:
    assert breaks(shapes(event=Drunk), shapes(event=Fewer), newer=True) == ["event drunk: field size is gone"]
    assert breaks(shapes(event=Drunk), shapes(event=Fewer), newer=False) == []


def test_rows_are_read_and_written_by_both() -> None:
    assert breaks(shapes(), shapes(resource=Bigger), newer=True) == [
        "rows of cups, as they are written: field size is needed, and is not there"
    ]
    assert breaks(shapes(resource=Bigger), shapes(), newer=True) == [
        "rows of cups: field size is needed, and is not there"
    ]


def test_what_is_not_offered_at_all_is_told() -> None:
    nothing = Description("", "", "", {}).publish()
    assert breaks(shapes(), nothing, newer=True) == ["event drunk: is not there", "rows of cups: is not there"]
