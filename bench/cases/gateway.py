"""What a request costs whose service is not in the gateway's process: `gateway.py hanse|fastapi unix|nats SECONDS`.

The script starts gateway and service, and where there is one the broker, and loads the gateway, by processes of their
own. CPU is that of all but the load.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import meter
from calls import spent
from calls_nats import NATS_SERVER, broker, free_port
from load import CALL

HERE = Path(__file__).parent
HANSE = Path(sys.executable).parent / "hanse"
READY_SECONDS_MAX = 20.0
POLL_SECONDS = 0.02

Command = Callable[[str], list[str]]


def hanse(*arguments: str) -> Command:
    run = [str(HANSE), "run", str(HERE / "gateway_hanse.py"), "--store", "memory:", "--no-access-log"]
    return lambda url: [*run, "--log-level", "warning", "--transport", url, *arguments]


def fastapi(port: int) -> Command:
    run = [sys.executable, "-m", "uvicorn", "gateway_fastapi:app", "--app-dir", str(HERE), "--port", str(port)]
    return lambda url: ["env", f"NATS_URL={url}", *run, "--log-level", "warning", "--no-access-log"]


def commands(case: str, port: int) -> tuple[Command, Command]:
    """Of the service, and of the gateway."""
    if case == "hanse":
        return hanse("--services", "desk"), hanse("--services", "gateway", "--port", str(port))
    return lambda url: [sys.executable, str(HERE / "gateway_fastapi.py"), url], fastapi(port)


@contextlib.contextmanager
def started(command: Sequence[str]) -> Iterator[int]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=HERE) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def wait_called(port: int) -> None:
    """Until the service was called through the gateway."""
    body = CALL.partition(b"\r\n\r\n")[2]
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/rpc/desk/price", body, {"Content-Type": "application/json"}
    )
    until = time.monotonic() + READY_SECONDS_MAX
    while time.monotonic() < until:
        with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=2):
            return
        time.sleep(POLL_SECONDS)
    raise RuntimeError("the gateway did not answer a call")


def measure(port: int, pids: dict[str, int], seconds: float) -> None:
    command = [sys.executable, str(HERE / "load.py"), str(port), "rpc", str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as load:
        assert load.stdout is not None
        assert load.stdout.readline() == "begin\n"
        before = {name: spent(pid) for name, pid in pids.items()}
        told = json.loads(load.stdout.readline())
        used = {name: (spent(pid) - before[name]) / told["done"] * 1e6 for name, pid in pids.items()}
    meter.tell(
        cpu_us=sum(used.values()), per_second=told["per_second"], **{f"{name}_us": us for name, us in used.items()}
    )


def main(case: str, scheme: str, seconds: float) -> None:
    if scheme == "nats" and not NATS_SERVER.exists():
        meter.tell(skipped="there is no wheel of nats-server for this machine")
        return
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with contextlib.ExitStack() as stack:
        url, pids = f"unix:{stack.enter_context(tempfile.TemporaryDirectory())}/run", dict[str, int]()
        if scheme == "nats":
            url, pids["broker"] = stack.enter_context(broker())
        port = free_port()  # after the broker has taken its own
        service, gateway = commands(case, port)
        pids["service"] = stack.enter_context(started(service(url)))
        pids["gateway"] = stack.enter_context(started(gateway(url)))
        wait_called(port)
        measure(port, pids, seconds)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
