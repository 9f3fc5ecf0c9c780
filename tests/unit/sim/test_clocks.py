"""Clocks and draws that no fence sees are found in the source; what is no clock is left alone."""

import importlib.util
import sys
import textwrap
import types
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from hanse.sim.clocks import find_clocks
from hanse.sim.fence import Fence

Make = Callable[[str], ModuleType]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A module of the user's, imported from a file."""

    def made(source: str) -> ModuleType:
        path = tmp_path / "shop.py"
        path.write_text(textwrap.dedent(source))
        spec = importlib.util.spec_from_file_location("shop", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return made


def told(module: ModuleType) -> list[str]:
    """The findings, without the folder."""
    return [finding.rpartition("/")[2] for finding in find_clocks([module])]


NOW = "take datetime.fromtimestamp(current().host.now(), tz=UTC)"
IN_C = "() reads the real clock where no fence can refuse it; "
BOUND = " was bound when the module was imported, where no fence is up; "
KEPT = " is kept while the module is imported, before any world begins; "
CALLED = " is called while the module is imported, before any world begins; "
UNSEEDED = "random.Random() without a seed draws a real one; take current().host.chance, or give it a seed"

# A program of two lines or more, and what is found in it: (line, beginning of the text).
FOUND: dict[str, list[tuple[int, str]]] = {
    # What reads the clock in C.
    "import datetime\ndef f(): return datetime.datetime.now()": [(2, f"datetime.now{IN_C}{NOW}")],
    "import datetime as dt\ndef f(): return dt.datetime.now(dt.UTC)": [(2, f"datetime.now{IN_C}{NOW}")],
    "from datetime import datetime\ndef f(): return datetime.utcnow()": [(2, f"datetime.utcnow{IN_C}{NOW}")],
    "from datetime import datetime as D\nasync def f(): return D.today()": [(2, f"datetime.today{IN_C}{NOW}")],
    "from datetime import date\ndef f(): return date.today()": [(2, f"date.today{IN_C}{NOW}.date()")],
    "from datetime import *\ndef f(): return date.today()": [(2, f"date.today{IN_C}")],
    "from datetime import datetime\nclock = datetime.now\ndef f(): return clock()": [
        (2, f"datetime.now{IN_C}"),
        (3, f"datetime.now{IN_C}"),
    ],
    "def f():\n    from datetime import datetime\n    return datetime.now()": [(3, f"datetime.now{IN_C}")],
    "def f():\n    import datetime\n    def g(): return datetime.datetime.now()\n    return g": [(3, "datetime.now")],
    "def f():\n    import datetime as dt\n    return dt.date.today()": [(3, "date.today")],
    "from datetime import datetime\nclass A:\n    def f(self): return [datetime.now() for _ in '']": [
        (3, "datetime.now")
    ],
    "from datetime import datetime\nf = lambda tz=None: datetime.now(tz)": [(2, "datetime.now")],
    "from datetime import datetime\nclass Mine(datetime): pass\ndef f(): return Mine.now()": [(3, f"Mine.now{IN_C}")],
    "from datetime import datetime\ndef f(): return datetime.now().isoformat()": [(2, "datetime.now")],
    "from datetime import datetime\ndef f(x): return x(datetime.now(), at=datetime.now)": [(2, "datetime.now")],
    # Names that were bound before.
    "from time import time\ndef f(): return time()": [(2, f"time.time{BOUND}take current().host.now()")],
    "from time import time as t\nasync def f(): return t()": [(2, f"time.time{BOUND}")],
    "from time import monotonic\ndef f(): return monotonic()": [(2, f"time.monotonic{BOUND}")],
    "from time import sleep\ndef f(): sleep(1)": [(2, f"time.sleep{BOUND}await asyncio.sleep")],
    "from time import localtime\ndef f(): return localtime(), localtime(None)": [(2, f"time.localtime{BOUND}")],
    "from time import strftime\ndef f(): return strftime('%c')": [(2, f"time.strftime{BOUND}")],
    "from random import random\ndef f(): return random()": [(2, f"random.random{BOUND}take current().host.chance")],
    "from random import choice\ndef f(x): return choice(x)": [(2, f"random.choice{BOUND}")],
    "from uuid import uuid4\ndef f(): return uuid4()": [(2, f"uuid.uuid4{BOUND}take current().host.new_id()")],
    "from uuid import uuid1\ndef f(): return uuid1()": [(2, f"uuid.uuid1{BOUND}")],
    "from os import urandom\ndef f(): return urandom(8)": [(2, f"os.urandom{BOUND}take current().host.entropy(n)")],
    "from secrets import token_hex\ndef f(): return token_hex()": [(2, f"secrets.token_hex{BOUND}")],
    "from secrets import choice\ndef f(): return choice('ab')": [(2, f"secrets.choice{BOUND}")],
    # What happens while the module is imported.
    "import time\nSTART = time.time()": [(2, f"time.time{CALLED}take current().host.now()")],
    "import uuid\nclass A:\n    id = uuid.uuid4()": [(3, f"uuid.uuid4{CALLED}take current().host.new_id()")],
    "import socket\nHOST = socket.gethostname()": [(2, f"socket.gethostname{CALLED}take current().host.name")],
    "import time\nnow = time.time\ndef f(): return now()": [(2, f"time.time{KEPT}"), (3, f"time.time{BOUND}")],
    "import time\ndef f(clock=time.monotonic): return clock()": [(2, f"time.monotonic{KEPT}")],
    "import time\ndef f(*, clock=time.monotonic): return clock()": [(2, f"time.monotonic{KEPT}")],
    "import time\nf = lambda clock=time.monotonic: clock()": [(2, f"time.monotonic{KEPT}")],
    "import time\nfrom dataclasses import dataclass, field\n@dataclass\nclass A:\n"
    "    at: float = field(default_factory=time.time)": [(5, f"time.time{KEPT}")],
    "import random\nDRAWN = [random.random() for _ in range(3)]": [(2, f"random.random{CALLED}")],
    "import time\nprint(*{time.time() for _ in 'a'}, {1: time.time() for _ in 'a'}, sum(time.time() for _ in 'a'))": [
        (2, f"time.time{CALLED}")
    ],
    # Generators without a seed.
    "import random\nrng = random.Random()": [(2, UNSEEDED)],
    "from random import Random\ndef f(): return Random(None)": [(2, UNSEEDED)],
    "import random\ndef f(): return random.SystemRandom()": [(2, "random.SystemRandom() draws real randomness")],
}


@pytest.mark.parametrize("source", FOUND)
def test_what_no_fence_sees_is_found(source: str, make: Make) -> None:
    findings = told(make(source))
    expected = [f"shop.py:{line}: {text}" for line, text in FOUND[source]]
    assert len(findings) == len(expected)
    assert all(finding.startswith(text) for finding, text in zip(findings, expected, strict=True)), findings


NOT_FOUND = [
    # A fence sees these.
    "import time\ndef f(): return time.time()",
    "import time as t\ndef f(): return [t.monotonic() for _ in '']",
    "import time\ndef f():\n    clock = time.time\n    return clock()",
    "import time\ndef f():\n    def g(clock=time.time): return clock()\n    return g",
    "def f():\n    from time import time\n    return time()",
    "import uuid, os, random\ndef f(): return uuid.uuid4(), os.urandom(1), random.random()",
    "import secrets\ndef f(): return secrets.token_hex(), secrets.choice('ab')",
    # No clock at all.
    "class datetime:\n    @classmethod\n    def now(cls, tz): return 5\ndef f(): return datetime.now(None)",
    "class date:\n    today = staticmethod(lambda: 5)\nTODAY = date.today()",
    "import datetime as d\nclass Mine(d.datetime):\n  @classmethod\n  def now(cls, tz=None): return 5\nMine.now()",
    "from datetime import datetime\ndef f(): return datetime.fromtimestamp(5), datetime(2026, 1, 1), datetime.min",
    "from datetime import datetime\ndef f(at: datetime): return at.now, datetime.nothing",
    "from datetime import datetime\ndef f(datetime): return datetime.now()",
    "from datetime import datetime\ndef f(*datetime, **date): return datetime.now()",
    "from datetime import datetime\nf = lambda datetime: datetime.now()",
    "from datetime import datetime\ndef f(x): return [datetime.now() for datetime in x]",
    "from datetime import datetime\ndef f():\n    datetime = g()\n    return datetime.now()",
    "from datetime import datetime\ndef f(x):\n    for datetime in x: datetime.now()",
    "from datetime import datetime\ndef f(x):\n    with x as datetime: datetime.now()",
    "from datetime import datetime\ndef f(x):\n    try: x()\n    except Exception as datetime: datetime.now()",
    "from datetime import datetime\ndef f(x):\n    match x:\n        case {'a': 1, **datetime}: datetime.now()",
    "from datetime import datetime\ndef f(x):\n    match x:\n        case [*datetime]: datetime.now()",
    "from datetime import datetime\ndef f(x):\n    match x:\n        case int() as datetime: datetime.now()",
    "from datetime import datetime\ndef f(x):\n    from datetime import datetime\n    datetime = x\n    datetime.now()",
    "from datetime import datetime\ndef f():\n    def datetime(): ...\n    async def date(): ...\n    datetime.now()",
    "from datetime import datetime\ndef f():\n    from .clock import datetime\n    datetime.now()",
    "from datetime import datetime\ndef f():\n    from nowhere import datetime\n    datetime.now()",
    "from datetime import datetime\ndef f():\n    import nowhere.at.all as datetime\n    datetime.now()",
    "from datetime import datetime\nclass A:\n    datetime = None\n    x = datetime and datetime.now()",
    "def f(): return nothing.now()",
    "import time\nEPOCH = time.gmtime(0)\ndef f(stamps): return list(map(time.gmtime, stamps))",
    "from time import gmtime\ndef f(stamps): return [*map(gmtime, stamps), gmtime(5)]",
    "import time\nclass A:\n    at: time.time\n    clock: 'time.time' = None",
    "import random\nrandom.seed(5)\nrng = random.Random(5)\nother = random.Random(x=7)",
    "import random\ndef f(seed): return random.Random(seed)",
    "import time\nif __name__ == '__main__':\n    print(time.time())",
    'import time\nif "__main__" == __name__: print(time.time())\nelse: pass',
]


@pytest.mark.parametrize("source", NOT_FOUND)
def test_what_is_no_clock_is_left_alone(source: str, make: Make) -> None:
    assert told(make(source)) == []


def test_a_name_of_a_class_is_not_seen_in_its_methods(make: Make) -> None:
    source = """\
    from datetime import datetime
    class A:
        datetime = None
        def f(self): return datetime.now()
    """
    assert [each.partition(" ")[0] for each in told(make(source))] == ["shop.py:4:"]


def test_a_global_is_the_modules(make: Make) -> None:
    source = """\
    from datetime import datetime
    def f():
        global datetime
        datetime.now()
        datetime = None
    """
    assert [each.partition(" ")[0] for each in told(make(source))] == ["shop.py:4:"]


def test_conditions_are_looked_into(make: Make) -> None:
    source = """\
    import time
    if __debug__:
        A = time.time()
    if __name__ == "__main__":
        B = time.time()
    else:
        C = time.time()
    """
    assert [each.partition(" ")[0] for each in told(make(source))] == ["shop.py:3:", "shop.py:7:"]


def test_a_module_that_holds_a_clock_for_others_is_followed(make: Make) -> None:
    other = types.ModuleType("hanse_clocks_probe")
    exec("from time import time as now", vars(other))
    sys.modules[other.__name__] = other
    try:
        findings = told(make("import hanse_clocks_probe\ndef f(): return hanse_clocks_probe.now()"))
    finally:
        del sys.modules[other.__name__]
    assert len(findings) == 1
    assert findings[0].startswith(f"shop.py:2: time.time{BOUND}")


def test_a_name_that_was_bound_inside_a_fence_is_seen_by_fences(make: Make) -> None:
    fence = Fence(lambda: 0.0, lambda: 0.0, 7)
    with fence.lifted():
        module = make("def f(): return time()")
    with fence:
        exec("from time import time", vars(module))
    assert told(module) == []


def test_each_module_is_looked_at_once_and_in_order(make: Make) -> None:
    module = make("import time\nA = time.time()")
    assert len(find_clocks([module, module])) == 1


@pytest.mark.parametrize("module", [sys, types.ModuleType("made_up")], ids=["builtin", "made up"])
def test_modules_without_a_source_are_passed_over(module: ModuleType) -> None:
    assert find_clocks([module]) == []


def test_the_line_names_the_file(make: Make) -> None:
    module = make("import time\nA = time.time()")
    assert find_clocks([module])[0].startswith(f"{module.__file__}:2: ")
