"""`hanse new`: what it refuses, and that nothing is ever written over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hanse.cli.group import hanse


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    with chdir(tmp_path):
        yield tmp_path


def new(*arguments: str) -> Result:
    return CliRunner().invoke(hanse, ["new", *arguments])


@pytest.mark.parametrize("name", ["Shop", "1shop", "tea shop", "../shop", "shop-", "", "-"])
def test_a_name_that_cannot_be_installed_is_a_matter_of_usage(name: str) -> None:
    refused = new("--", name)
    assert refused.exit_code == 2
    assert "expected small letters, digits and dashes, such as tea-shop" in refused.stderr


@pytest.mark.parametrize("name", ["json", "class", "hanse", "tests"])
def test_a_name_that_would_hide_a_module_is_a_matter_of_usage(name: str) -> None:
    refused = new(name)
    assert refused.exit_code == 2
    assert f"choose another, such as my-{name}" in refused.stderr


def test_an_unknown_template_is_a_matter_of_usage() -> None:
    assert new("shop", "--template", "grpc").exit_code == 2


def test_nothing_is_written_over(folder: Path) -> None:
    (folder / "shop").mkdir()
    (folder / "shop/mine.py").write_text("mine")
    refused = new("shop")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr == f"hanse: expected a folder that is new or empty, but {folder}/shop has mine.py\n"
    (folder / "shop/too.py").write_text("mine")
    assert "has mine.py and 1 more" in new("shop").stderr
    assert sorted(path.name for path in (folder / "shop").iterdir()) == ["mine.py", "too.py"]


def test_a_file_in_its_place_is_told(folder: Path) -> None:
    (folder / "shop").write_text("mine")
    assert "has a file of its name" in new("shop").stderr


def test_a_folder_that_cannot_be_written_is_told(folder: Path) -> None:
    (folder / "file").write_text("")
    refused = new("shop", "--dir", "file/shop")
    assert refused.exit_code == 1
    assert "expected a folder that can be written, but of" in refused.stderr


def test_an_empty_repository_is_filled(folder: Path) -> None:
    (folder / "there/.git").mkdir(parents=True)
    done = new("tea-shop", "--dir", "there")
    assert (done.exit_code, done.stdout) == (0, "tea-shop: minimal, in there\n")
    assert (folder / "there/tea_shop/app.py").is_file()
    assert "hanse dev" in done.stderr


def test_what_is_to_be_done_next_is_not_told_to_the_quiet() -> None:
    assert new("shop", "-q").stderr == ""
