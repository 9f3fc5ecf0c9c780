"""Where simulations were declared, and how another process finds them."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from hanse.kernel.faults import Misconfigured, Misdeclared
from hanse.sim.origin import Origin, load, origin_of, simulations_of

SMALL = Path(__file__).with_name("small_worlds.py")


def small(name: str) -> Origin:
    return Origin(str(SMALL), "small_worlds", name)


def test_what_is_not_there_any_more_is_told() -> None:
    with pytest.raises(Misconfigured, match=r"there is no 'gone' in .*small_worlds\.py any more"):
        load(small("gone"), sys.path)


def test_something_else_of_that_name_is_refused() -> None:
    with pytest.raises(Misdeclared, match="expected a function decorated with @simulation"):
        load(small("book"), sys.path)


def test_a_file_that_is_not_python_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="expected a Python file"):
        load(Origin(str(tmp_path / "notes.txt"), "no_such_module", "story"), sys.path)


def test_a_module_that_misses_another_says_so(tmp_path: Path) -> None:
    (tmp_path / "lacks_one.py").write_text("import no_such_thing")
    with pytest.raises(ModuleNotFoundError, match="no_such_thing"):
        load(Origin(str(tmp_path / "lacks_one.py"), "lacks_one", "story"), [*sys.path, str(tmp_path)])


def test_a_simulation_is_found_where_it_was_declared() -> None:
    simulation = load(small("holds"), sys.path)
    assert origin_of(simulation) == small("holds")
    assert load(small("holds"), sys.path) is simulation


def test_a_simulation_without_a_name_is_found_nowhere() -> None:
    module = sys.modules[load(small("holds"), sys.path).story.__module__]
    assert [origin_of(one) for one in simulations_of(_holding(module.makes_one())).values()] == [None]


def test_one_that_was_declared_in_no_file_is_found_nowhere() -> None:
    simulation = load(small("holds"), sys.path)

    async def story(world: object) -> None: ...

    story.__module__ = "a_module_that_never_was"
    assert origin_of(msgspec.structs.replace(simulation, story=story)) is None


def test_a_module_offers_its_simulations_by_name() -> None:
    module = sys.modules[load(small("holds"), sys.path).story.__module__]
    assert {"holds", "loses", "always_fails"} <= simulations_of(module).keys()
    assert simulations_of(module)["holds"] is load(small("holds"), sys.path)


def test_a_script_is_loaded_from_its_file() -> None:
    assert load(Origin(str(SMALL), "__main__", "holds"), sys.path).name == "holds"


def test_another_module_of_that_name_is_not_taken_for_it(tmp_path: Path) -> None:
    file = tmp_path / "small_worlds.py"
    file.write_text("from hanse import *\napp = App('x')\n@simulation(app)\nasync def other(world): ...\n")
    known = sys.modules.pop("small_worlds", None)
    try:
        path = [str(SMALL.parent), *sys.path]
        assert load(Origin(str(file), "small_worlds", "other"), path).name == "other"
    finally:
        sys.path.remove(str(SMALL.parent))
        sys.modules.pop("small_worlds", None)
        if known is not None:
            sys.modules["small_worlds"] = known


@pytest.mark.parametrize(("folder", "target"), [(SMALL.parent, "small_worlds.py:holds"), (Path("/elsewhere"), "")])
def test_people_type_a_file_as_seen_from_where_they_are(folder: Path, target: str) -> None:
    assert small("holds").target(folder) == (target or f"{SMALL}:holds")


def _holding(value: object) -> ModuleType:
    module = ModuleType("holding")
    module.__dict__["one"] = value
    return module
