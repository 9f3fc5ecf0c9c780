"""`hanse shell` as its users meet it: scripts, standard input, and a prompt on a terminal."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import termios
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Shop = Any
"""See conftest.py."""
ANSWER_BYTES_MAX = 100_000


def test_what_cannot_be_talked_to_is_refused(shop: Shop) -> None:
    for arguments, code, said in (
        (["shop.py", "--url", shop.url], 2, "expected a target or --url"),
        (["--store", "memory:", "--url", shop.url], 2, "expected --store with an app"),
        (["nothing.py"], 78, "there is no file nothing.py"),
        (["--url", "http://127.0.0.1:9"], 1, "expected a running system"),
        (["shop.py", "--store", "what:"], 78, "no store for 'what:'"),
    ):
        refused = shop.hanse("shell", *arguments, "-c", "1")
        assert (refused.returncode, refused.stdout) == (code, "")
        assert said in refused.stderr
        assert "Traceback" not in refused.stderr


def test_a_script_ends_at_its_first_error_and_with_its_code(shop: Shop) -> None:
    for script, code, said in (
        ('await orders.place("none")\nprint(1)', 1, "OutOfStock: no none left"),
        ('await call("orders.plac")', 2, "did you mean orders.place?"),
        ("1 / 0\nprint(1)", 1, 'File "<shell>", line 1'),
        ("(", 1, "SyntaxError"),
        ("exit(7)", 7, ""),
        ("import sys\nawait asyncio.sleep(0)\nasync def f(): sys.exit(8)\nawait f()", 8, ""),
        ('await emit("nothing")', 2, "there are order_placed, private"),
    ):
        ended = shop.hanse("shell", "shop.py", "-c", script)
        assert (ended.returncode, ended.stdout) == (code, ""), ended.stderr
        assert said in ended.stderr
        assert "shell_console" not in ended.stderr


def test_an_app_is_there_by_its_names_and_keeps_nothing(shop: Shop) -> None:
    script = """
    order = await orders.place("tea", count=2)
    (order.sku, (await rows.orders.get(order.id)).count)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(rows.orders.count())
    task.result()
    len(await emit(OrderPlaced(order_id="1")))
    len(await emit("order_placed", order_id="1"))
    await call("orders.numbers", upto=3)
    [number async for number in orders.numbers(2)]
    x = 1
    """.replace("\n    ", "\n")
    ended = shop.hanse("shell", "shop.py", given=script)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == ["('tea', 2)", "1", "36", "36", "[0, 1, 2]", "[0, 1]"]
    assert shop.hanse("shell", "shop.py", "-c", "await rows.orders.count()").stdout == "0\n"


def test_an_app_keeps_rows_where_it_is_told(shop: Shop) -> None:
    keep = ["shop.py", "--store", "sqlite:///kept.db"]
    assert shop.hanse("shell", *keep, "-c", 'await orders.place("tea")').returncode == 0
    assert shop.hanse("shell", *keep, "-c", "await rows.orders.count()").stdout == "1\n"


def test_a_running_system_is_there_by_the_same_names(shop: Shop) -> None:
    script = """
    order = await orders.place("tea", count=2)
    order["sku"]
    row = await rows.orders.create(sku="cup")
    (await rows.orders.patch(row.id, status="paid")).status
    (await rows.orders.get(row.id)).sku
    [one.sku for one in (await rows.orders.find(status="paid")).items]
    await rows.orders.delete(row.id)
    await rows.orders.count()
    [number async for number in orders.numbers(2)]
    await call("orders.numbers", upto=3)
    await call("orders.tags")
    orders, rows.orders
    (await emit("order_placed", order_id="1", id="7"))["type"]
    """.replace("\n    ", "\n")
    ended = shop.hanse("shell", given=script)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == [
        "'tea'",
        "'paid'",
        "'cup'",
        "['cup']",
        "1",
        "[0, 1]",
        "[0, 1, 2]",
        "{}",
        "(<client of orders>, <collection orders>)",
        "'shop.order_placed.v1'",
    ]


def test_a_running_system_tells_its_problems(shop: Shop) -> None:
    for script, said in (
        ('await orders.place("none")', "no none left"),
        ('await orders.place("tea", count="many")', "/count: "),
        ("await orders.place(1, 2, 3)", "orders.place takes sku, count"),
        ('await orders.place("tea", sku="cup")', "got sku twice"),
        ('await rows.orders.get("x")', "there is no order 'x'"),
        ('await call("orders.x")', "did you mean"),
        ('[one async for one in orders.numbers("many")]', "/upto: "),
        ('await emit("private")', "it takes order_placed"),
        ('await emit("order_placed", order_id=1)', "/order_id"),
    ):
        ended = shop.hanse("shell", "-c", script)
        assert ended.returncode != 0
        assert said in ended.stderr, script


def test_a_bench_tells_calls_and_percentiles(shop: Shop) -> None:
    ended = shop.hanse(
        "shell", "shop.py", "-c", "await bench(rows.orders.count, n=20)\nawait bench(orders.numbers, 1, n=1)"
    )
    assert re.match(r"20 calls, [\d,]+/s, CPU here [\d.]+ \w+ each; p50 .*, p90 .*, p99 .*, max ", ended.stdout)
    assert "between 1 and" in shop.hanse("shell", "shop.py", "-c", "await bench(print, n=0)").stderr


class Prompt:
    """A shell on a terminal."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self._seen = b""

    def until(self, text: str) -> str:
        """What is on the terminal up to a text."""
        wanted = text.encode()
        while wanted not in self._seen and len(self._seen) < ANSWER_BYTES_MAX:
            self._seen += os.read(self._terminal, 1000)
        shown, _, self._seen = self._seen.partition(wanted)
        return shown.decode()

    def types(self, text: str) -> None:
        _ = os.write(self._terminal, text.encode())


@contextmanager
def prompt(folder: Path, *arguments: str) -> Generator[tuple[Prompt, subprocess.Popen[bytes]]]:
    ours, theirs = pty.openpty()
    settings = termios.tcgetattr(theirs)
    settings[3] &= ~termios.ECHO
    termios.tcsetattr(theirs, termios.TCSANOW, settings)
    environment = {**os.environ, "XDG_STATE_HOME": str(folder), "TERM": "dumb"}
    with subprocess.Popen(
        [sys.executable, "-m", "hanse", "shell", *arguments],
        cwd=folder,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        try:
            yield Prompt(ours), process
        finally:
            process.kill()
            os.close(ours)


def test_a_prompt_awaits_completes_is_interrupted_and_remembers(shop: Shop) -> None:
    with prompt(shop.folder, "shop.py") as (shell, process):
        assert "Clients: orders   rows: orders" in shell.until(">>> ")
        shell.types('(await orders.place("tea")).sku\n')
        assert "'tea'" in shell.until(">>> ")
        shell.types("orders.numb\t2)\n")
        assert "async_generator" in shell.until(">>> ")
        shell.types('await orders.place("none")\n')
        assert "OutOfStock: no none left" in shell.until(">>> ")
        shell.types("print('sleeping'); await asyncio.sleep(1000)\n")
        _ = shell.until("sleeping\r\n")
        process.send_signal(2)
        assert "KeyboardInterrupt" in shell.until(">>> ")
        shell.types("1 + 1\n")
        assert "2" in shell.until(">>> ")
        shell.types("\x04")
        assert process.wait(20) == 0
    assert "1 + 1" in (shop.folder / "hanse" / "shell_history").read_text()
