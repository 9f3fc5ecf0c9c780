"""What a module holds beside its code, and what of it changed: state that replicas share in one process only.

Nodes of a simulated world live in one process, so a global that one of them changes is seen by all of them. Nodes
that run apart each have their own. A system that depends on the one passes its simulation and fails in production, so
a world takes a picture of its modules before a run and tells what is different after it.

A picture is made of texts by place, without addresses and without a call of the user's code: equal states have equal
pictures in any process.
"""

from __future__ import annotations

import copy
import itertools
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable, Iterator
from enum import Enum
from types import FunctionType, ModuleType
from typing import NamedTuple, cast, final

import msgspec

from hanse.sim.picture import (
    DEPTH_MAX,
    VALUES_MAX,
    Picture,
    attributes_of,
    compare,
    is_a,
    is_constant,
    is_own,
    picture_of,
    text_of,
)

ADVICE = (
    "nodes that run apart do not share it: keep it in a Collection, or in an attribute that the service sets on itself"
)

_CONTAINERS = (tuple, list, set, frozenset, deque, bytearray, dict, OrderedDict, defaultdict, Counter)
_NOTHING = object()


@final
class ModuleState:
    """A picture of what some modules hold, to be compared with what they hold later.

    Seen are lists, dicts, sets and the like, instances of the app's own classes, some stateful classes of the standard
    library (queues, `itertools.count`, `random.Random`), numbers and texts; behind module globals and behind attributes
    of the modules' classes. Not seen are functions and what they close over, modules, classes as values, loggers,
    context variables, caches of functools, what belongs to Hanse, and the insides of other libraries' objects.

    Example:
        >>> shop = ModuleType("shop")
        >>> shop.CACHE = {}
        >>> state = ModuleState([shop])
        >>> shop.CACHE["a"] = 1
        >>> print(state.changed()[0].partition(";")[0])
        shop.CACHE (dict): 'a' was added
        >>> state.restore()
        []
        >>> shop.CACHE
        {}
    """

    def __init__(self, modules: Iterable[ModuleType]) -> None:
        """Take the picture of modules; `reached` finds those that others import."""
        self._modules: list[ModuleType] = list(dict.fromkeys(modules))
        self._kept: dict[str, _Kept] = {
            place.name: _Kept(place, (picture := picture_of(place.value)), _copied(place.value, picture))
            for place in _places(self._modules)
        }

    def changed(self) -> list[str]:
        """What is different now, one line for each value, in the order of the modules and of their names.

        Returns:
            Such as `shop.CACHE (dict): 'a' was added; nodes that run apart do not share it: ...`. A value that several
            modules have is told once.
        """
        told: set[int] = set()
        lines: list[str] = []
        for name, before, now in self._pairs():
            changes = compare(before.picture if before else {}, picture_of(now.value) if now else {})
            value = now.value if now else cast("_Kept", before).place.value
            if changes and id(value) not in told:
                lines.append(f"{name} ({type(value).__name__}): {changes}; {ADVICE}")
            if changes and text_of(value) is None:
                told.add(id(value))
        return lines

    def restore(self) -> list[str]:
        """Put back what changed, as far as it was plain data, so that a next run begins as this one did.

        Plain data are numbers and texts, frozen structs, and lists, dicts, sets, deques and bytearrays of them, also
        as attributes of an instance. They are filled anew in place, so whoever holds one goes on with it; containers
        inside them are made anew. Not put back are what closures hold, what is deeper than a picture goes, generators,
        queues, files and connections.

        Returns:
            What is still different, as `changed` tells it.
        """
        for _, before, now in list(self._pairs()):
            if before is None and now is not None:
                delattr(now.owner, now.attribute)
            elif before is not None and (now is None or picture_of(now.value) != before.picture):
                _put_back(before, now)
        return self.changed()

    def _pairs(self) -> Iterator[tuple[str, _Kept | None, _Place | None]]:
        places = {place.name: place for place in _places(self._modules)}
        for name in dict.fromkeys((*self._kept, *places)):
            yield name, self._kept.get(name), places.get(name)


