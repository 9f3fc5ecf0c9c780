"""JSON Patch (RFC 6902) on plain data. Pure: what was given is never changed, and parts that stay are shared.

A patch that makes no sense in itself is `Invalid`, with a pointer into the patch. One that does not fit what is there
(a `test` that fails, a place that does not exist) is `PatchConflict`, since it may have fitted a moment ago.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

from hanse.kernel.faults import Fault, Flaw, Invalid, TooLarge

OPERATIONS_MAX = 1_000
"""Operations of one patch."""

STEPS_MAX = 64
"""Names in one pointer, so that no patch nests deeper than outside JSON may."""

COPIED_MAX = 10_000
"""Values that the copies of one patch may hold together: each could double the document."""

_ABSENT = object()


class PatchConflict(Fault, status=409, close_code=1008, detail="{problem}"):
    """A JSON patch does not fit what is there; read the row again and decide. `errors` has the operation's pointer."""

    problem: str
    errors: list[Flaw]


def json_patch(target: object, patch: object) -> object:
    """What a patch makes of a document.

    Args:
        target: The document.
        patch: The list of operations.

    Raises:
        Invalid: The patch is none; names the member of the operation that is wrong.
        PatchConflict: A `test` failed, or an operation names a place that is not there.
        TooLarge: It has more operations, or copies more, than anybody needs.

    Example:
        >>> json_patch({"tags": ["a"]}, [{"op": "add", "path": "/tags/-", "value": "b"}])
        {'tags': ['a', 'b']}
    """
    if not isinstance(patch, list):
        raise Invalid("a JSON patch is a list of operations", [Flaw("", "type", "expected a list of operations")])
    operations = cast("list[object]", patch)
    if len(operations) > OPERATIONS_MAX:
        raise TooLarge("the patch", f"{OPERATIONS_MAX} operations")
    budget = _Budget()
    for index, operation in enumerate(operations):
        target = _Step(f"/{index}", operation, budget).apply(target)
    return target


class _Budget:
    """What is left for copies."""

    def __init__(self) -> None:
        self._left = COPIED_MAX

    def spend(self, value: object) -> None:
        """Count a value that is copied, as far as it may be large."""
        waiting = [value]
        while waiting:
            self._left -= 1
            if self._left < 0:
                raise TooLarge("what the patch copies", f"{COPIED_MAX} values")
            part = waiting.pop()
            if isinstance(part, dict):
                waiting += cast("dict[str, object]", part).values()
            elif isinstance(part, list):
                waiting += cast("list[object]", part)


class _Step:
    """One operation."""

    def __init__(self, at: str, operation: object, budget: _Budget) -> None:
        if not isinstance(operation, dict):
            raise _invalid(at, "type", "expected an object with op and path")
        self._at = at
        self._members = cast("dict[str, object]", operation)
        self._budget = budget

    def apply(self, target: object) -> object:
        name = self._members.get("op")
        how = _HOW.get(name) if isinstance(name, str) else None
        if how is None:
            code = "choice" if "op" in self._members else "missing"
            raise _invalid(f"{self._at}/op", code, f"expected one of {', '.join(_HOW)}, got {str(name)[:100]!r}")
        return how(self, target)

    def add(self, target: object) -> object:
        path, value = self._pointer("path"), self._value()
        return self._added(target, path, value)

    def remove(self, target: object) -> object:
        return self._removed(target, self._pointer("path"))

    def replace(self, target: object) -> object:
        path, value = self._pointer("path"), self._value()
        _ = self._read(target, path)
        return value if not path else self._edited(target, path, lambda parent, name: _put(parent, name, value))

    def move(self, target: object) -> object:
        source, path = self._pointer("from"), self._pointer("path")
        if path[: len(source)] == source and len(path) > len(source):
            raise _invalid(f"{self._at}/path", "choice", "nothing can be moved into itself")
        value = self._read(target, source)
        return target if path == source else self._added(self._removed(target, source), path, value)

    def copy(self, target: object) -> object:
        source, path = self._pointer("from"), self._pointer("path")
        value = self._read(target, source)
        self._budget.spend(value)
        return self._added(target, path, value)

    def test(self, target: object) -> object:
        path, value = self._pointer("path"), self._value()
        if not same(self._read(target, path), value):
            raise self._conflict("test_failed", f"{_written(path)} is not the value that was expected")
        return target

    def _value(self) -> object:
        value = self._members.get("value", _ABSENT)
        if value is _ABSENT:
            raise _invalid(f"{self._at}/value", "missing", "this member is required; null is a value")
        return value

    def _pointer(self, member: str) -> tuple[str, ...]:
        at = f"{self._at}/{member}"
        text = self._members.get(member)
        if not isinstance(text, str):
            raise _invalid(at, "type" if member in self._members else "missing", "expected a JSON pointer")
        path = _steps(text)
        if path is None:
            raise _invalid(at, "pattern", f"expected a JSON pointer such as /address/city, got {text[:100]!r}")
        return path

    def _read(self, target: object, path: tuple[str, ...]) -> object:
        for name in path:
            target = _member(target, name)
            if target is _ABSENT:
                raise self._conflict("missing", f"there is nothing at {_written(path)}")
        return target

    def _added(self, target: object, path: tuple[str, ...], value: object) -> object:
        return value if not path else self._edited(target, path, lambda parent, name: _inserted(parent, name, value))

    def _removed(self, target: object, path: tuple[str, ...]) -> object:
        _ = self._read(target, path)
        return None if not path else self._edited(target, path, _without)

    def _edited(self, target: object, path: tuple[str, ...], edit: Callable[[object, str], object]) -> object:
        """The document with the parent of a place edited: only what lies on the way there is made anew."""
        parents = [target]
        for name in path[:-1]:
            parents.append(_member(parents[-1], name))
        changed = edit(parents.pop(), path[-1])
        if changed is _ABSENT or _ABSENT in parents:
            raise self._conflict("missing", f"there is no place {_written(path)}")
        for parent, name in zip(reversed(parents), reversed(path[:-1]), strict=True):
            changed = _put(parent, name, changed)
        return changed

    def _conflict(self, code: str, detail: str) -> PatchConflict:
        return PatchConflict(detail, [Flaw(self._at, code, detail)])


