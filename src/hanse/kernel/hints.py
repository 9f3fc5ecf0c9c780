"""Type hints as Hanse reads them: those of a function or a class, and what a hint is without all that is around it."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from typing import Annotated, NewType, Union

from hanse.kernel.faults import Misdeclared

UNIONS: tuple[object, ...] = (Union, types.UnionType)
"""What the origin of a union is: `Optional[int]`, `int | None`."""


def hints_of(thing: type | Callable[..., object], said: str) -> dict[str, object]:
    """The hints of a class or a function, with their notes.

    Args:
        thing: The class or the function.
        said: What has the hints, as an error begins: "a field of Shop".

    Raises:
        Misdeclared: A hint names something that does not exist.
    """
    try:
        return typing.get_type_hints(thing, include_extras=True)
    except NameError as error:
        raise Misdeclared(
            f"{said} names {error.name!r}, which does not exist in {thing.__module__}; "
            f"import it there at run time, not under `if TYPE_CHECKING`"
        ) from None


def bare(hint: object) -> object:
    """A hint without notes, names of its own and null; a union of several stays one.

    Example:
        >>> bare(Annotated[int | None, "a note"]), bare(NewType("Sku", str))
        (<class 'int'>, <class 'str'>)
    """
    return unwrapped(hint)[0]


def unwrapped(hint: object) -> tuple[object, tuple[object, ...]]:
    """A bare hint, and the notes that were around it, the outermost first.

    Example:
        >>> unwrapped(Annotated[Annotated[int, "inner"] | None, "outer"])
        (<class 'int'>, ('outer', 'inner'))
    """
    notes: list[object] = []
    while True:
        if isinstance(hint, NewType):
            hint = hint.__supertype__
        elif typing.get_origin(hint) is Annotated:
            hint, *around = typing.get_args(hint)
            notes.extend(around)
        elif len(members := members_of(hint)) == 1 and members[0] is not hint:
            hint = members[0]
        else:
            return hint, tuple(notes)


def members_of(hint: object) -> list[object]:
    """What a value may be, but null; of anything but a union, the hint alone.

    Example:
        >>> members_of(int | str | None)
        [<class 'int'>, <class 'str'>]
    """
    if typing.get_origin(hint) not in UNIONS:
        return [hint]
    return [member for member in typing.get_args(hint) if member is not type(None)]
