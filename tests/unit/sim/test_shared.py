"""State that replicas share in one process only: what is seen of it, how it is told, what is put back."""

import array
import asyncio
import enum
import functools
import io
import itertools
import json
import logging
import os
import queue
import random  # noqa: TID251 - state to be looked at
import subprocess
import sys
import textwrap
from collections import ChainMap, Counter, OrderedDict, UserDict, defaultdict, deque
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType, ModuleType, SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st

from hanse.node.app import App
from hanse.sim.picture import CHANGES_MAX, DEPTH_MAX, TEXT_MAX, VALUES_MAX, compare, picture_of
from hanse.sim.shared import ADVICE, ModuleState, reached


def module_of(source: str, **names: object) -> ModuleType:
    """A module of the user's, as if imported."""
    module = ModuleType("shop")
    vars(module).update(names)
    exec(textwrap.dedent(source), vars(module))
    return module


def told(state: ModuleState) -> list[str]:
    """The changes without the advice, which each has."""
    lines = state.changed()
    assert all(line.endswith(f"; {ADVICE}") for line in lines)
    return [line.removesuffix(f"; {ADVICE}") for line in lines]


def run(source: str, then: str, **names: object) -> tuple[ModuleType, ModuleState]:
    """A module whose state was pictured between two pieces of its code."""
    module = module_of(source, **names)
    state = ModuleState([module])
    exec(textwrap.dedent(then), vars(module))
    return module, state


# What a module holds, what it does, and what is told of it.
CHANGES = {
    "a dict grew": ("C = {}", "C['a'] = 1", "C (dict): 'a' was added"),
    "a dict shrank": ("C = {'a': 1}", "del C['a']", "C (dict): 'a' was removed"),
    "a value in a dict": ("C = {'a': 1}", "C['a'] = 2", "C (dict): 'a' was 1, is 2"),
    "a key of several parts": ("C = {}", "C['a', 1] = 1", "C (dict): ('a', 1) was added"),
    "a key that is a number": ("C = {}", "C[5] = 1", "C (dict): [5] was added"),
    "a list grew": ("C = []", "C.append(1)", "C (list): [0] was added"),
    "a list in a tuple": ("C = ([],)", "C[0].append(1)", "C (tuple): [0][0] was added"),
    "a list in a dict": ("C = {'a': [1]}", "C['a'][0] = 2", "C (dict): ['a'][0] was 1, is 2"),
    "a set grew": ("C = {'a'}", "C.add('b')", "C (set): 'b' was added"),
    "a set changed": ("C = {'a'}", "C ^= {'a', 'b'}", "C (set): 'a' was removed; 'b' was added"),
    "a queue with two ends": ("C = deque([1])", "C.append(2)", "C (deque): [1] was added"),
    "a default": ("C = defaultdict(list)", "C['a']", "C (defaultdict): 'a' was added"),
    "a counter": ("C = Counter('a')", "C.update('a')", "C (Counter): 'a' was 1, is 2"),
    "bytes": ("C = bytearray(b'a')", "C += b'b'", "C (bytearray): was bytearray(b'a'), is bytearray(b'ab')"),
    "an array": ("C = array('b', [1])", "C.append(2)", "C (array): was array(b'\\x01'), is array(b'\\x01\\x02')"),
    "a number": ("C = 1", "C += 1", "C (int): was 1, is 2"),
    "a long number": ("C = 1 << 20_000", "C = 1", f"C (int): was {'0x1':0<{TEXT_MAX}}... (0ce163f1), is 1"),
    "a text": ("C = 'a'", "C += 'b'", "C (str): was 'a', is 'ab'"),
    "nothing before": ("C = None", "C = {}", "C (dict): was None, is dict"),
    "a new name": ("", "C = {}", "C (dict): was added"),
    "a name less": ("C = {}", "del C", "C (dict): was removed"),
    "an attribute": ("class A: x = 1\nC = A()", "C.x = 2", "C (A): .x was added"),
    "an attribute less": ("class A: pass\nC = A()\nC.x = 1", "del C.x", "C (A): .x was removed"),
    "an attribute of many": ("class A: pass\nC = {'a': A()}", "C['a'].x = [5]", "C (dict): ['a'].x was added"),
    "an attribute in a slot": ("class A: __slots__ = 'x',\nC = A()", "C.x = 1", "C (A): .x was added"),
    "an own kind of dict": ("class A(dict): pass\nC = A()", "C['a'] = 1", "C (A): 'a' was added"),
    "a field of a struct": ("class A(Struct):\n  x: int\nC = A(1)", "C.x = 2", "C (A): .x was 1, is 2"),
    "another kind": ("C = []", "C = ()", "C (tuple): was list, is tuple"),
    "another kind with much inside": ("C = [1, 2]", "C = {'a': 1}", "C (dict): was list, is dict"),
    "what a class has": ("class C: seen = []", "C.seen.append(1)", "C.seen (list): [0] was added"),
    "what a class counts": ("class C: seen = 0", "C.seen += 1", "C.seen (int): was 0, is 1"),
    "what a class has in a class": ("class C:\n  class D: x = {}", "C.D.x['a'] = 1", "C.D.x (dict): 'a' was added"),
    "a counter without end": ("C = itertools.count()", "next(C)", "C (count): was count(0), is count(1)"),
    "a file in memory": ("C = io.StringIO()", "C.write('a')", "C (StringIO): was '', is 'a'"),
    "a file that was closed": ("C = io.BytesIO(b'a')", "C.close()", "C (BytesIO): was b'a', is closed"),
    "a queue": (
        "C = queue.SimpleQueue, queue.Queue()",
        "C[1].put(5)",
        "C (tuple): [1].unfinished_tasks was 0, is 1; [1].queue[0] was added",
    ),
    "a queue for tasks": (
        "C = asyncio.Queue()",
        "C.put_nowait(5)",
        "C (Queue): ._finished._value was True, is False; ._unfinished_tasks was 0, is 1; ._queue[0] was added",
    ),
    "names in a space": ("C = SimpleNamespace()", "C.x = 1", "C (SimpleNamespace): .x was added"),
    "a mapping of the library": ("C = UserDict()", "C['a'] = 1", "C (UserDict): .data['a'] was added"),
    "a chain of maps": ("C = ChainMap({})", "C['a'] = 1", "C (ChainMap): .maps[0]['a'] was added"),
    "an amount": ("C = Decimal('1.0')", "C = Decimal('1.00')", "C (Decimal): was Decimal('1.0'), is Decimal('1.00')"),
    "a day": ("C = date(2026, 1, 1)", "C = None", "C (NoneType): was datetime.date(2026, 1, 1), is None"),
    "a choice": ("C = Level.LOW", "C = Level.HIGH", "C (Level): was Level.LOW, is Level.HIGH"),
    "choices": ("C = Mode(3)", "C = Mode(1)", "C (Mode): was Mode.A|B, is Mode.A"),
    "a class": ("C = [int]", "C[0] = str", "C (list): [0] was int, is str"),
}