_HOW: Mapping[str, Callable[[_Step, object], object]] = {
    "add": _Step.add,
    "remove": _Step.remove,
    "replace": _Step.replace,
    "move": _Step.move,
    "copy": _Step.copy,
    "test": _Step.test,
}


def same(one: object, other: object) -> bool:
    """Whether two JSON values are equal: numbers by value, and neither true nor false is a number.

    Example:
        >>> same([1, {"a": None}], [1.0, {"a": None}]), same(1, True)
        (True, False)
    """
    if isinstance(one, dict) and isinstance(other, dict):
        left, right = cast("dict[str, object]", one), cast("dict[str, object]", other)
        return left.keys() == right.keys() and all(same(value, right[name]) for name, value in left.items())
    if isinstance(one, list) and isinstance(other, list):
        first, second = cast("list[object]", one), cast("list[object]", other)
        return len(first) == len(second) and all(map(same, first, second))
    return isinstance(one, bool) is isinstance(other, bool) and one == other


def _invalid(at: str, code: str, detail: str) -> Invalid:
    return Invalid(f"{at}: {detail}", [Flaw(at, code, detail)])


def _steps(pointer: str) -> tuple[str, ...] | None:
    """The names in a JSON pointer (RFC 6901); None where it is none, or goes too deep."""
    if not pointer:
        return ()
    names = pointer[1:].split("/")
    if pointer[0] != "/" or len(names) > STEPS_MAX:
        return None
    if any(part[:1] not in {"0", "1"} for name in names for part in name.split("~")[1:]):
        return None
    return tuple(name.replace("~1", "/").replace("~0", "~") for name in names)


def _written(path: tuple[str, ...]) -> str:
    return "".join(f"/{name.replace('~', '~0').replace('/', '~1')}" for name in path)[:100] or "the top"


def _index(name: str, length: int) -> int | None:
    """The place in a list of `length` items that a name means."""
    sound = name.isascii() and name.isdigit() and (name == "0" or name[0] != "0") and len(name) <= len(str(length))
    return int(name) if sound and int(name) < length else None


def _member(parent: object, name: str) -> object:
    if isinstance(parent, dict):
        return cast("dict[str, object]", parent).get(name, _ABSENT)
    if isinstance(parent, list):
        items = cast("list[object]", parent)
        index = _index(name, len(items))
        return _ABSENT if index is None else items[index]
    return _ABSENT


def _put(parent: object, name: str, value: object) -> object:
    """The parent with what is at a place replaced."""
    if isinstance(parent, dict):
        return {**cast("dict[str, object]", parent), name: value}
    items = list(cast("list[object]", parent))
    items[int(name)] = value
    return items


def _inserted(parent: object, name: str, value: object) -> object:
    if isinstance(parent, dict):
        return _put(cast("dict[str, object]", parent), name, value)
    if not isinstance(parent, list):
        return _ABSENT
    items = list(cast("list[object]", parent))
    index = len(items) if name == "-" else _index(name, len(items) + 1)
    if index is None:
        return _ABSENT
    items.insert(index, value)
    return items


def _without(parent: object, name: str) -> object:
    if isinstance(parent, dict):
        return {key: value for key, value in cast("dict[str, object]", parent).items() if key != name}
    items = list(cast("list[object]", parent))
    del items[int(name)]
    return items
