"""A look at an app's source for the clocks and draws that no fence can refuse.

`datetime.now` reads the clock in C, a name that was bound by `from time import time` stays what it was, and what a
module does while it is imported is done before any world begins. Names are followed to what they stand for, so a
class of the user's own that is called `datetime` is nobody's clock.
"""

from __future__ import annotations

import ast
import inspect
import random  # noqa: TID251 - looked for in others' code
import secrets  # noqa: TID251 - looked for in others' code
import sys
import uuid  # noqa: TID251 - looked for in others' code
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import NamedTuple, final

from hanse.sim.stand_ins import CHANCE, ENTROPY, ID, Row, always, rows

_READ_IN_C = {
    "now": "take datetime.fromtimestamp(current().host.now(), tz=UTC)",
    "utcnow": "take datetime.fromtimestamp(current().host.now(), tz=UTC)",
    "today": "take datetime.fromtimestamp(current().host.now(), tz=UTC).date()",
}
_HARMLESS = {"seed", "getstate", "setstate"}  # a fence gives the generator that all share a seed of its own
_FUNCTIONS = (BuiltinFunctionType, FunctionType, MethodType)

Function = ast.FunctionDef | ast.AsyncFunctionDef
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


def find_clocks(modules: Iterable[ModuleType]) -> list[str]:
    """What the code of these modules reads of real clocks and real randomness without any fence seeing it.

    Modules without a source are passed over. What stands under `if __name__ == "__main__"` is no part of the app.

    Args:
        modules: Those that the app's code is in.

    Returns:
        For each place `file:line: what is wrong with it; what to do instead`, by module and line.

    Example:
        >>> from hanse.sim import plan
        >>> find_clocks([plan])
        []
    """
    return [finding for module in dict.fromkeys(modules) for finding in _look_at(module)]


def _look_at(module: ModuleType) -> list[str]:
    try:
        tree = ast.parse(inspect.getsource(module))
    except (OSError, TypeError):
        return []
    look = _Look(module)
    look.visit(tree)
    return [f"{module.__file__}:{line}: {text}" for line, text in sorted(set(look.findings))]


class _Real(NamedTuple):
    """A function that a world has its own for: what it is called, where it is at home, and what to use instead."""

    name: str
    home: object
    instead: str
    row: Row | None = None


def _real_functions() -> dict[object, _Real]:
    found: dict[object, _Real] = {}
    for row in rows():
        if isinstance(row.at, ModuleType) and row.name not in _HARMLESS:
            found.setdefault(inspect.unwrap(row.real), _Real(f"{row.at.__name__}.{row.name}", row.at, row.instead, row))
    for home, instead in ((uuid, ID), (secrets, ENTROPY)):
        for name in ("uuid4", "token_bytes", "token_hex", "token_urlsafe", "choice", "randbelow", "randbits"):
            if name in vars(home):
                found[vars(home)[name]] = _Real(f"{home.__name__}.{name}", home, instead)
    return found


_REAL = _real_functions()
_UNKNOWN = object()


class _Scope(NamedTuple):
    """Names and what they stand for, as far as that can be known; those of a class are not seen in its methods."""

    names: Mapping[str, object]
    is_class: bool = False


class _Meaning(NamedTuple):
    """What an expression stands for, and whether it is looked up anew each time, so that a fence can answer."""

    value: object = _UNKNOWN
    anew: bool = False


@final
class _Look(ast.NodeVisitor):
    """Goes through the source of one module."""

    def __init__(self, module: ModuleType) -> None:
        self.findings: list[tuple[int, str]] = []
        self._scopes: list[_Scope] = [_Scope(vars(module))]
        self._at_import: bool = True

    # What is looked for.

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._judge(node, None)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if not self._judge(node, None):
            self.visit(node.value)

    def visit_Call(self, node: ast.Call) -> None:
        if not self._judge(node.func, node):
            self.visit(node.func)
        for child in (*node.args, *node.keywords):
            self.visit(child)

    def _judge(self, node: ast.expr, call: ast.Call | None) -> bool:
        """Whether it is clear what the expression stands for; with a finding, where that is to be told."""
        meaning = self._meaning(node)
        if meaning.value is _UNKNOWN:
            return False
        problem = _problem(meaning, call, at_import=self._at_import)
        if problem is not None:
            self.findings.append((node.lineno, problem))
        return True

    def _meaning(self, node: ast.expr) -> _Meaning:
        if isinstance(node, ast.Name):
            return self._named(node.id)
        if not isinstance(node, ast.Attribute):
            return _Meaning()
        owner = self._meaning(node.value).value
        value = _attribute(owner, node.attr)
        return _Meaning(value, anew=_is_at_home(value, owner))

    def _named(self, name: str) -> _Meaning:
        innermost = len(self._scopes) - 1
        for depth in range(innermost, -1, -1):
            scope = self._scopes[depth]
            if name in scope.names and (depth == innermost or not scope.is_class):
                return _Meaning(scope.names[name], anew=depth > 0)
        return _Meaning()

    # What binds names, and when it runs.

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._function(node)

    def _function(self, node: Function) -> None:
        for child in (*node.decorator_list, *_defaults(node.args)):
            self.visit(child)
        self._within(_Scope(_bound(node.body, _parameters(node.args))), node.body, at_import=False)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        for child in _defaults(node.args):
            self.visit(child)
        self._within(_Scope(dict.fromkeys(_parameters(node.args), _UNKNOWN)), [node.body], at_import=False)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for child in (*node.decorator_list, *node.bases, *node.keywords):
            self.visit(child)
        self._within(_Scope(_bound(node.body), is_class=True), node.body, at_import=self._at_import)

    def _comprehension(self, node: Comprehension) -> None:
        targets = {name.id for each in node.generators for name in ast.walk(each.target) if isinstance(name, ast.Name)}
        self._within(
            _Scope(dict.fromkeys(targets, _UNKNOWN)), list(ast.iter_child_nodes(node)), at_import=self._at_import
        )

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension  # noqa: N815 - named by ast

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.visit(node.target)
        if node.value is not None:
            self.visit(node.value)

    def visit_If(self, node: ast.If) -> None:
        if _is_main(node.test):
            for child in node.orelse:
                self.visit(child)
        else:
            self.generic_visit(node)

    def _within(self, scope: _Scope, nodes: Sequence[ast.AST], *, at_import: bool) -> None:
        before = self._at_import
        self._scopes.append(scope)
        self._at_import = at_import
        for node in nodes:
            self.visit(node)
        self._at_import = before
        self._scopes.pop()


