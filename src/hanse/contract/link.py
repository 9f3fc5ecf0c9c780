"""Fields that name rows of another resource: `customer: Annotated[str, Link(Customer)]`."""

from __future__ import annotations

import typing
from functools import lru_cache

import msgspec

from hanse.contract.model import Resource, collection_of
from hanse.kernel.faults import Misdeclared
from hanse.kernel.hints import hints_of, unwrapped

_LISTS = (list, tuple, set, frozenset)


class Link:
    """Says that a field holds the id of a row elsewhere: `?expand=customer` then gives the row with it.

    The field stays what it is, a text; that its row is there is nobody's promise. Where the resource is another team's,
    or is declared further down, name its collection.

    Example:
        >>> class Order(Resource):
        ...     customer: typing.Annotated[str, Link("customers")]
        ...     stores: list[typing.Annotated[str, Link("stores")]] = []
        >>> [(link.name, link.collection, link.many) for link in links_of(Order)]
        [('customer', 'customers', False), ('stores', 'stores', True)]
    """

    __slots__ = ("collection",)

    def __init__(self, target: type[Resource] | str, /) -> None:
        """Point to a resource.

        Args:
            target: Its class, or the name of its collection.

        Raises:
            Misdeclared: It is neither.
        """
        self.collection: str = _collection(target)


class Linked(msgspec.Struct, frozen=True):
    """A field that is a link.

    Attributes:
        name: Of the field, as JSON has it.
        collection: Where its rows are.
        many: Whether it is a list of ids.
    """

    name: str
    collection: str
    many: bool


@lru_cache(maxsize=4096)
def links_of(kind: type[Resource]) -> tuple[Linked, ...]:
    """The links of a resource, in the order of its fields.

    Raises:
        Misdeclared: A field that is no text, nor a list of texts, is said to be a link.
    """
    found: list[Linked] = []
    _ = hints_of(kind, f"a field of {kind.__name__}")  # says whose hint it is that means nothing
    for field in msgspec.structs.fields(kind):
        hint, notes = unwrapped(field.type)
        many = typing.get_origin(hint) in _LISTS
        if many:
            hint, inner = unwrapped(typing.get_args(hint)[0])
            notes = (*notes, *inner)
        link = next((note for note in notes if isinstance(note, Link)), None)
        if link is None:
            continue
        if hint is not str:
            raise Misdeclared(f"{kind.__name__}.{field.name} is a link, so expected a str or a list of str")
        found.append(Linked(field.encode_name, link.collection, many))
    return tuple(found)


def _collection(target: object) -> str:
    """What users hand in is not always what the types say."""
    if isinstance(target, type) and issubclass(target, Resource):
        return collection_of(target)
    if isinstance(target, str) and target:
        return target
    raise Misdeclared(f"expected Link(Customer) or Link('customers'), got Link({target!r})")
