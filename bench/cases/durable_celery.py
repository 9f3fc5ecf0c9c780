"""The same with Celery: `durable_celery.py POOL SECONDS`. Tasks wait in Valkey, rows are in PostgreSQL.

A task writes its row and commits, then tells the next, and is acknowledged last, as it is set to be; a crash between
two of these does something twice. Both servers flush what they are told before they answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import durable
import events_redis
import psycopg
from celery import Celery
from shop import PLAIN

WORKERS = 16
"""Threads or processes of the worker: more than there are processors, as they wait for servers most of the time."""

app = Celery("mail", broker=os.environ.get("BENCH_BROKER", ""))
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
    task_default_queue="orders",
)

_local = threading.local()


def _connection() -> psycopg.Connection:
    if getattr(_local, "connection", None) is None:
        _local.connection = psycopg.connect(os.environ["BENCH_ROWS"])
    return _local.connection


@app.task(name="sent")
def sent(number: int) -> None: ...


@app.task(name="write")
def write(order: dict[str, object]) -> None:
    connection = _connection()
    connection.execute("INSERT INTO letters (value) VALUES (%s)", (json.dumps(order),))
    connection.commit()
    sent.apply_async((order["number"],), queue="out")


@contextlib.contextmanager
def worker(pool: str) -> Iterator[int]:
    options = ["--pool", pool, "--concurrency", str(WORKERS), "-Q", "orders", "-l", "CRITICAL"]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    command = [sys.executable, "-m", "celery", "-A", "durable_celery", "worker", "-O", "fair", *options, *quiet]
    folder = Path(__file__).parent
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


async def counting(handled: durable.Handled, rows: psycopg.AsyncConnection) -> None:
    while True:
        await asyncio.sleep(0.05)
        found = await (await rows.execute("SELECT last_value FROM letters_id_seq WHERE is_called")).fetchone()
        handled.done = found[0] if found else 0


async def main(pool: str, seconds: float, url: str, servers: tuple[int, int]) -> None:
    backlog = int(seconds * 900)
    with app.connection_for_write() as connection, connection.channel() as channel:
        producer = app.amqp.Producer(channel)
        for _ in range(backlog):
            write.apply_async((PLAIN,), producer=producer)
    handled = durable.Handled()
    rows = await psycopg.AsyncConnection.connect(url, autocommit=True)
    with worker(pool) as pid:
        looking = asyncio.create_task(counting(handled, rows))
        await handled.measure(seconds, backlog, servers=servers, workers=pid)
        looking.cancel()


if __name__ == "__main__":
    with durable.database("postgresql") as (url, postgresql), events_redis.start("always") as (broker, valkey):
        with psycopg.connect(url, autocommit=True) as made:
            made.execute("CREATE TABLE letters (id bigserial PRIMARY KEY, value jsonb)")
        os.environ.update(BENCH_BROKER=broker, BENCH_ROWS=url)
        app.conf.broker_url = broker
        asyncio.run(main(sys.argv[1], float(sys.argv[2]), url, (postgresql, valkey)))
