"""Every country and every state of ISO 3166, to read, to search, to change and to watch.

    hanse run examples/countries/app.py

Then open the page that it names, or ask from a shell:

    curl http://127.0.0.1:8000/countries/FR
    curl "http://127.0.0.1:8000/states?country=US&limit=10"
    curl "http://127.0.0.1:8000/search?text=land"
    curl -N -H "Accept: text/event-stream" "http://127.0.0.1:8000/states?country=FR"
    curl -X PATCH --json '{"name": "Lutetia"}' http://127.0.0.1:8000/states/FR-75C
    hanse call countries.search text=land
"""

from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import pycountry

from hanse import App, Collection, Gateway, Model, Resource, Service, contains, rpc

EDITION = version("pycountry")


class Country(Resource):
    """A country of ISO 3166-1. Its id is its code, such as FR."""

    name: str
    flag: str
    alpha_3: str
    numeric: str


class State(Resource):
    """A part of a country, by ISO 3166-2: a state, a region, a county. Its id is its code, such as FR-33."""

    country: str
    name: str
    kind: str
    parent: str = ""


class Edition(Resource):
    """Which edition of the standard has been loaded."""

    version: str


class Matches(Model):
    """What a search finds."""

    countries: list[Country]
    states: list[State]


class Countries(Service):
    """Countries and their states, as ISO 3166 lists them."""

    countries: Collection[Country]
    states: Collection[State]
    editions: Collection[Edition]

    @rpc(idempotent=True, route="GET /search")
    async def search(self, text: str, limit: int = 20) -> Matches:
        """Countries and states whose name holds the text, whatever its case."""
        countries = await self.countries.find(
            lambda country: contains(country.name.casefold(), text), sort=lambda country: country.name, limit=limit
        )
        states = await self.states.find(
            lambda state: contains(state.name.casefold(), text), sort=lambda state: state.name, limit=limit
        )
        return Matches(countries=countries.items, states=states.items)

    async def started(self) -> None:
        """Load the standard, unless this edition of it is here already: one unit of work, so all of it or nothing."""
        if await self.editions.count(lambda edition: edition.version == EDITION):
            return
        for country in countries():
            await self.countries.put(country)
        for state in states():
            await self.states.put(state)
        await self.editions.put(Edition(id="iso-3166", version=EDITION))


def countries() -> Iterator[Country]:
    for c in cast("Iterable[Any]", pycountry.countries):
        yield Country(id=c.alpha_2, name=c.name, flag=c.flag, alpha_3=c.alpha_3, numeric=c.numeric)


def states() -> Iterator[State]:
    for s in cast("Iterable[Any]", pycountry.subdivisions):
        yield State(id=s.code, country=s.country_code, name=s.name, kind=s.type, parent=s.parent_code or "")


gateway = Gateway()
gateway.resources(Country, path="/countries")
gateway.resources(State, path="/states")
gateway.rpc(Countries)
gateway.static("/", Path(__file__).parent / "page")

app = App("countries", Countries, gateway=gateway)
