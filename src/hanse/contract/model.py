"""The data that crosses between services: models, events, resources. Frozen, keyword-only, typed.

`Model` is a `msgspec.Struct`; its metaclass makes frozen and keyword-only the default at run time, and
`dataclass_transform` on the class itself (mypy prefers it there to the metaclass's) tells the type checkers the same.
"""

from __future__ import annotations

from typing import Any, ClassVar, cast, dataclass_transform

import msgspec
from msgspec import StructMeta

from hanse.kernel.faults import Misdeclared, snake_case


def plural(name: str) -> str:
    """The English plural of a snake-case name, by the simple rules; say `collection=` where they are wrong.

    Example:
        >>> plural("order"), plural("country"), plural("box")
        ('orders', 'countries', 'boxes')
    """
    if name.endswith("y") and name[-2:-1] not in "aeiou":
        return name[:-1] + "ies"
    return name + ("es" if name.endswith(("s", "x", "z", "ch", "sh")) else "s")


class ModelMeta(StructMeta):
    """Makes structs frozen and keyword-only unless they say otherwise."""

    def __new__(
        mcls,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, object],
        **options: Any,  # noqa: ANN401 - those of msgspec.Struct, each of a type of its own
    ) -> ModelMeta:
        """Create the class."""
        options.setdefault("frozen", True)
        options.setdefault("kw_only", True)
        return super().__new__(mcls, name, bases, namespace, **options)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class Model(msgspec.Struct, metaclass=ModelMeta, frozen=True, kw_only=True):
    """A value with typed fields, frozen and keyword-only.

    Example:
        >>> class Hold(Model):
        ...     sku: str
        ...     quantity: int = 1
        >>> Hold(sku="tea")
        Hold(sku='tea', quantity=1)
    """


class NamedMeta(ModelMeta):
    """Gives a model a name on the wire and a version, by class keywords."""

    def __new__(  # noqa: PYI034 - mypy has no Self in a metaclass
        mcls,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, object],
        *,
        topic: str | None = None,
        version: int = 1,
        collection: str | None = None,
        **options: Any,  # noqa: ANN401 - see ModelMeta
    ) -> NamedMeta:
        """Create the class.

        Args:
            name: Of the class.
            bases: Of the class.
            namespace: Of the class.
            topic: Name on the wire; the class name in snake case by default.
            version: Raised by whoever breaks the shape.
            collection: Name of the collection (for resources); the plural of the topic by default.
            options: Those of `msgspec.Struct`, and `indexed`: fields that rows are often found or sorted by.

        Raises:
            Misdeclared: An indexed field does not exist.
        """
        topic = topic or snake_case(name)
        namespace["__hanse_names__"] = (topic, version, collection or plural(topic))
        indexed = cast("tuple[str, ...]", options.pop("indexed", ()))
        namespace["__hanse_indexed__"] = tuple(indexed)
        made = cast("NamedMeta", super().__new__(mcls, name, bases, namespace, **options))
        _check_indexed(made, indexed)
        return made


def _check_indexed(kind: NamedMeta, indexed: object) -> None:
    own = [name for name in kind.__struct_fields__ if name not in {"id", "rev"}]
    known = f"the fields of {kind.__name__}: {', '.join(own) or 'none'}"
    if isinstance(indexed, str):
        raise Misdeclared(f"expected a tuple such as indexed=({indexed!r},), got the text {indexed!r}")
    for name in cast("tuple[str, ...]", indexed):
        if name not in own:
            hint = "; an id is found without an index" if name == "id" else ""
            raise Misdeclared(f"expected indexed= to name {known}; got {name!r}{hint}")


class Event(Model, metaclass=NamedMeta):
    """Something that happened. Emit it in a handler; whoever subscribes with `@on` hears of it, once in effect.

    Class keywords: `topic` (its name on the wire, by default the class name in snake case) and `version`.

    Example:
        >>> class OrderPlaced(Event):
        ...     order_id: str
        >>> topic_of(OrderPlaced)
        'order_placed'
    """

    __hanse_names__: ClassVar[tuple[str, int, str]]


class Resource(Model, metaclass=NamedMeta):
    """A typed row of a collection, with its id and revision.

    A new one has neither: the collection gives it an id (unless you chose one) and the revision of its write. Class
    keywords: `collection` (by default the plural of the class name), `topic`, `version`, and `indexed`: the fields that
    rows are often found or sorted by. A store that has indexes makes one for each, and drops those that are no longer
    declared; every write then costs a little more.

    Attributes:
        id: Unique in its collection.
        rev: Revision: grows with each write, never used twice; 0 before the first.

    Example:
        >>> class Order(Resource):
        ...     sku: str
        ...     status: str = "new"
        >>> Order(sku="tea")
        Order(id='', rev=0, sku='tea', status='new')
        >>> collection_of(Order)
        'orders'
    """

    __hanse_names__: ClassVar[tuple[str, int, str]]
    __hanse_indexed__: ClassVar[tuple[str, ...]]

    id: str = ""
    rev: int = 0


def topic_of(kind: type[Event | Resource]) -> str:
    """The name of an event or resource on the wire."""
    return kind.__hanse_names__[0]


def version_of(kind: type[Event | Resource]) -> int:
    """The version of an event's or resource's shape."""
    return kind.__hanse_names__[1]


def indexed_of(kind: type[Resource]) -> tuple[str, ...]:
    """The fields of a resource that are indexed, as JSON has them.

    Example:
        >>> class Order(Resource, indexed=("status",)):
        ...     status: str
        >>> indexed_of(Order)
        ('status',)
    """
    names = dict(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))
    return tuple(names[name] for name in kind.__hanse_indexed__)


def collection_of(kind: type[Resource]) -> str:
    """The name of a resource's collection.

    Raises:
        Misdeclared: It is the base class itself, which has none.
    """
    if kind is Resource:
        msg = "expected a subclass of Resource, such as `class Order(Resource): ...`, got Resource itself"
        raise Misdeclared(msg)
    return kind.__hanse_names__[2]
