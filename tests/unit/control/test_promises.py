"""Whether a release fits those who run beside it."""

from __future__ import annotations

import pytest

from hanse import App, Collection, Event, Gateway, Resource, Service, on, rpc
from hanse.cli.promises import promises_of
from hanse.control.promises import TOLD_MAX, Beside, in_words, misfits


class Sold(Event, topic="sold"):
    drink: str


class SoldOnly(Event, topic="sold"):
    price: int


class Cup(Resource, collection="cups"):
    colour: str


class FineCup(Resource, collection="cups"):
    colour: int


class Till(Service, name="till", events=(Sold,)):
    cups: Collection[Cup]

    @rpc
    async def price(self, drink: str) -> int:
        raise NotImplementedError

    @rpc
    async def hidden(self) -> int:
        raise NotImplementedError


class Cafe(Service, name="cafe"):
    till: Till

    @rpc
    async def order(self, drink: str) -> str:
        raise NotImplementedError


class Ledger(Service, name="ledger"):
    @on(Sold)
    async def note(self, sold: Sold) -> None: ...


class Dearer(Service, name="till", events=(Sold,)):
    cups: Collection[Cup]

    @rpc
    async def price(self, drink: str) -> float:
        raise NotImplementedError

    @rpc
    async def hidden(self) -> int:
        raise NotImplementedError


class Silent(Service, name="till", events=(SoldOnly,)):
    cups: Collection[FineCup]

    @rpc
    async def price(self, drink: str) -> int:
        raise NotImplementedError

    @rpc
    async def hidden(self) -> int:
        raise NotImplementedError


class Sized(Service, name="till"):
    @rpc
    async def price(self, drink: str, size: int) -> int:
        raise NotImplementedError


class Bank(Service, name="bank"):
    @rpc
    async def pay(self) -> None:
        raise NotImplementedError


class NewCafe(Service, name="cafe"):
    till: Sized
    bank: Bank

    @rpc
    async def order(self, drink: str) -> str:
        raise NotImplementedError


OLD = promises_of(App("cafe", Cafe, Till, Ledger, gateway=Gateway().rpc(Cafe)))


def told(*services: type[Service], of: str = "till") -> list[str]:
    others = [Beside(name, "base", one) for name, one in OLD.items() if name != of]
    return misfits(promises_of(App("cafe", *services))[of], Beside(of, "base", OLD[of]), others)


def test_the_same_code_fits() -> None:
    assert told(Till) == []
    assert told(Cafe, Till, of="cafe") == []


def test_whoever_calls_it_is_named_with_what_breaks() -> None:
    assert told(Dearer) == [
        "cafe (base) counts on it: till.price: answer: expected integer, comes as number",
    ]


def test_events_and_rows_are_looked_at_too() -> None:
    assert told(Silent) == [
        "till (base) has the same store: rows of cups: colour: expected string, comes as integer",
        "till (base) has the same store: rows of cups, as they are written: colour: expected integer, comes as string",
        "ledger (base) counts on it: event sold: field drink is needed, and is not there",
    ]


def test_what_it_counts_on_itself_has_to_be_there() -> None:
    assert told(NewCafe, Sized, Bank, of="cafe") == [
        "it counts on till (base): till.price: arguments: field size is not known there",
        "it calls bank, which nobody who runs offers: release that first",
    ]


@pytest.mark.parametrize(("number", "end"), [(0, ""), (2, "x; x"), (TOLD_MAX + 2, "x; and 2 more")])
def test_many_things_are_told_within_a_limit(number: int, end: str) -> None:
    assert in_words(["x"] * number).endswith(end)
