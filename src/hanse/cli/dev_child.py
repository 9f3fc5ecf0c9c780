"""A child of `hanse dev`: imports what every app needs, waits for its turn, and serves until it is told to end."""

from __future__ import annotations

import gc
import importlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
import msgspec

from hanse.cli.dev_asgi import REQUESTS, Developing, Failures, ShortLines
from hanse.cli.dev_parent import REPORT_BYTES_MAX
from hanse.cli.dev_settings import STORE, check_address, for_development
from hanse.cli.excerpt import Excerpt, as_text, excerpt_of
from hanse.cli.fresh import read_from_source
from hanse.cli.options import Chosen, working_folder
from hanse.cli.output import Output
from hanse.cli.run import GARBAGE_OBJECTS, LIFE, for_this_machine, run_app
from hanse.cli.target import load_app, wanted_target
from hanse.gateway.asgi import Application
from hanse.kernel.codec import encode_json
from hanse.kernel.faults import CouldNotStart, Fault
from hanse.kernel.logs import TextLines

AHEAD = ("hanse", "hanse.gateway.gateway", "hanse.gateway.serve", "hanse.store.memory", "hanse.store.sqlite")
"""Modules that are imported before the app is."""

UNREADABLE = "what is stored cannot be read by this version"
"""How a store begins to say that its rows do not fit."""

TURN_BYTES_MAX = 32


def be_child(pipes: str, target: str | None, chosen: Chosen, output: Output) -> int:
    """Wait for a turn, and serve.

    Args:
        pipes: File descriptors: what to listen on, where the turn is told, where to tell why it failed.
        target: As typed.
        chosen: What the command line says.
        output: Where to say what happens.

    Returns:
        The exit code.
    """
    listening, turn, report = map(int, pipes.split(","))
    for descriptor in (listening, turn, report):
        os.set_inheritable(descriptor, False)  # noqa: FBT003  # the signature is the system's
    for module in AHEAD:
        _ = importlib.import_module(module)
    gc.set_threshold(GARBAGE_OBJECTS)
    read_from_source(working_folder())
    told = os.read(turn, TURN_BYTES_MAX)
    if not told:
        return 0
    threading.Thread(target=_follow, args=(turn,), name="hanse-follow", daemon=True).start()
    try:
        return _serve(int(told), socket.socket(fileno=listening), target, chosen, output)
    except Exception as error:  # noqa: BLE001 - whatever it is, the one who wrote it wants to see it
        found = with_hint(excerpt_of(error), working_folder())
        click.echo(as_text(found, colour=output.colour), err=True, color=output.colour)
        _ = os.write(report, _report(found))
        return error.exit_code if isinstance(error, Fault) else CouldNotStart.exit_code


def with_hint(found: Excerpt, folder: Path) -> Excerpt:
    """An excerpt, with what to do where rows that `hanse dev` has kept do not fit the code any more."""
    if not found.text.startswith(UNREADABLE) or not (folder / STORE).is_dir():
        return found
    return msgspec.structs.replace(found, text=f"{found.text}\n`hanse dev --fresh` begins without them")


def _serve(generation: int, listener: socket.socket, target: str | None, chosen: Chosen, output: Output) -> int:
    settings = for_this_machine(for_development(*chosen.read()))
    check_address(settings)
    app = load_app(wanted_target(target, settings, "dev"), working_folder())
    failures = Failures()
    around: Callable[[Application], Application] = partial(_around, generation, failures, output)
    listener.setblocking(False)  # noqa: FBT003 - its only argument
    return run_app(app, settings, output, listener=listener, around=around)


def _around(generation: int, failures: Failures, output: Output, app: Application) -> Application:
    root = logging.getLogger()
    for handler in root.handlers:
        if isinstance(handler.formatter, TextLines):
            handler.setFormatter(ShortLines(colour=output.colour))
    root.addHandler(failures)
    # It starts with every change, and says so in its own way.
    logging.getLogger(LIFE).setLevel(logging.WARNING)
    if output.quiet:
        REQUESTS.setLevel(logging.WARNING)
    return Developing(app, generation, failures, colour=output.colour)


def _report(found: Excerpt) -> bytes:
    """The excerpt as the parent reads it, with fewer places where it is long."""
    raw = encode_json(found)
    return raw if len(raw) <= REPORT_BYTES_MAX else encode_json(Excerpt(found.text, found.spots[-1:]))


def _follow(turn: int) -> None:
    """End as by SIGTERM when the parent ends, however it does."""
    _ = os.read(turn, 1)
    signal.raise_signal(signal.SIGTERM)
