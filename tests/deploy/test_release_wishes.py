"""What somebody wishes for while a service is on its way to another release, with real processes and visitors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from hanse.cli.system import until
from hanse.deploy.control_words import Status
from hanse.deploy.home import Home

from .systems import PYTHON, WAIT_SECONDS, Running, running
from .test_release import SERVER, Visitors

SETTINGS = f"""
[edge]
port = 0

[services.web]
command = "{PYTHON} serve.py {{host}} {{port}}"
directory = "one"
route = "/"
instances = 2
"""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("wishes")
    for name in ("one", "two"):
        (folder / name).mkdir()
        (folder / name / "serve.py").write_text(SERVER)
    with running(folder, SETTINGS) as system:
        _ = system.ready()
        yield system


def there(status: Status) -> Counter[tuple[str, str]]:
    """How many of each release are in which phase."""
    return Counter((one.release, one.phase) for one in status.instances)


def come(system: Running, wanted: dict[tuple[str, str], int]) -> None:
    """Wait until just these are there."""
    home = Home(system.folder)
    _ = until(home, WAIT_SECONDS, lambda one: one is not None and there(one) == wanted, str(wanted))


def test_what_is_wished_for_amid_a_release_holds_at_once(system: Running) -> None:
    with Visitors(system.status().edge) as visitors:
        done = system.hanse("release", "web", "--to", "../two", "--strategy", "ab", "--steps", "50", "--bake", "0")
        assert done.returncode == 0, done.stderr
        come(system, {("base", "ready"): 2, ("two", "ready"): 1})
        assert system.hanse("scale", "web=4").returncode == 0
        come(system, {("base", "ready"): 4, ("two", "ready"): 2})
        assert system.hanse("scale", "web=1").returncode == 0
        come(system, {("base", "ready"): 1, ("two", "ready"): 1})
        refused = system.hanse("stop", "web")
        assert refused.returncode == 1
        assert "web is on its way to release two, and cannot be stopped meanwhile" in refused.stderr
        assert system.hanse("scale", "web=0").returncode == 1
        before = {one.pid for one in system.status().instances}
        assert system.hanse("restart", "web").returncode == 0
        home = Home(system.folder)
        _ = until(home, WAIT_SECONDS, lambda one: one is not None and not _among(one, before), "others")
        come(system, {("base", "ready"): 1, ("two", "ready"): 1})
        row = system.rollout("web", lambda one: one.rollout.share > 0).rollout
        assert (row.state, row.share, row.instances) == ("stepping", 5_000, 1)
        assert [turn.why for turn in row.history if "are wanted" in turn.why] == [
            "4 instances are wanted, and not 2",
            "1 instances are wanted, and not 4",
        ]
        assert system.hanse("rollout", "promote", "web").returncode == 0
        assert system.over().rollout.state == "done"
        come(system, {("two", "ready"): 1})
    assert {status for status, _ in visitors.seen} == {200}, visitors.seen
    assert system.hanse("stop", "web").returncode == 0
    come(system, {})


def _among(status: Status, pids: set[int]) -> bool:
    return any(one.pid in pids for one in status.instances)
