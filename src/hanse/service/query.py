"""Typed lambdas as filters: evaluated once on a symbolic row, they leave a query tree.

`lambda o: (o.status == "paid") & (o.amount > 3)` type-checks as ordinary Python about an `Order`; called with a
symbol instead, each operator notes itself. Nothing is parsed, and no source is read.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import ClassVar, Literal, NoReturn, TypeVar, cast
from uuid import UUID  # noqa: TID251 - the type only, to compare with; ids come from the host

import msgspec

from hanse.contract.model import Resource
from hanse.kernel.faults import Misdeclared
from hanse.store.query import And, Compare, Holds, Not, OneOf, Or, Order, Path, Scalar, Text, Where

R = TypeVar("R")

_ADVICE = "combine with & | and not_(...) instead of and, or, not, in, if and chained comparisons"


def where_of(condition: Callable[[R], bool] | Where | None) -> Where | None:
    """The query tree of a typed lambda.

    Raises:
        Misdeclared: The lambda does something that a query cannot, such as `and`.

    Example:
        >>> where_of(lambda order: order.status == "paid")
        Compare(op='eq', path=('status',), value='paid')
    """
    if condition is None or not callable(condition):
        return condition
    return _tree(_asked(condition))


def order_of(sort: Callable[[R], object] | None) -> tuple[Order, ...]:
    """What to sort by, as a typed lambda says it: a field, `desc(field)`, or a tuple of them.

    Example:
        >>> order_of(lambda order: (desc(order.amount), order.sku))
        (Order(path=('amount',), descending=True), Order(path=('sku',), descending=False))
    """
    if sort is None:
        return ()
    answer = _asked(sort)
    parts = cast("tuple[object, ...]", answer) if isinstance(answer, tuple) else (answer,)
    return tuple(_order(part) for part in parts)


def filter_of(kind: type[Resource], condition: Callable[[R], bool] | Where | None) -> Where | None:
    """The query tree of a typed lambda about a resource, by the names that its JSON has; a tree is given back as it is.

    Raises:
        Misdeclared: As `where_of`, or the resource has no such field.
    """
    tree = where_of(condition)
    return tree if tree is None or tree is condition else _renamed(tree, kind)


def sorting_of(kind: type[Resource], sort: Callable[[R], object] | None) -> tuple[Order, ...]:
    """The order that a typed lambda about a resource names, by the names that its JSON has.

    Raises:
        Misdeclared: As `order_of`, or the resource has no such field.
    """
    return tuple(Order(_json_path(order.path, kind), order.descending) for order in order_of(sort))


def _renamed(tree: Where, kind: type[Resource]) -> Where:
    if isinstance(tree, (And, Or)):
        return msgspec.structs.replace(tree, parts=tuple(_renamed(part, kind) for part in tree.parts))
    if isinstance(tree, Not):
        return Not(_renamed(tree.part, kind))
    return msgspec.structs.replace(tree, path=_json_path(tree.path, kind))


def _json_path(path: Path, kind: type[Resource]) -> Path:
    names = kind.__struct_fields__
    if path[0] not in names:
        raise Misdeclared(f"{kind.__name__} has no field {path[0]!r}; it has {', '.join(names)}")
    return (kind.__struct_encode_fields__[names.index(path[0])], *path[1:])


def _asked(question: Callable[[R], object]) -> object:
    """What a lambda makes of the symbolic row."""
    try:
        return question(cast("R", Symbol(())))
    except Misdeclared:
        raise
    except (TypeError, AttributeError) as error:
        raise Misdeclared(f"a query cannot do this with a field: {error}; {_ADVICE}") from None


def _order(part: object) -> Order:
    if isinstance(part, Order):
        return part
    if isinstance(part, Symbol):
        return Order(_path(part))
    raise Misdeclared(f"expected a field to sort by, such as `lambda o: o.amount`, got {part!r}")


def desc(field: object) -> object:
    """Sort by a field, largest first.

    Example:
        >>> order_of(lambda order: desc(order.amount))
        (Order(path=('amount',), descending=True),)
    """
    if not isinstance(field, Symbol):
        raise Misdeclared(f"desc() goes round a field in `sort=`, got {field!r}")
    return Order(_path(field), descending=True)


def not_(condition: object) -> bool:
    """The opposite of a condition: `not_(o.status == "paid")`."""
    return _as_bool(Condition(Not(_tree(condition))))


def one_of(field: object, values: Iterable[object]) -> bool:
    """Whether the field equals one of the values: `one_of(o.status, ["new", "paid"])`."""
    return _as_bool(Condition(OneOf(_path(field), tuple(scalar(value) for value in values))))


def contains(field: object, piece: object) -> bool:
    """Whether a string holds a piece (`contains(o.name.casefold(), "land")`); for lists, see `holds`."""
    if isinstance(piece, str):
        folded = isinstance(field, Symbol) and field.__hanse_fold__
        return _as_bool(Condition(Text("contains", _path(field, folds=True), piece, fold=folded)))
    return holds(field, piece)


def holds(field: object, value: object) -> bool:
    """Whether a list field holds the value: `holds(o.tags, "urgent")`."""
    return _as_bool(Condition(Holds(_path(field), scalar(value))))


class Symbol:
    """Stands for a field of any row; operators on it make conditions."""

    # Named so that no field of a row is: `lambda file: file.path == "/etc"` has to ask for the row's path.
    __slots__ = ("__hanse_fold__", "__hanse_path__")
    __hash__: ClassVar[None]  # type: ignore[assignment]

    def __init__(self, path: Path, *, fold: bool = False) -> None:
        self.__hanse_path__: Path = path
        self.__hanse_fold__: bool = fold

    def __getattr__(self, name: str) -> Symbol:
        if name.startswith("__"):
            raise AttributeError(name)
        return Symbol((*self.__hanse_path__, name))

    def __repr__(self) -> str:
        return f"the field {'.'.join(self.__hanse_path__)}" if self.__hanse_path__ else "the row"

    def _compare(self, op: Literal["eq", "ne", "lt", "le", "gt", "ge"], other: object) -> Condition:
        if isinstance(other, Symbol):
            raise Misdeclared(f"{self!r} is compared with {other!r}; a query compares a field with a value")
        return Condition(Compare(op, _path(self), scalar(other)))

    def __eq__(self, other: object) -> Condition:  # type: ignore[override]
        return self._compare("eq", other)

    def __ne__(self, other: object) -> Condition:  # type: ignore[override]
        return self._compare("ne", other)

    def __lt__(self, other: object) -> Condition:
        return self._compare("lt", other)

    def __le__(self, other: object) -> Condition:
        return self._compare("le", other)

    def __gt__(self, other: object) -> Condition:
        return self._compare("gt", other)

    def __ge__(self, other: object) -> Condition:
        return self._compare("ge", other)

    def casefold(self) -> Symbol:
        """Compare without regard to case."""
        return Symbol(self.__hanse_path__, fold=True)

    lower = casefold

    def startswith(self, piece: str) -> Condition:
        """Whether the string starts with a piece."""
        return Condition(Text("starts", _path(self, folds=True), piece, fold=self.__hanse_fold__))

    def endswith(self, piece: str) -> Condition:
        """Whether the string ends with a piece."""
        return Condition(Text("ends", _path(self, folds=True), piece, fold=self.__hanse_fold__))

    def __bool__(self) -> NoReturn:
        raise Misdeclared(f"{self!r} has no truth value in a filter; {_ADVICE}")

    __contains__: Callable[..., NoReturn] = cast("Callable[..., NoReturn]", __bool__)
    __iter__: Callable[..., NoReturn] = cast("Callable[..., NoReturn]", __bool__)
    __len__: Callable[..., NoReturn] = cast("Callable[..., NoReturn]", __bool__)

    def __and__(self, other: object) -> Condition:
        return Condition(And((_tree(self), _tree(other))))

    def __or__(self, other: object) -> Condition:
        return Condition(Or((_tree(self), _tree(other))))

    def __rand__(self, other: object) -> Condition:
        return Condition(And((_tree(other), _tree(self))))

    def __ror__(self, other: object) -> Condition:
        return Condition(Or((_tree(other), _tree(self))))


class Condition:
    """A tree in the making."""

    __slots__ = ("tree",)

    def __init__(self, tree: Where) -> None:
        self.tree: Where = tree

    def __and__(self, other: object) -> Condition:
        return Condition(And((self.tree, _tree(other))))

    def __or__(self, other: object) -> Condition:
        return Condition(Or((self.tree, _tree(other))))

    def __invert__(self) -> Condition:
        return Condition(Not(self.tree))

    def __bool__(self) -> NoReturn:
        raise Misdeclared(f"a condition has no truth value in a filter; {_ADVICE}")


def _as_bool(condition: Condition) -> bool:
    """To the type checker a condition is what it stands for."""
    return cast("bool", condition)


def _tree(part: object) -> Where:
    if isinstance(part, Condition):
        return part.tree
    if isinstance(part, Symbol) and part.__hanse_path__:
        return Compare("eq", _path(part), value=True)
    raise Misdeclared(f"expected a condition on the row's fields, got {part!r}; {_ADVICE}")


def _path(field: object, *, folds: bool = False) -> Path:
    if not isinstance(field, Symbol) or not field.__hanse_path__:
        raise Misdeclared(f"expected a field of the row, got {field!r}")
    if field.__hanse_fold__ and not folds:
        raise Misdeclared(f"{field!r} without regard to case can be asked for startswith, endswith and contains() only")
    return field.__hanse_path__


def scalar(value: object) -> Scalar:
    """A value as JSON has it, to compare with.

    Raises:
        Misdeclared: It is not a single value.
    """
    if isinstance(value, enum.Enum):
        return scalar(value.value)
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, (Decimal, datetime, date, time, timedelta, UUID, bytes)):
        return cast("Scalar", msgspec.to_builtins(value))
    raise Misdeclared(f"a filter compares with a single value such as a string or a number, got {value!r}")