class Level(enum.Enum):
    LOW = 1
    HIGH = 2


class Mode(enum.Flag):
    A = 1
    B = 2


NAMES: dict[str, object] = {
    **{m.__name__: m for m in (asyncio, io, itertools, queue, random)},
    "array": array.array,
    "Struct": msgspec.Struct,
    "Level": Level,
    "Mode": Mode,
    "Decimal": Decimal,
    "date": date,
    **{each.__name__: each for each in (deque, defaultdict, Counter, SimpleNamespace, UserDict, ChainMap)},
    "MappingProxyType": MappingProxyType,
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_told(name: str) -> None:
    source, then, expected = CHANGES[name]
    _, state = run(source, then, **NAMES)
    assert told(state) == [f"shop.{expected}"]


@pytest.mark.parametrize("name", CHANGES)
def test_what_stays_as_it_is_is_not_told(name: str) -> None:
    source, _, _ = CHANGES[name]
    _, state = run(source, "", **NAMES)
    assert state.changed() == []


def test_the_advice_says_what_to_do() -> None:
    _, state = run("CACHE = {}", "CACHE['a'] = 1")
    (line,) = state.changed()
    assert line.startswith("shop.CACHE (dict): 'a' was added; nodes that run apart do not share it: keep it in a")


def test_changes_are_told_by_module_and_name() -> None:
    first, second = module_of("B = 1\nA = []"), ModuleType("stock")
    vars(second)["C"] = {1}
    state = ModuleState([second, first, second])
    exec("A.append(1); B = 2; D = 3", vars(first))
    exec("C.clear()", vars(second))
    names = [line.partition(" ")[0] for line in told(state)]
    assert names == ["stock.C", "shop.B", "shop.A", "shop.D"]


def test_a_generator_of_draws_is_told_by_a_digest() -> None:
    _, state = run("R = random.Random(5)", "R.random()", **NAMES)
    (line,) = told(state)
    assert line.startswith("shop.R (Random): was a generator at ")


def test_many_changes_are_counted() -> None:
    _, state = run("C = []", f"C += range({CHANGES_MAX + 2})")
    assert told(state) == ["shop.C (list): [0] was added; [1] was added; [2] was added; and 2 more"]


def test_what_lies_under_a_change_is_not_told_again() -> None:
    _, state = run("C = {}", "C['a'] = {'b': {'c': 1}}")
    assert told(state) == ["shop.C (dict): 'a' was added"]


def test_one_value_under_two_names_is_told_once() -> None:
    _, state = run("A = {}\nB = A\nC = D = 1", "A['a'] = 1; C = D = 2")
    assert [line.partition(" ")[0] for line in told(state)] == ["shop.A", "shop.C", "shop.D"]


def test_what_a_proxy_shows_is_seen() -> None:
    _, state = run("A = {}\nB = MappingProxyType(A)", "A['a'] = 1", **NAMES)
    assert told(state)[1] == "shop.B (mappingproxy): 'a' was added"


def test_a_long_text_is_shortened_but_told_apart() -> None:
    _, state = run("C = 'a' * 1_000", "C = 'a' * 999 + 'b'")
    (line,) = told(state)
    assert line.startswith(f"shop.C (str): was '{'a' * (TEXT_MAX - 1)}... (")
    assert len(line) < 3 * TEXT_MAX


# What a module has and does that nobody needs to hear of.
SILENT = {
    "functions": ("def f(): ...", "def f(): return 1"),
    "attributes of functions": ("def f(): ...", "f.calls = 1"),
    "imports in functions": ("def f():\n  global json\n  import json", "f()"),
    "classes": ("class A: ...", "class A: ..."),
    "classes by another name": ("class A: x = []\nB = A", "B = int"),
    "classes of others": ("from collections import OrderedDict as A", "from collections import Counter as A"),
    "enumerations": ("class A(enum.Flag):\n  X = 1\n  Y = 2", "A(3)"),
    "loggers": ("log = logging.getLogger('shop')", "log.setLevel(10)"),
    "context variables": ("var = ContextVar('var', default=1)", "var.set(2)"),
    "caches": ("@functools.cache\ndef f(x): return x", "f(1)"),
    "cached properties": ("class A:\n  @functools.cached_property\n  def x(self): return 1\na = A()", "a.x"),
    "properties": ("class A:\n  @property\n  def x(self): return 1\na = A()", "a.x"),
    "what belongs to Hanse": ("app = App('shop')", "app.name = 'other'"),
    "insides of libraries": ("encoder = json.JSONEncoder()\n", "encoder.indent = 4"),
    "documentation": ("", "__doc__ = 'new'"),
    "what comes to the same": ("C = {'a': 1}; D = {'a', 'b'}", "C = {'a': 1}; D = {'b', 'a'}"),
    "slots that were never set": ("class A: __slots__ = 'x',\na = A()", ""),
    "closed files": ("f = io.StringIO()\nf.close()", ""),
    "generators": ("g = (x for x in 'ab')", "next(g)"),
}
MORE = {m.__name__: m for m in (enum, functools, io, json, logging)} | {"ContextVar": ContextVar, "App": App}


@pytest.mark.parametrize("name", SILENT)
def test_what_is_no_state_of_the_apps_is_not_told(name: str) -> None:
    source, then = SILENT[name]
    _, state = run(source, then, **MORE)
    assert state.changed() == []


def test_circles_end() -> None:
    _, state = run("A = []\nA.append(A)\nclass N: pass\nB = N()\nB.me = {'b': B}", "A.append(1); B.me['c'] = B")
    assert told(state) == ["shop.A (list): [1] was added", "shop.B (N): .me['c'] was added"]


def test_what_is_too_deep_is_seen_by_its_size() -> None:
    source = "C = []\nfor _ in range(DEPTH): C = [C]\nD = C\nfor _ in range(DEPTH): D = D[0]"
    _, state = run(source, "D.append(1); del D", DEPTH=DEPTH_MAX)
    assert told(state)[0] == f"shop.C (list): {'[0]' * DEPTH_MAX} was list, is list of 1"


def test_what_is_too_much_is_seen_by_its_size() -> None:
    _, state = run("C = [*range(LIMIT)]", "C.append(1)", LIMIT=VALUES_MAX)
    assert told(state) == [f"shop.C (list): was list of {VALUES_MAX}, is list of {VALUES_MAX + 1}"]


def test_keys_and_members_that_look_alike_are_numbered() -> None:
    source = "class A: pass\nC = {A(): 1}\nD = {A()}"
    _, state = run(source, "C[A()] = 2; D.add(A())")
    assert told(state) == ["shop.C (dict): A #2 was added", "shop.D (set): A #2 was added"]


def test_no_code_of_the_users_is_called() -> None:
    source = """
    class Trap:
        x = 1
        def __getattribute__(self, name): raise RuntimeError
        def __repr__(self): raise RuntimeError
        def __eq__(self, other): raise RuntimeError
        __hash__ = object.__hash__
    class Text(str):
        def __repr__(self): raise RuntimeError
    class Zone(tzinfo):
        def __repr__(self): raise RuntimeError
    C = [Trap(), {Trap(): Trap()}, Text("a"), {Text("b")}, Zone()]
    """
    _, state = run(source, "C[2] = Text('c')", tzinfo=tzinfo)
    assert told(state) == ["shop.C (list): [2] was 'a', is 'c'"]


def test_a_text_of_a_time_is_kept() -> None:
    assert picture_of(datetime(2026, 1, 1, tzinfo=UTC)) == {
        (): "datetime.datetime(2026, 1, 1, 0, 0, tzinfo=datetime.timezone.utc)"
    }
    assert picture_of(UTC) != picture_of(None)


PLAIN = st.recursive(
    st.none() | st.integers() | st.text(max_size=3) | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(PLAIN, PLAIN)
def test_pictures_differ_exactly_where_values_do(a: object, b: object) -> None:
    assert (compare(picture_of(a), picture_of(b)) == "") is (written(a) == written(b))


def written(value: object) -> str:
    return json.dumps(value, sort_keys=True)


@given(PLAIN, PLAIN)
def test_what_was_plain_is_put_back(a: object, b: object) -> None:
    module = ModuleType("shop")
    vars(module).update(value=a, box=[a])
    before = json.dumps([a, [a]])
    state = ModuleState([module])
    vars(module)["box"].append(b)
    vars(module).update(value=b, other=b)
    assert state.restore() == []
    assert json.dumps([vars(module)["value"], vars(module)["box"]]) == before
    assert "other" not in vars(module)


PUT_BACK = {
    "a dict": ("C = {'a': [1]}", "C['a'].append(2); C['b'] = 1"),
    "a list": ("C = [1, [2]]", "C[1].clear(); del C[0]"),
    "a set": ("C = {1}", "C |= {2}"),
    "a deque": ("C = deque([1], maxlen=3)", "C.extend('abc')"),
    "a default": ("C = defaultdict(list, a=[1])", "C['b'].append(1); C['a'].clear()"),
    "a counter": ("C = Counter('a')", "C.update('ab')"),
    "an order": ("C = OrderedDict(a=1, b=2)", "C['a'] = 5"),
    "bytes": ("C = bytearray(b'a')", "C += b'b'"),
    "attributes": ("class A: pass\nC = A()\nC.x = [1]", "C.x.append(2); C.y = 1"),
    "attributes, of none": ("class A: pass\nC = A()", "C.x = 1"),
    "attributes of a class": ("class C: x = 1; y = []", "C.x = 2; C.y.append(1); C.z = 1"),
    "an attribute less": ("class C: x = []", "del C.x"),
    "a name less": ("C = {'a': 1}", "C.clear(); del C"),
    "a new name": ("C = 1", "D = 2"),
    "another value": ("C = {'a': 1}", "C = {'b': 1}"),
    "frozen structs": ("class A(Struct, frozen=True):\n  x: int\nC = {A(1): [A(2)]}", "C.clear()"),
    "functions": ("def f(): ...\nC = {'f': f, int: str}", "C.clear()"),
}


@pytest.mark.parametrize("name", PUT_BACK)
def test_what_changed_is_put_back(name: str) -> None:
    source, then = PUT_BACK[name]
    module = module_of(source, OrderedDict=OrderedDict, **NAMES)
    state = ModuleState([module])
    for _ in range(2):  # what was put back can be changed again
        exec(then, vars(module))
        assert state.changed() != []
        assert state.restore() == []
    assert ModuleState([module]).changed() == []


def test_whoever_holds_a_container_goes_on_with_it() -> None:
    module, state = run("C = {'a': 1}\nHELD = [C]", "C.clear(); C = {}")
    held: Any = vars(module)["HELD"][0]
    assert state.restore() == []
    assert vars(module)["C"] is held
    assert held == {"a": 1}


def test_a_kind_of_mapping_stays_what_it_is() -> None:
    module, state = run("C = defaultdict(list, a=[1])", "C.clear()", **NAMES)
    assert state.restore() == []
    assert vars(module)["C"]["b"] == []


NOT_PUT_BACK = {
    "a counter without end": ("C = itertools.count()", "next(C)"),
    "a generator of draws": ("C = random.Random(5)", "C.random()"),
    "what an instance in a dict holds": ("class A: x = 0\nC = {'a': A()}", "C['a'].x = 1"),
    "a slot": ("class A: __slots__ = 'x',\nC = A()", "C.x = 1"),
    "a struct": ("class A(Struct):\n  x: int\nC = [A(1)]", "C[0].x = 2"),
    "an own kind of dict": ("class A(dict): pass\nC = A()", "C['a'] = 1"),
    "too deep": ("C = [[[[[[[]]]]]]]", "C[0][0][0][0][0][0].append(1)"),
    "a list in a tuple": ("C = ([],)", "C[0].append(1)"),
    "too much": ("C = [*range(10_000)]", "C.append(1)"),
}


@pytest.mark.parametrize("name", NOT_PUT_BACK)
def test_what_cannot_be_put_back_is_told(name: str) -> None:
    source, then = NOT_PUT_BACK[name]
    _, state = run(source, then, **NAMES)
    before = state.changed()
    assert state.restore() == before != []


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Callable[[], ModuleType]]:
    """An app of several files, and what imports it."""
    (tmp_path / "hanse_shop").mkdir()
    (tmp_path / "hanse_bare").mkdir()
    (tmp_path / "hanse_shop" / "__init__.py").write_text("")
    (tmp_path / "hanse_shop" / "app.py").write_text(
        "import os\nfrom hanse_shop.state import add\nimport hanse_bare.deep"
    )
    (tmp_path / "hanse_shop" / "state.py").write_text("from hanse_shop.kinds import Kind\ndef add(): ...")
    (tmp_path / "hanse_shop" / "kinds.py").write_text("class Kind: ...\nfrom hanse_shop import app")
    (tmp_path / "hanse_bare" / "deep.py").write_text("import hanse_shop.other as _\nother = _.made\ndel _")
    (tmp_path / "hanse_shop" / "other.py").write_text("class Made: ...\nmade = Made()")
    sys.path.insert(0, str(tmp_path))
    yield lambda: __import__("hanse_shop.app").app
    sys.path.remove(str(tmp_path))
    for name in [each for each in sys.modules if each.startswith(("hanse_shop", "hanse_bare"))]:
        del sys.modules[name]


def test_modules_that_others_import_are_reached(shop: Callable[[], ModuleType]) -> None:
    names = {module.__name__ for module in reached([shop()])}
    assert names == {
        *("hanse_shop.app", "hanse_shop.state", "hanse_shop.kinds", "hanse_shop.other", "hanse_bare", "hanse_bare.deep")
    }


HASHED = """
from types import ModuleType
from hanse.sim.shared import ModuleState
shop = ModuleType("shop")
exec("class A: pass\\nC = set(); D = {A(): 1}; E = frozenset()", vars(shop))
state = ModuleState([shop])
exec("C |= set('abcdef'); D[A()] = C; E = frozenset([('a', A())])", vars(shop))
print(*state.changed(), sep="\\n")
"""


def test_texts_are_the_same_in_every_process() -> None:
    printed = {
        subprocess.run(
            [sys.executable, "-c", HASHED],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1
    assert "shop.C (set): 'a' was added; 'b' was added; 'c' was added; and 3 more" in printed.pop()
