"""Pictures of values: texts by place, without addresses, and without a call of the code that the values belong to.

Equal states have equal pictures, in any process, so that pictures can be compared and what differs can be told.
"""

from __future__ import annotations

import functools
import itertools
import random  # noqa: TID251 - looked for in others' state
import sys
from array import array
from collections import Counter, deque
from collections.abc import Iterable, Iterator, MutableMapping, MutableSequence, MutableSet
from contextlib import suppress
from datetime import date, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from hashlib import blake2b
from io import BytesIO, StringIO
from pathlib import PurePath
from types import MappingProxyType, MemberDescriptorType, ModuleType
from typing import Any, cast
from uuid import UUID  # noqa: TID251 - an id that is there already

from hanse.sim.fence import is_library

DEPTH_MAX = 6
"""Steps from a module's name to a value that is looked at; of what lies deeper only the type and the size are seen."""

VALUES_MAX = 10_000
"""Values that are looked at behind one name; of what comes after them only the type and the size are seen."""

TEXT_MAX = 80
"""Characters of a value that are kept; a longer one is told from others by a digest."""

CHANGES_MAX = 3
"""Changes of one value that are told; of the others their number is."""

_BITS_MAX = 2_000  # Python refuses to write much longer numbers in decimal
_PLAIN = (bool, int, float, complex, str, bytes)
_DATA = (date, time, timedelta, tzinfo, Decimal, Fraction, PurePath, UUID, range)
_STATEFUL = {"asyncio.locks", "asyncio.queues", "collections", "queue", "types"}  # the standard library's, by instance

Path = tuple[str, ...]
"""Steps to a value, from what a name stands for."""

Picture = dict[Path, str]
"""The text of each value behind a name, the nearest first."""


def picture_of(value: object) -> Picture:
    """The texts of a value and of what it holds.

    Example:
        >>> picture_of({"a": [1]})
        {(): 'dict', ("['a']",): 'list', ("['a']", '[0]'): '1'}
    """
    picture: Picture = {}
    _add(picture, (), value, ())
    return picture


def compare(before: Picture, now: Picture) -> str:
    """What is different between two pictures, in words; empty where nothing is.

    Example:
        >>> compare(picture_of([1, {"a": 1}]), picture_of([2, {"a": 1, "b": 3}, 3]))
        "[0] was 1, is 2; [1]['b'] was added; [2] was added"
    """
    if before == now:
        return ""
    if not before or not now:
        return "was removed" if before else "was added"
    told: dict[Path, str] = {}
    for path in dict.fromkeys((*before, *now)):
        if before.get(path) != now.get(path) and not any(path[:length] in told for length in range(len(path))):
            told[path] = f"{_shown(path)}{_change(before.get(path), now.get(path))}"
    more = len(told) - CHANGES_MAX
    return "; ".join([*list(told.values())[:CHANGES_MAX], *([f"and {more} more"] if more > 0 else [])])


def text_of(value: object) -> str | None:
    """What stands for a value that holds no others; None for those that may."""
    if is_constant(value):
        return _short(_constant(value))
    if is_a(value, bytearray, array):
        return _short(f"{type(value).__name__}({bytes(cast('bytearray', value))!r})")
    if is_a(value, StringIO, BytesIO):
        file = cast("StringIO", value)
        return "closed" if file.closed else _short(repr(file.getvalue()))
    if is_a(value, itertools.count):
        return repr(value)
    return f"a generator at {_digest(repr(value.getstate()))}" if type(value) is random.Random else None


def is_constant(value: object) -> bool:
    """Whether a value holds no others, and stays what it is."""
    if is_a(value, *_DATA):
        return not _is_looked_into(type(value))
    return value is None or is_a(value, *_PLAIN, Enum, type)


def is_a(value: object, *kinds: type) -> bool:
    """What isinstance says, without asking the value: one that stands for another may have nobody to ask now."""
    return issubclass(type(value), kinds)


def attributes_of(value: object) -> dict[str, object] | None:
    """The attributes of an instance as it keeps them; None where it has no place for any."""
    try:
        return cast("dict[str, object]", object.__getattribute__(value, "__dict__"))
    except AttributeError:
        return None


def is_own(module: ModuleType) -> bool:
    """Whether a module is the app's; one without a file may be a folder of others, or the program itself."""
    file = vars(module).get("__file__")
    if isinstance(file, str):
        return not is_library(file)
    paths: Iterable[str] = vars(module).get("__path__", ())
    return module.__name__ == "__main__" or not all(is_library(f"{path}/") for path in paths)


