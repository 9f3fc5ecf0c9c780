from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from hanse import App, Collection, CouldNotStart, Misconfigured, Resource, Service, rpc
from hanse.cli.describe import lines_of, published_by
from hanse.cli.schema_text import type_text
from hanse.cli.services import declared_in
from hanse.cli.target import Target, choose, folder_of, load_app, load_composed, parse_target

SERVICE = "from hanse import App, Service, rpc\nclass {0}(Service):\n    @rpc\n    async def hi(self) -> str: ...\n"
_numbers = itertools.count()


class Guest(Resource):
    name: str


class Greeter(Service):
    """Greets. And more."""

    guests: Collection[Guest]

    @rpc(idempotent=True, timeout="2s", route="GET /hi", faults=(Misconfigured,))
    async def hi(self, name: str = "you") -> str:
        """Say hi."""
        return name


class Loud(Greeter, name="loud"):
    pass


class _Base(Service):
    pass


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    path, modules = sys.path[:], set(sys.modules)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(folder: Path, text: str, name: str = "") -> str:
    """A module under a name that no other test has."""
    name = name or f"target_{next(_numbers)}.py"
    (folder / name).parent.mkdir(exist_ok=True, parents=True)
    (folder / name).write_text(text)
    return name


def refused(text: str, folder: Path) -> str:
    with pytest.raises(Misconfigured) as caught:
        load_app(text, folder)
    return str(caught.value)


def test_a_service_that_one_app_has_is_found_in_it(folder: Path) -> None:
    both = SERVICE.format("Till") + SERVICE.format("Cafe") + "app = App('shop', Cafe, Till)\n"
    name = write(folder, both)
    composed = load_composed(f"{name}:Till", folder)
    assert composed is not None
    assert (composed[0].name, composed[1]) == ("shop", "till")
    assert load_composed(f"{name}:app", folder) is None
    assert load_composed(name, folder) is None
    in_two = write(folder, both + "more = App('more', Till)\n")
    assert load_composed(f"{in_two}:Till", folder) is None


@pytest.mark.parametrize("text", ["", ":", ":app", "shop:", "shop:a b", "shop.py:1"])
def test_what_is_no_target_is_refused(text: str) -> None:
    with pytest.raises(Misconfigured, match="expected a file or a module"):
        parse_target(text)


@given(st.from_regex(r"[a-z]{2,5}(\.[a-z]{2,5}|/[a-z]{2,5}\.py)?", fullmatch=True), st.sampled_from(["", "app"]))
def test_a_target_is_module_and_name(module: str, name: str) -> None:
    assert parse_target(f"{module}:{name}" if name else module) == Target(module, name)


def test_the_letter_of_a_drive_is_no_module() -> None:
    assert parse_target("C:\\shop\\app.py") == Target("C:\\shop\\app.py")


def test_a_file_that_is_not_there_is_refused_with_one_that_is(folder: Path) -> None:
    write(folder, "", "greet.py")
    assert refused("gret.py", folder) == "there is no file gret.py; did you mean greet.py?"
    assert refused("zzz.py", folder) == "there is no file zzz.py"


def test_a_folder_is_no_target(folder: Path) -> None:
    (folder / "shop").mkdir()
    assert "is a folder" in refused("shop/", folder)


def test_a_file_whose_name_cannot_be_imported_is_refused(folder: Path) -> None:
    assert "is no name in Python" in refused(write(folder, "", "my-app.py"), folder)


def test_a_file_named_like_another_module_is_refused(folder: Path) -> None:
    assert "rename the file" in refused(write(folder, "", "json.py"), folder)


def test_a_module_that_is_not_there_is_refused(folder: Path) -> None:
    assert "there is no module 'no_such_module'" in refused("no_such_module.app", folder)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import no_such_thing", "No module named 'no_such_thing'"),
        ("\n1 / 0", "line 2: 1 / 0"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("def (", "SyntaxError"),
    ],
)
def test_a_module_that_fails_is_told_with_its_line(folder: Path, text: str, told: str) -> None:
    with pytest.raises(CouldNotStart) as caught:
        load_app(write(folder, text), folder)
    assert told in str(caught.value)


def test_a_wrong_declaration_is_told_with_its_line(folder: Path) -> None:
    name = write(folder, SERVICE.format("A").replace("async def", "def"))
    told = refused(name, folder)
    assert told.startswith(f"{name} cannot be imported: the operation A.hi is a plain `def`")
    assert "line 3: @rpc" in told


