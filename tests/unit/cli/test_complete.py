"""What a shell is offered, as far as it can be seen without running anything."""

from __future__ import annotations

from contextlib import chdir
from pathlib import Path

import click
import pytest

from hanse.cli.complete import FILE_BYTES_MAX, runnable_in, targets


def offered(incomplete: str) -> list[str]:
    context = click.Context(click.Command("run"))
    return [item.value for item in targets(context, click.Argument(["target"]), incomplete)]


@pytest.mark.parametrize("source", ["def", "\0", "x = (", "app = apps[0]()"])
def test_what_cannot_be_read_offers_nothing(source: str) -> None:
    assert runnable_in(source) == []


def test_all_that_can_be_run_is_found() -> None:
    source = """
import hanse
@hanse.simulation(app)
async def story(world): ...
@staticmethod
async def other(): ...
class Shop(hanse.Service): ...
app = hanse.App("shop", Shop)
"""
    assert runnable_in(source) == ["story", "Shop", "app"]


def test_without_a_colon_files_are_offered() -> None:
    context = click.Context(click.Command("run"))
    (one,) = targets(context, click.Argument(["target"]), "sh")
    assert (one.value, one.type) == ("sh", "file")


def test_a_file_that_is_none_or_too_large_offers_nothing(tmp_path: Path) -> None:
    (tmp_path / "large.py").write_text(f"app = App()\n#{'x' * FILE_BYTES_MAX}")
    (tmp_path / "shop.py").write_text("app = App()")
    with chdir(tmp_path):
        assert offered("shop.py:") == ["shop.py:app"]
        assert [offered(text) for text in ("large.py:", "gone.py:", "\0.py:")] == [[], [], []]