def _problem(meaning: _Meaning, call: ast.Call | None, *, at_import: bool) -> str | None:
    """What is wrong with an expression of that meaning, if it is called so."""
    value = meaning.value
    if call is not None and (unseeded := _unseeded(value, call)):
        return unseeded
    if not isinstance(value, _FUNCTIONS):
        return None
    if (read_in_c := _read_in_c(value)) is not None:
        return read_in_c
    real = _REAL.get(value)
    if real is None or not _asks(real, call) or (meaning.anew and not at_import):
        return None
    if not at_import:
        return f"{real.name} was bound when the module was imported, where no fence is up; {real.instead}"
    done = "called" if call is not None else "kept"
    return f"{real.name} is {done} while the module is imported, before any world begins; {real.instead}"


def _unseeded(value: object, call: ast.Call) -> str | None:
    """A generator that draws its seed in C, or that has none."""
    if value is random.SystemRandom:
        return f"random.SystemRandom() draws real randomness; {ENTROPY}"
    if value is random.Random and not call.keywords and all(_is_none(each) for each in call.args):
        return f"random.Random() without a seed draws a real one; {CHANCE}, or give it a seed"
    return None


def _read_in_c(function: object) -> str | None:
    owner: object = getattr(function, "__self__", None)
    if not isinstance(function, BuiltinFunctionType) or not isinstance(owner, type) or not issubclass(owner, date):
        return None
    if function.__name__ not in _READ_IN_C:
        return None
    name = f"{owner.__name__}.{function.__name__}"
    return f"{name}() reads the real clock where no fence can refuse it; {_READ_IN_C[function.__name__]}"


def _asks(real: _Real, call: ast.Call | None) -> bool:
    """Whether it reads the clock, called so: time.localtime(5) does not. Of what is handed on nobody knows."""
    if real.row is None or real.row.asks is always:
        return True
    return call is not None and real.row.asks(*(None if _is_none(each) else each for each in call.args))


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_at_home(value: object, owner: object) -> bool:
    real = _REAL.get(value) if isinstance(value, _FUNCTIONS) else None
    return real is not None and real.home is owner


def _attribute(owner: object, name: str) -> object:
    """What an attribute is, for owners whose attributes can be read without running anybody's code."""
    if isinstance(owner, ModuleType):
        return vars(owner).get(name, _UNKNOWN)
    if isinstance(owner, type) and issubclass(owner, date) and type(owner) is type:
        return getattr(owner, name, _UNKNOWN)
    return _UNKNOWN


def _is_main(test: ast.expr) -> bool:
    return ast.unparse(test).replace('"', "'") in {"__name__ == '__main__'", "'__main__' == __name__"}


def _defaults(arguments: ast.arguments) -> list[ast.expr]:
    return [each for each in (*arguments.defaults, *arguments.kw_defaults) if each is not None]


def _parameters(arguments: ast.arguments) -> list[str]:
    several = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    return [each.arg for each in (*several, arguments.vararg, arguments.kwarg) if each is not None]


def _bound(body: Sequence[ast.AST], parameters: Iterable[str] = ()) -> dict[str, object]:
    """The names that a body binds; what it imports is known, and nothing else."""
    names: dict[str, object] = dict.fromkeys(parameters, _UNKNOWN)
    elsewhere: set[str] = set()
    for node in _own_nodes(body):
        if isinstance(node, ast.Global | ast.Nonlocal):
            elsewhere.update(node.names)
        for name, value in _binds(node):
            names[name] = _UNKNOWN if name in names else value
    return {name: value for name, value in names.items() if name not in elsewhere}


def _own_nodes(body: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """Without what is inside functions and classes, which have names of their own."""
    for node in body:
        yield node
        if not isinstance(node, Function | ast.ClassDef | ast.Lambda | Comprehension):
            yield from _own_nodes(list(ast.iter_child_nodes(node)))


def _binds(node: ast.AST) -> Iterator[tuple[str, object]]:
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()) | ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            yield name, _UNKNOWN
        case (
            ast.AsyncFunctionDef(name=name)
            | ast.ExceptHandler(name=str(name))
            | ast.MatchAs(name=str(name))
            | ast.MatchStar(name=str(name))
            | ast.MatchMapping(rest=str(name))
        ):
            yield name, _UNKNOWN
        case ast.Import(names=aliases):
            yield from (_imported(alias) for alias in aliases)
        case ast.ImportFrom(module=module, names=aliases, level=level):
            at = sys.modules.get(module or "") if level == 0 else None
            yield from ((alias.asname or alias.name, _attribute(at, alias.name)) for alias in aliases)
        case _:
            pass


def _imported(alias: ast.alias) -> tuple[str, object]:
    """`import a.b` binds a, and `import a.b as c` binds a.b."""
    name = alias.name if alias.asname else alias.name.partition(".")[0]
    return alias.asname or name, sys.modules.get(name, _UNKNOWN)
