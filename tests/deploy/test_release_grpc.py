"""A service of gRPC under `hanse up`, called through the edge while it is released; by engines that speak HTTP/2."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import pytest

from hanse.deploy.edge.envoy import program as envoy
from hanse.deploy.edge.haproxy import program as haproxy
from hanse.kernel.faults import CouldNotStart

from .systems import Running, running

grpc: Any = pytest.importorskip("grpc")

FOUND = {"envoy": envoy.found, "haproxy": haproxy.found}
NAME = "/shop.Stock/Name"

SERVER = f"""
import os, sys
from concurrent.futures import ThreadPoolExecutor
import grpc

own = os.path.basename(os.getcwd()).encode()
answers = {{"{NAME}": own, "/grpc.health.v1.Health/Check": bytes([8, 1])}}

class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        answer = answers.get(details.method)
        return answer and grpc.unary_unary_rpc_method_handler(lambda request, context: answer)

server = grpc.server(ThreadPoolExecutor(8), handlers=[Handler()])
assert server.add_insecure_port("127.0.0.1:" + sys.argv[1])
server.start()
server.wait_for_termination()
"""
"""Tells in which folder it was started, and that it is well."""

SETTINGS = f"""
[edge]
port = 0
engine = "ENGINE"

[services.stock]
command = "{sys.executable} stock.py {{port}}"
directory = "one"
route = "/shop.Stock"
protocol = "h2c"
instances = 2
"""


class Callers:
    """Several who call one after the other, all the time, each over one connection, and note what they got."""

    def __init__(self, url: str, number: int = 4) -> None:
        self._address = urlsplit(url).netloc
        self._over = threading.Event()
        self.seen: Counter[str] = Counter()
        self._threads = [threading.Thread(target=self._call) for _ in range(number)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _call(self) -> None:
        # Each has a connection of its own, which libraries of gRPC would share otherwise.
        with grpc.insecure_channel(self._address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            call = channel.unary_unary(NAME)
            while not self._over.wait(0.01):
                try:
                    got = call(b"", timeout=30.0).decode()
                except grpc.RpcError as error:
                    got = str(error)
                self.seen[got] += 1


def released(system: Running, *arguments: str) -> None:
    done = system.hanse("release", "stock", *arguments)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("engine", sorted(FOUND))
def test_calls_go_on_while_a_service_of_grpc_is_released(tmp_path: Path, engine: str) -> None:
    try:
        _ = FOUND[engine]()
    except CouldNotStart as missing:
        pytest.skip(missing.detail)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "stock.py").write_text(SERVER)
        (tmp_path / name / "name").write_text(name)
    with running(tmp_path, SETTINGS.replace("ENGINE", engine)) as system, Callers(system.ready().edge) as callers:
        released(system, "--to", "../two", "--steps", "50,100", "--every", "1s", "--requests", "50", "--bake", "0")
        assert system.over("stock").rollout.state == "done", system.hanse("rollout", "status", "stock").stdout
    assert set(callers.seen) == {"one", "two"}, callers.seen