def _add(picture: Picture, path: Path, value: object, above: tuple[object, ...]) -> None:
    """Depth first; what is above a value is known by identity, so that a circle ends."""
    text = text_of(value)
    picture[path] = text or type(value).__name__
    if text is not None or any(value is each for each in above):
        return
    for step, child in _inside(value):
        if len(path) >= DEPTH_MAX or len(picture) >= VALUES_MAX:
            picture[path] = f"{type(value).__name__}{_size(value)}"
            return
        _add(picture, (*path, step), child, (*above, value))


def _size(value: object) -> str:
    return f" of {len(cast('list[object]', value))}" if is_a(value, list, tuple, deque, set, frozenset, dict) else ""


def _constant(value: object) -> str:
    """A class of the user's may have its own idea of how to show a text; the text is shown as any other."""
    if is_a(value, type):
        return cast("type", value).__name__
    if is_a(value, Enum):
        return f"{type(value).__name__}.{_name_of(cast('Enum', value))}"
    if is_a(value, int) and cast("int", value).bit_length() > _BITS_MAX:
        return hex(cast("int", value))
    kind: Any = next((each for each in _PLAIN if is_a(value, each)), type(value))
    return str(kind.__repr__(value))


def _name_of(member: Enum) -> object:
    """Flags that were put together may have no name."""
    known: dict[str, object] = vars(member)
    return known["_name_"] or known["_value_"]


def _short(text: str) -> str:
    return text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]}... ({_digest(text)})"


def _digest(text: str) -> str:
    return blake2b(text.encode(errors="replace"), digest_size=4).hexdigest()


def _inside(value: object) -> Iterator[tuple[str, object]]:
    """What a value holds, by the step that leads there; in an order that does not depend on addresses or hashes."""
    yield from _members(value)
    yield from _attributes(value)


def _members(value: object) -> Iterator[tuple[str, object]]:
    if is_a(value, dict, MappingProxyType):
        items = cast("dict[object, object]", value)
        yield from ((f"[{label}]", child) for label, child in zip(_labels(items), items.values(), strict=True))
    elif is_a(value, list, tuple, deque):
        yield from ((f"[{index}]", child) for index, child in enumerate(cast("list[object]", value)))
    elif is_a(value, set, frozenset):
        yield from ((f"{{{label}}}", None) for label in sorted(_labels(cast("set[object]", value))))


def _labels(values: Iterable[object]) -> Iterator[str]:
    """Names for keys and members; those that look alike are numbered."""
    seen: Counter[str] = Counter()
    for value in values:
        label = _label(value)
        seen[label] += 1
        yield label if seen[label] == 1 else f"{label} #{seen[label]}"


def _label(value: object) -> str:
    if is_a(value, tuple):
        return f"({', '.join(map(_label, cast('tuple[object, ...]', value)))})"
    return text_of(value) or type(value).__name__


def _attributes(value: object) -> Iterator[tuple[str, object]]:
    """The attributes of an instance by name, without those that only remember what can be had again."""
    if not _is_looked_into(type(value)):
        return
    found = dict(attributes_of(value) or {})
    for cls in type(value).__mro__:
        for name, member in vars(cls).items():
            if isinstance(member, MemberDescriptorType) and name != "__dict__":
                # An attribute that was never set raises.
                with suppress(AttributeError):
                    found[name] = member.__get__(value)
            elif isinstance(member, functools.cached_property):
                found.pop(name, None)
    yield from ((f".{name}", found[name]) for name in sorted(found))


def _is_looked_into(cls: type) -> bool:
    """Whether it is a class of the app, or one of others that is there to hold what changes."""
    module = sys.modules.get(cls.__module__)
    if module is None or is_own(module):
        return True
    holds = issubclass(cls, MutableMapping | MutableSequence | MutableSet) or cls.__module__ in _STATEFUL
    return holds and not cls.__module__.startswith("hanse.")


def _change(before: str | None, now: str | None) -> str:
    if before is None or now is None:
        return "was removed" if now is None else "was added"
    return f"was {before}, is {now}"


def _shown(path: Path) -> str:
    """The way to a value; the key alone where it is directly in a dict or a set."""
    if not path:
        return ""
    way = "".join(path)
    is_key = len(path) == 1 and not way.startswith(".") and not way[1:-1].isdigit()
    return f"{way[1:-1] if is_key else way} "
