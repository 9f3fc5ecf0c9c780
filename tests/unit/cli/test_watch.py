"""Which files count, and that a change of one is found."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from hanse.cli.watch import changes, is_watched, poll, roots, snapshot

FILES = st.dictionaries(st.text("ab", min_size=1, max_size=2), st.integers(0, 2))


@given(FILES, FILES)
def test_changes_are_what_differs(before: dict[str, int], after: dict[str, int]) -> None:
    named = set(changes(before, after))
    assert {name for name in before.keys() | after.keys() if name not in named} == {
        name for name in before.keys() & after.keys() if before[name] == after[name]
    }


def test_only_sources_and_settings_count(tmp_path: Path) -> None:
    for name in ("app.py", "hanse.toml", ".env", "notes.txt", ".venv/x.py", "__pycache__/y.py", "shop/b.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "broken.py").symlink_to(tmp_path / "gone.py")
    found = {str(Path(name).relative_to(tmp_path)) for name in snapshot([tmp_path])}
    assert found == {"app.py", "hanse.toml", ".env", "shop/b.py"}
    assert len(snapshot([tmp_path], limit=2)) == 2


@pytest.mark.parametrize("path", ["a/.git/x.py", "a/b/node_modules/x.py", "a/x.pyc", "a/venv/x.py"])
def test_what_others_write_does_not_count(path: str) -> None:
    assert not is_watched(path, [Path("other"), Path("a")])


def test_folders_within_others_are_looked_at_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert roots([tmp_path / "a", tmp_path, tmp_path]) == [tmp_path.resolve()]


class TwoLooks:
    """Changes a file between the first two looks, and ends the watch after them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def wait(self, seconds: float) -> bool:
        known = self.path.exists()
        self.path.write_text("")
        return known


def test_a_look_at_the_files_finds_a_change(tmp_path: Path) -> None:
    found: list[tuple[str, ...]] = []
    poll([tmp_path], found.append, TwoLooks(tmp_path / "a.py"))
    assert found == [(str(tmp_path / "a.py"),)]
