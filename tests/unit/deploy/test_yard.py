"""What releases want of a supervisor, where nothing of it needs a process."""

from __future__ import annotations

from pathlib import Path

from hanse.control.desired import Command, Desired
from hanse.control.promises import Promises
from hanse.control.wishes import Wishes
from hanse.deploy.checks import Checks
from hanse.deploy.project import Plan, Project
from hanse.deploy.supervisor import Supervisor
from hanse.deploy.yard import SupervisorYard
from hanse.kernel.host import Host
from hanse.kernel.settings import ServiceSettings, Settings


async def _promises_nothing(_: str) -> Promises:
    return {}


async def test_a_hook_that_cannot_be_started_has_failed(tmp_path: Path) -> None:
    host = Host.system()
    supervisor = Supervisor(Project(tmp_path), host, print)
    web = Desired("web", Command(("serve",), directory=str(tmp_path), environment={"URL": "${NOWHERE}"}))
    settings = Settings(services={"web": ServiceSettings(command="serve", release_hook="migrate")})
    supervisor.plan = Plan(settings, {"web": web}, {})
    yard = SupervisorYard(supervisor, Checks(_promises_nothing), host)
    assert yard.once("hook-1", "web", "") == ("waiting", "")
    came, why = yard.once("hook-1", "web", "")
    assert came == "failed"
    assert "NOWHERE" in why


async def test_as_many_as_somebody_wished_for_are_released(tmp_path: Path) -> None:
    """Else a release would begin with an end of those that the settings know nothing of."""
    host = Host.system()
    supervisor = Supervisor(Project(tmp_path), host, print)
    yard = SupervisorYard(supervisor, Checks(_promises_nothing), host)
    assert yard.services == {}
    desired = {name: Desired(name, Command(("serve",)), 2) for name in ("web", "mail")}
    supervisor.plan = Plan(Settings(), desired, {})
    assert yard.services == desired
    supervisor.wish(Wishes(instances={"web": 5}))
    assert {name: one.instances for name, one in yard.services.items()} == {"web": 5, "mail": 2}
