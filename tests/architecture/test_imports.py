"""What a process does not need it does not import: a node of many starts without what another one serves."""

import re
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

APP = """
from hanse import App, Gateway, Service, rpc

class Greeter(Service):
    @rpc
    async def hello(self, name: str) -> str:
        return f"Hello {name}!"

app = App("greeting", Greeter, gateway=Gateway().rpc(Greeter))
"""

BUILT = {"hanse.gateway.build", "hanse.gateway.sse", "hanse.gateway.socket", "hanse.contract.asyncapi"}
"""What only a node needs that hosts the gateway."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "greet.py").write_text(APP)
    return tmp_path


def imported(folder: Path, *options: str) -> set[str]:
    """The modules that a node has imported once it has said that it lives, as the interpreter itself tells."""
    command = [sys.executable, "-X", "importtime", "-m", "hanse", "run", "greet.py", "--port", "0", *options]
    log = folder / "imports.txt"
    with log.open("w") as told, subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=told) as node:
        assert node.stdout is not None
        try:
            with urlopen(f"{node.stdout.readline().split()[-1].decode()}/livez") as answer:
                assert answer.status == 200
        finally:
            node.kill()
    return set(re.findall(r"^import time: .*\| +(\S+)$", log.read_text(), re.MULTILINE))


def test_a_node_without_the_gateway_starts_without_what_builds_one(folder: Path) -> None:
    assert imported(folder, "--services", "greeter") & BUILT == set()


def test_a_node_with_the_gateway_imports_what_builds_one(folder: Path) -> None:
    assert imported(folder) >= BUILT
