"""`hanse shell`: an app, or a running system, at the prompt of Python."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import click
import msgspec

from hanse.cli.options import common, working_folder
from hanse.cli.output import Output
from hanse.cli.remote import Remote, remote
from hanse.cli.running import document_of
from hanse.cli.shell_bench import bench
from hanse.cli.shell_console import Console, Interpreter, inside, wants_prompt
from hanse.cli.shell_names import Rows, names_of
from hanse.cli.shell_remote import names_at
from hanse.cli.target import load_app
from hanse.kernel.settings import Settings
from hanse.node.node import Node

HISTORY_LINES_MAX = 1000
SCRIPT_CHARACTERS_MAX = 16 * 1024 * 1024
"""Of a script on standard input."""


@click.command()
@click.argument("target", required=False)
@click.option("-c", "script", default=None, metavar="CODE", help="Run this and end.")
@click.option("--store", default="", metavar="URL", help="Store of the app that is started; else in memory.")
@remote
@common
def shell(*, target: str | None, script: str | None, store: str, remote: Remote, output: Output) -> None:
    """Talk in Python to TARGET (a file or module), started in this process, or to a running system by its URL.

    Contracts are there by their names, collections under `rows`, and `call`, `emit` and `bench`; `await` works at the
    prompt. Without a terminal, standard input is a script. An app that is started keeps its rows in memory, unless
    --store says otherwise.
    """
    if target and remote.said:
        raise click.UsageError("expected a target or --url, got both")
    settings, _ = remote.chosen.read()
    wanted = target or ("" if remote.said or os.environ.get("HANSE_URL") else settings.app)
    if store and not wanted:
        raise click.UsageError("expected --store with an app that is started here, not with a running system")
    entered = _started(wanted, stored(settings, store)) if wanted else _reached(remote)
    with inside(entered) as background:
        interpreter = Interpreter({**background.value, "bench": bench, "asyncio": asyncio}, background.run)
        sys.exit(_run(interpreter, script, output))


def stored(settings: Settings, store: str) -> Settings:
    """The settings with all rows in one kind of store: in memory where none is said."""
    node = msgspec.structs.replace(settings.node, store=store or "memory:", services=())
    services = {name: msgspec.structs.replace(one, store="") for name, one in settings.services.items()}
    return msgspec.structs.replace(settings, node=node, services=services)


@asynccontextmanager
async def _started(target: str, settings: Settings) -> AsyncGenerator[Mapping[str, object]]:
    app = load_app(target, working_folder())
    async with Node(app, settings) as node:
        yield names_of(app, node)


@asynccontextmanager
async def _reached(remote: Remote) -> AsyncGenerator[Mapping[str, object]]:
    yield names_at(remote, await asyncio.to_thread(document_of, remote))


def _run(interpreter: Interpreter, script: str | None, output: Output) -> int:
    if script is not None:
        return interpreter.script(script)
    if not wants_prompt():
        return interpreter.script(sys.stdin.read(SCRIPT_CHARACTERS_MAX))
    file = history_file(os.environ)
    _complete(interpreter.names, file)
    console = Console(interpreter)
    try:
        console.interact("" if output.quiet else banner(interpreter.names), exitmsg="")
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else 0
    finally:
        _remember(file)
    return 0


def banner(names: Mapping[str, object]) -> str:
    """What is said before the first prompt.

    Example:
        >>> print(banner({"orders": "<client of orders>", "rows": Rows(orders=1), "call": None}))
        Clients: orders   rows: orders   and: call, emit, bench   leave: Ctrl-D
        For example: await orders.operation(...), await rows.orders.find()
    """
    clients = [name for name, value in names.items() if "client of" in repr(value)]
    rows = names.get("rows")
    collections = list(vars(rows)) if isinstance(rows, Rows) else []
    first = clients[0] if clients else "orders"
    find = f", await rows.{collections[0]}.find()" if collections else ""
    return (
        f"Clients: {', '.join(clients) or 'none'}   rows: {', '.join(collections) or 'none'}   "
        f"and: call, emit, bench   leave: Ctrl-D\nFor example: await {first}.operation(...){find}"
    )


def history_file(environ: Mapping[str, str]) -> Path:
    """Where lines are remembered, as the XDG Base Directory specification has it.

    Example:
        >>> history_file({"XDG_STATE_HOME": "/state"}).as_posix()
        '/state/hanse/shell_history'
    """
    state = environ.get("XDG_STATE_HOME", "")
    folder = Path(state) if state else Path(environ.get("HOME", "")) / ".local" / "state"
    return folder / "hanse" / "shell_history"


def _complete(names: dict[str, object], file: Path) -> None:
    """Completion by Tab and lines of earlier times, where this Python has readline."""
    with suppress(ImportError):
        import readline
        import rlcompleter

        readline.set_completer(rlcompleter.Completer(names).complete)
        libedit = "libedit" in (readline.__doc__ or "")
        readline.parse_and_bind("bind ^I rl_complete" if libedit else "tab: complete")
        with suppress(OSError):  # there is none yet, or it cannot be read: then there is nothing to remember
            readline.read_history_file(file)


def _remember(file: Path) -> None:
    """Keep the lines; a home that cannot be written is no reason to fail."""
    with suppress(ImportError, OSError):
        import readline

        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        readline.set_history_length(HISTORY_LINES_MAX)
        readline.write_history_file(file)
        file.chmod(0o600)
