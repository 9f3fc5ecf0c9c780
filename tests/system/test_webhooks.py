"""Webhooks as they are: a process that is killed, a receiver in another, and the commands that look at them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Self
from urllib.request import Request, urlopen

import pytest
from tests.planted.unmeasured import unmeasured
from tests.transport.process import free_port

from hanse.gateway.webhooks.signature import is_signed, key_of

SHOP = """
from collections.abc import Mapping
from hanse import App, Event, Gateway, Identity, Service, Unauthenticated, rpc

class OrderPaid(Event):
    order_id: str

class Orders(Service, events=(OrderPaid,)):
    @rpc(route="POST /pay/{order_id}")
    async def pay(self, order_id: str) -> None:
        await self.emit(OrderPaid(order_id=order_id))

async def identify(headers: Mapping[str, str]) -> Identity:
    if headers.get("authorization") != "Bearer ada":
        raise Unauthenticated
    return Identity("ada")

gateway = Gateway(identify=identify).rpc(Orders).webhooks(OrderPaid)
app = App("shop", Orders, gateway=gateway)
"""
SETTINGS = """
app = "shop.py"
[node]
store = "sqlite:///data"
[services.webhooks.settings]
allow = ["127.0.0.1"]
http = true
"""
ADA = {"authorization": "Bearer ada", "content-type": "application/json"}
SECONDS_MAX = 20.0


class Receiver:
    """A server outside: what came, and a gate that it answers behind."""

    def __init__(self) -> None:
        self.came: Queue[tuple[dict[str, str], bytes]] = Queue()
        self.open = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.came.put(({name.lower(): value for name, value in self.headers.items()}, body))
                if receiver.open.wait(SECONDS_MAX):
                    self.send_response(204)
                    self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/hooks"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    serving = threading.Thread(target=made.server.serve_forever, daemon=True)
    serving.start()
    try:
        yield made
    finally:
        made.open.set()
        made.server.shutdown()
        made.server.server_close()


class Shop:
    """A process that sends webhooks, and may be killed and begun again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reading: threading.Thread | None = None
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        _ = (folder / "shop.py").write_text(SHOP)
        _ = (folder / "hanse.toml").write_text(SETTINGS)

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "hanse", "run", "--port", str(self.port)]
        self.process = subprocess.Popen(
            command, cwd=self.folder, env=unmeasured(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert self.process.stdout is not None
        said: list[str] = []
        for line in self.process.stdout:
            said.append(line)
            if self.url in line:
                break
        else:
            self.__exit__()
            pytest.fail("".join(said))
        self.reading = threading.Thread(target=self.process.stdout.read)
        self.reading.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end(signal.SIGKILL)
        if self.reading is not None:
            self.reading.join()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def end(self, number: signal.Signals) -> None:
        self.process.send_signal(number)
        _ = self.process.wait(SECONDS_MAX)

    def ask(self, method: str, path: str, value: object = None) -> dict[str, object]:
        body = None if value is None else json.dumps(value).encode()
        with urlopen(Request(f"{self.url}{path}", data=body, method=method, headers=ADA), timeout=SECONDS_MAX) as found:
            answer: dict[str, object] = json.loads(found.read() or b"{}")
            return answer

    def hanse(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "hanse", "webhooks", *arguments, "--url", self.url]
        return subprocess.run(
            [*command, "--header", "authorization: Bearer ada"],
            cwd=self.folder,
            env={**os.environ, "NO_COLOR": "1"},
            check=False,
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
        )


def test_what_was_sent_and_not_noted_when_it_was_killed_is_sent_again_under_its_id(
    receiver: Receiver, tmp_path: Path
) -> None:
    with Shop(tmp_path) as shop:
        secret = str(shop.ask("POST", "/webhooks", {"url": receiver.url})["secret"])
        shop.ask("POST", "/pay/o1", {})
        first, _ = receiver.came.get(timeout=SECONDS_MAX)
        shop.end(signal.SIGKILL)
    receiver.open.set()
    with Shop(tmp_path) as shop:
        again, body = receiver.came.get(timeout=SECONDS_MAX)
    assert again["webhook-id"] == first["webhook-id"]
    assert json.loads(body)["data"] == {"order_id": "o1"}
    timestamp = int(again["webhook-timestamp"])
    assert is_signed([key_of(secret)], again["webhook-id"], timestamp, body, again["webhook-signature"])


def test_commands_show_what_was_sent_and_send_it_again(receiver: Receiver, tmp_path: Path) -> None:
    receiver.open.set()
    with Shop(tmp_path) as shop:
        assert shop.hanse("list", "--json").stdout == "[]\n"
        shop.ask("POST", "/webhooks", {"url": receiver.url})
        (row,) = json.loads(shop.hanse("list", "--json").stdout)
        listed = shop.hanse("list")
        assert [word in listed.stdout for word in (row["id"], "active", "order_paid", receiver.url)] == [True] * 4

        pinged = json.loads(shop.hanse("ping", row["id"], "--json").stdout)
        came, _ = receiver.came.get(timeout=SECONDS_MAX)
        assert came["webhook-id"] == pinged["id"]
        told = shop.hanse("deliveries", row["id"])
        assert pinged["id"] in told.stdout, told.stderr
        assert json.loads(shop.hanse("deliveries", row["id"], "--state", "failed", "--json").stdout) == []

        assert shop.hanse("replay", row["id"], "--since", "1h", "--all").stdout == "1 sent again\n"
        assert receiver.came.get(timeout=SECONDS_MAX)[0]["webhook-id"] == pinged["id"]
        assert json.loads(shop.hanse("replay", row["id"], "--delivery", pinged["id"], "--json").stdout) == {"count": 1}

        unknown = shop.hanse("ping", "nobody", "--json")
        assert (unknown.returncode, json.loads(unknown.stderr)["error"]["code"]) == (1, "not_found")
        assert shop.hanse("replay", row["id"], "--since", "soon").returncode == 2
