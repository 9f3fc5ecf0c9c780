"""The same ten steps with Temporal's development server: `sagas_temporal.py HOW AT_ONCE SECONDS`.

It keeps them in a file of SQLite. HOW is `activity`, or `local` for local activities, which are kept together at the
end of each turn of a workflow.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import durable
import meter
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

STEPS = 10
PORT = 20_960
READY_TRIES_MAX = 300
LIMIT = timedelta(seconds=60)


@activity.defn
async def one(number: int) -> int:
    return number


@workflow.defn
class Book:
    @workflow.run
    async def run(self, how: str) -> int:
        do = workflow.execute_activity if how == "activity" else workflow.execute_local_activity
        total = 0
        for number in range(STEPS):
            total += await do(one, number, start_to_close_timeout=LIMIT)
        return total


@contextlib.contextmanager
def server() -> Iterator[int]:
    program = Path(sys.prefix) / "bin" / "temporal"
    if not program.exists():
        meter.tell(skipped="there is no temporal for it here")
        sys.exit()
    with tempfile.TemporaryDirectory() as folder:
        ports = ["--port", str(PORT), "--http-port", str(PORT + 1), "--metrics-port", str(PORT + 2)]
        kept = ["--db-filename", f"{folder}/temporal.db", "--headless", "--log-level", "never"]
        command = [str(program), "server", "start-dev", "--ip", "127.0.0.1", *ports, *kept]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                yield process.pid
            finally:
                process.kill()


async def connected() -> Client:
    for tries in itertools.count(1):
        try:
            client = await Client.connect(f"127.0.0.1:{PORT}")
            # It takes connections before it can begin anything.
            await client.count_workflows()
        except Exception:
            if tries == READY_TRIES_MAX:
                raise
            await asyncio.sleep(0.1)
        else:
            return client
    raise AssertionError


async def main(how: str, at_once: int, seconds: float, pid: int) -> None:
    client, numbers = await connected(), itertools.count()

    async def book() -> None:
        await client.execute_workflow(Book.run, how, id=f"book-{next(numbers)}", task_queue="trips")

    worker = Worker(
        client, task_queue="trips", workflows=[Book], activities=[one], workflow_runner=UnsandboxedWorkflowRunner()
    )
    async with worker:
        await durable.measure(book, seconds, at_once, each=STEPS, server=pid)


if __name__ == "__main__":
    logging.disable(logging.ERROR)
    with server() as found:
        asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), found))