def reached(modules: Iterable[ModuleType]) -> list[ModuleType]:
    """These modules, and those of the app's own that they import, directly or through others.

    Example:
        >>> import json
        >>> shop, stock = ModuleType("shop"), ModuleType("stock")
        >>> shop.stock, shop.json, stock.__file__ = stock, json, "/home/me/stock.py"
        >>> [module.__name__ for module in reached([shop])]
        ['shop', 'stock']
    """
    found = dict.fromkeys(modules)
    waiting = deque(found)
    while waiting:
        for value in list(vars(waiting.popleft()).values()):
            module = _origin(value)
            if module is not None and module not in found and is_own(module):
                found[module] = None
                waiting.append(module)
    return list(found)


def _origin(value: object) -> ModuleType | None:
    """The module that something comes from; itself, if it is one."""
    if is_a(value, ModuleType):
        return cast("ModuleType", value)
    has_one = cast("type", value) if is_a(value, type, FunctionType) else type(value)
    return sys.modules.get(has_one.__module__)


class _Place(NamedTuple):
    """A name of a module or of a class, and what it stands for."""

    name: str
    owner: ModuleType | type
    attribute: str
    value: object


class _Kept(NamedTuple):
    """What was there when the picture was taken."""

    place: _Place
    picture: Picture
    contents: object


def _places(modules: Iterable[ModuleType]) -> Iterator[_Place]:
    for module in modules:
        yield from _places_of(module, module.__name__, module.__name__)


def _places_of(owner: ModuleType | type, prefix: str, module: str) -> Iterator[_Place]:
    """What Python itself keeps in a module or a class is no state, and an enumeration has none.

    Nor are modules that are found in others, which an import inside a function adds.
    """
    for name, value in list(vars(owner).items()):
        if name.startswith(("__", "_abc_")) or is_a(value, ModuleType):
            continue
        if not is_a(value, type):
            yield _Place(f"{prefix}.{name}", owner, name, value)
        elif _is_of(cast("type", value), module, name):
            yield from _places_of(cast("type[object]", value), f"{prefix}.{name}", module)


def _is_of(cls: type, module: str, name: str) -> bool:
    """Whether a class is written here, and not an enumeration or imported."""
    return cls.__module__ == module and cls.__name__ == name and not issubclass(cls, Enum)


def _copied(value: object, picture: Picture) -> object:
    """A copy of what a value holds, if it is plain data and not too much; None for others."""
    contents = _contents(value)
    return copy.deepcopy(contents) if len(picture) < VALUES_MAX and _is_plain(contents, 0) else None


def _contents(value: object) -> object:
    """What can be filled anew: the attributes of an instance, or a container itself."""
    attributes = None if type(value) in _CONTAINERS else attributes_of(value)
    return value if attributes is None else attributes


def _is_plain(value: object, depth: int) -> bool:
    """Whether a copy of it is as good as itself, and is made without a call of the app's code."""
    if is_a(value, msgspec.Struct):
        struct = cast("msgspec.Struct", value)
        inside: Iterable[object] = msgspec.structs.astuple(struct) if struct.__struct_config__.frozen else [_NOTHING]
    elif type(value) in _CONTAINERS:
        inside = cast("Iterable[object]", value)
    else:
        return is_a(value, FunctionType) or is_constant(value)
    if is_a(value, dict):
        inside = itertools.chain(inside, cast("dict[object, object]", value).values())
    return depth < DEPTH_MAX and all(_is_plain(each, depth + 1) for each in inside)


def _put_back(kept: _Kept, now: _Place | None) -> None:
    """The same object under its name, holding what it held."""
    value = kept.place.value
    if now is None or now.value is not value:
        setattr(kept.place.owner, kept.place.attribute, value)
    if kept.contents is not None:
        _fill(_contents(value), copy.deepcopy(kept.contents))


def _fill(value: object, contents: object) -> None:
    """What cannot change holds what it held already."""
    if isinstance(value, list | bytearray):
        cast("list[object]", value)[:] = cast("list[object]", contents)
    elif isinstance(value, deque):
        cast("deque[object]", value).clear()
        cast("deque[object]", value).extend(cast("deque[object]", contents))
    elif isinstance(value, set | dict):
        cast("set[object]", value).clear()
        cast("set[object]", value).update(cast("set[object]", contents))
