"""A list of places on SQLite, by Hanse."""

from hanse import App, Collection, Gateway, Resource, Service


class Place(Resource, indexed=("region",)):
    region: str
    country: str
    name: str
    people: int


class Atlas(Service):
    places: Collection[Place]


app = App("atlas", Atlas, gateway=Gateway().resources(Place, path="/places"))
