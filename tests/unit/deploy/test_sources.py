"""Where the files of a release come from."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from hanse.control.desired import Command
from hanse.deploy.sources import digest_of, source_of
from hanse.kernel.faults import Misconfigured


def git(folder: Path, *words: str) -> str:
    names = {f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = {**os.environ, **names, "GIT_CONFIG_GLOBAL": os.devnull}
    done = subprocess.run(
        ["git", "-C", str(folder), *words],
        capture_output=True,
        check=True,
        text=True,
        env=environment,
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two revisions of two services."""
    root = tmp_path / "system"
    for name in ("users", "orders"):
        (root / name).mkdir(parents=True)
        (root / name / "app.py").write_text("1")
    git(tmp_path, "init", "-q", str(root))
    git(root, "add", "-A")
    git(root, "commit", "-qm", "one")
    git(root, "tag", "1.0")
    (root / "users" / "app.py").write_text("2")
    git(root, "commit", "-qam", "two")
    return root


def command(directory: Path, *line: str) -> Command:
    return Command(line or ("python", "app.py"), directory=str(directory))


def test_a_revision_is_laid_out_beside_others_and_the_working_tree_stays(repository: Path, tmp_path: Path) -> None:
    users = repository / "users"
    (users / "app.py").write_text("unsaved")
    releases = tmp_path / "releases"
    old = source_of("1.0", command(users), releases)
    new = source_of("HEAD", command(users), releases)
    assert old.directory is not None
    assert new.directory is not None
    assert (old.directory / "app.py").read_text() == "1"
    assert (new.directory / "app.py").read_text() == "2"
    assert sorted(path.name for path in new.directory.iterdir()) == ["app.py"], "of the service, and not of the others"
    assert (users / "app.py").read_text() == "unsaved"
    assert git(repository, "status", "--porcelain") == "M users/app.py"
    assert source_of("HEAD", command(users), releases) == new
    assert new.digest == "git:" + git(repository, "rev-parse", "HEAD")
    assert sorted(path.name for path in releases.iterdir()) == sorted([old.directory.name, new.directory.name])


def test_the_same_revision_of_two_services_is_laid_out_twice(repository: Path, tmp_path: Path) -> None:
    places = {source_of("1.0", command(repository / name), tmp_path / "r").directory for name in ("users", "orders")}
    assert len(places) == 2


def test_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "users-2"
    folder.mkdir()
    (folder / "app.py").write_text("2")
    found = source_of("../users-2", command(tmp_path / "users-2"), tmp_path / "r")
    assert (found.release, found.directory) == ("users-2", folder)


def test_a_command_that_says_where_the_release_goes_takes_any_name(tmp_path: Path) -> None:
    found = source_of("registry/users:1.5", command(tmp_path, "docker", "run", "{release}"), tmp_path)
    assert (found.release, found.directory, found.digest) == ("registry/users:1.5", None, "named:registry/users:1.5")


@pytest.mark.parametrize("wanted", ["", "-x", "--upload-pack=evil", "nowhere", "1.0;true", "../../none"])
def test_what_is_nothing_is_refused(wanted: str, repository: Path, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="expected a"):
        source_of(wanted, command(repository / "users"), tmp_path / "r")


def test_a_digest_is_of_names_contents_and_what_may_be_run(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    seen = [digest_of(tmp_path)]
    (tmp_path / "a").chmod(0o755)
    seen.append(digest_of(tmp_path))
    (tmp_path / "a").rename(tmp_path / "b")
    seen.append(digest_of(tmp_path))
    (tmp_path / "b").write_text("2")
    seen.append(digest_of(tmp_path))
    (tmp_path / "link").symlink_to("b")
    seen.append(digest_of(tmp_path))
    assert len(set(seen)) == len(seen)
    os.utime(tmp_path / "b", (1, 1))
    for name in ("__pycache__", ".git", "node_modules"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text("noise")
    assert digest_of(tmp_path) == seen[-1]


def test_a_folder_that_holds_the_world_is_refused(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).touch()
    with pytest.raises(Misconfigured, match="with more than 1 files"):
        digest_of(tmp_path, files_max=1)
