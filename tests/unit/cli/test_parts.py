from __future__ import annotations

import pytest

from hanse import App, Service, rpc
from hanse.cli.parts import main, parts_of, without_circles
from hanse.control.desired import Part, Parts


class Stock(Service):
    @rpc
    async def take(self) -> None: ...


class Orders(Service):
    stock: Stock
    mine: Orders

    @rpc
    async def place(self) -> None: ...


def test_parts_tell_who_calls_whom() -> None:
    found = parts_of("shop:app", App("shop", Orders, Stock))
    assert found == Parts("shop:app", (Part("orders", ("stock",)), Part("stock")), gateway=True, name="shop")


def test_those_who_call_each_other_start_in_any_order() -> None:
    needs = {"left": ("right",), "right": ("left", "store"), "store": (), "late": ("left",)}
    assert without_circles(needs) == {"left": ("right",), "right": ("store",), "store": (), "late": ("left",)}


def test_what_cannot_be_imported_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert main("no_such_file.py") == 78
    assert "no_such_file.py" in capsys.readouterr().err
