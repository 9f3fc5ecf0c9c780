"""`hanse sagas` as its users meet it: real files, real commands, with nobody running."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from hanse.cli.target import load_app
from hanse.delivery.saga_machine import SagaStuck
from hanse.kernel.settings import NodeSettings, Settings
from hanse.mesh.client import policy
from hanse.node.node import Node

CODE = """
from hanse import Saga, Service, Terminal, rpc, saga

class Till(Service):
    @rpc
    @saga
    async def pay(self, s: Saga, amount: int) -> int:
        return await s.step(self._take, amount)

    async def _take(self, amount: int) -> int:
        if amount < 0:
            raise KeyError("negative")
        return amount
"""


def test_the_command_shows_and_has_go_on(tmp_path: Path) -> None:
    (tmp_path / "till.py").write_text(CODE)
    (tmp_path / "hanse.toml").write_text('app = "till.py"\n[node]\nstore = "sqlite:///till.db"\n')

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "hanse", "sagas", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    async def work() -> None:
        settings = Settings(node=NodeSettings(store=f"sqlite:///{tmp_path}/till.db"))
        app = load_app("till.py", tmp_path)
        async with asyncio.timeout(60), Node(app, settings) as node:
            till = node.client(app.services[0])
            _ = await policy(till, timeout="30s").pay(5)  # type: ignore[attr-defined]
            with pytest.raises(SagaStuck):
                _ = await policy(till, timeout="30s").pay(-1)  # type: ignore[attr-defined]

    asyncio.run(work())
    rows = json.loads(run("list", "--json"))
    assert [row["state"] for row in rows] == ["stuck", "done"]
    assert "KeyError: 'negative'" in run("list", "--state", "stuck")
    shown = run("show", rows[1]["id"])
    assert 'arguments  {"amount":5}' in shown
    assert "step    take" in shown
    assert json.loads(run("show", rows[1]["id"], "--json"))["steps"][0]["name"] == "take"
    _ = run("resume", rows[0]["id"])
    assert json.loads(run("abort", rows[0]["id"], "--json"))["abort"] is True