def test_a_module_with_nothing_to_run_is_refused(folder: Path) -> None:
    assert "expected an App or a Service" in refused(write(folder, "from hanse import Service"), folder)


def test_several_apps_are_listed(folder: Path) -> None:
    name = write(folder, SERVICE.format("A") + "a = App('a', A)\nb = App('b', A)")
    assert refused(name, folder).endswith(f"say which one: {name}:a, {name}:b")


def test_a_name_that_is_not_there_is_refused_with_what_is(folder: Path) -> None:
    name = write(folder, SERVICE.format("Greeter"))
    assert refused(f"{name}:Greter", folder).endswith(
        "but there is no 'Greter'; did you mean Greeter?; it offers Greeter"
    )


def test_a_name_that_is_something_else_is_refused() -> None:
    with pytest.raises(Misconfigured, match=r"at m:x, but x is a int$"):
        choose({"x": 1}, Target("m", "x"), "m")


def test_the_only_app_is_meant_whatever_it_is_called(folder: Path) -> None:
    name = write(folder, SERVICE.format("A") + "one = two = App('shop', A)")
    assert load_app(name, folder).name == "shop"


def test_services_without_an_app_become_one_named_after_the_file(folder: Path) -> None:
    name = write(folder, SERVICE.format("A") + "class B(A): ...\nclass _C(Service): ...")
    app = load_app(name, folder)
    assert (app.name, [cls.__name__ for cls in app.services], app.gateway) == (name.removesuffix(".py"), ["B"], None)


def test_a_service_that_is_named_is_run_alone(folder: Path) -> None:
    name = write(folder, SERVICE.format("A") + SERVICE.format("OrderService"))
    app = load_app(f"{name}:OrderService", folder)
    assert (app.name, len(app.services)) == ("order", 1)


def test_an_app_that_is_named_is_run(folder: Path) -> None:
    name = write(folder, SERVICE.format("A") + "a = App('a', A)\nb = App('b', A)")
    assert load_app(f"{name}:b", folder).name == "b"


def test_a_module_is_looked_for_in_the_current_folder(folder: Path) -> None:
    write(folder, SERVICE.format("A"), "target_package/main.py")
    assert load_app("target_package.main", folder).name == "main"


def test_a_file_of_a_package_may_import_relatively(folder: Path) -> None:
    write(folder, "", "target_relative/__init__.py")
    write(folder, SERVICE.format("A"), "target_relative/inner.py")
    name = write(folder, "from .inner import App, A\napp = App('x', A)", "target_relative/app.py")
    assert load_app(name, folder).name == "x"
    assert sys.path[0] == str(folder)


def test_imported_services_are_not_the_modules_own() -> None:
    names = {"Greeter": Greeter, "Loud": Loud, "_Base": _Base, "x": 1}
    assert choose(names, Target("m"), __name__) == [Loud]
    with pytest.raises(Misconfigured):
        choose(names, Target("m"), "elsewhere")


def test_the_folder_of_a_file_is_watched_beside_the_current_one(folder: Path) -> None:
    assert folder_of(Target("shop/app.py"), folder) == folder.resolve() / "shop"
    assert folder_of(Target("shop.app"), folder) == folder


def test_contracts_are_described_with_the_resources_of_their_service() -> None:
    contract = published_by(App("x", Greeter))[0]
    assert list(lines_of(contract)) == [
        f"greeter 1  {contract['fingerprint']}",
        "  Greets. And more.",
        '  hi(name: string = "you") -> string  [idempotent, timeout 2 s, GET /hi, misconfigured]',
        "    Say hi.",
        '  resource guests: id: string = "", rev: integer = 0, name: string',
    ]


def test_the_services_of_a_file_are_listed(folder: Path) -> None:
    name = write(folder, SERVICE.format("A"))
    assert [one.addresses for one in declared_in(str(folder / name))] == [["a.hi"]]


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({}, "anything"),
        (True, "anything"),
        ({"type": ["string", "null"]}, "string | null"),
        ({"oneOf": [{"type": "integer"}, {"const": 3}]}, "integer | 3"),
        ({"enum": ["a", 1]}, '"a" | 1'),
        ({"type": "string", "format": "date-time"}, "date-time"),
        ({"type": "array"}, "list"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "table[number]"),
    ],
)
def test_types_are_told_as_people_read_them(schema: object, text: str) -> None:
    assert type_text(schema) == text
