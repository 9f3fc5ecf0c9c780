"""`hanse run`: an app in one process."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import click
import msgspec

from hanse.cli.complete import targets
from hanse.cli.net import is_loopback
from hanse.cli.options import Chosen, common, configured, working_folder
from hanse.cli.output import Output
from hanse.cli.source import from_source, load_app_from
from hanse.cli.target import load_app, load_composed, wanted_target
from hanse.gateway.asgi import Application
from hanse.gateway.hosts import OWN
from hanse.kernel import logs, telemetry
from hanse.kernel.faults import Misconfigured
from hanse.kernel.settings import Settings
from hanse.node.app import App, has_gateway

GARBAGE_OBJECTS = 10_000
"""New objects after which the collector looks for garbage. A moment's requests hold more than Python's usual 700, so
that it would look at the same ones again and again: an eighth of the time of a busy server."""

LIFE = "hanse.life"
"""The logger that tells of start, drain and stop."""


@click.command()
@click.argument("target", required=False, shell_complete=targets)
@configured(
    *("port", "host", "store", "services", "transport", "discovery", "events", "log-level", "log-format", "access-log")
)
@from_source
@common
def run(*, target: str | None, source: Path | None, chosen: Chosen, output: Output) -> None:
    """Run an app, or the services of a file, in one process.

    TARGET is a file or a module, and the name of an App or Service in it where there are several: greet.py,
    shop.main, shop.main:app. Without one, it is what hanse.toml says under `app`.

    Over a transport that reaches other processes, a Service is run as its app's part, as with --services.

    With --source its code comes from another folder, such as that of another release; settings, stores and sockets are
    found from the current one all the same.
    """
    settings, _ = chosen.read()
    wanted = wanted_target(target, settings, "run")
    gc.set_threshold(GARBAGE_OBJECTS)  # before the app is loaded, which may know better
    app, settings = _meant(wanted, settings, source)
    # What a file says of the gateway's port is not about those who do not host it.
    if not has_gateway(settings.node.services) and ("gateway", "port") not in {flag.path for flag in chosen.flags}:
        settings = anywhere(settings)
    sys.exit(run_app(app, settings, output))


def _meant(wanted: str, settings: Settings, source: Path | None) -> tuple[App, Settings]:
    """What is run. One service of a fleet needs the others, and the app whose name they find each other by."""
    if source is not None:
        return load_app_from(wanted, source), settings
    alone = not settings.node.services and settings.node.transport.partition(":")[0] != "memory"
    if alone and (composed := load_composed(wanted, working_folder())) is not None:
        app, name = composed
        return app, msgspec.structs.replace(settings, node=msgspec.structs.replace(settings.node, services=(name,)))
    return load_app(wanted, working_folder()), settings


def run_app(
    app: App,
    settings: Settings,
    output: Output,
    *,
    listener: socket.socket | None = None,
    around: Callable[[Application], Application] = lambda app: app,
) -> int:
    """Serve an app until a signal comes.

    Args:
        app: What is served.
        settings: How.
        output: Where to say what happens.
        listener: See `hanse.gateway.serve.serve`.
        around: The same.

    Returns:
        The exit code: 0 where it was drained.

    Raises:
        Misconfigured: Settings do not fit the app.
        CouldNotStart: It does not start, such as where the port is taken.
    """
    from hanse.gateway.serve import loop_factory, serve

    all_exposed = app.gateway is None and has_gateway(settings.node.services)
    if all_exposed:
        _check_exposure(settings)
        settings = for_this_machine(settings)
    settings = with_access(settings, wanted=sys.stderr.isatty() and not output.quiet)
    if output.quiet:
        logging.getLogger(LIFE).setLevel(logging.WARNING)
    instance = settings.node.instance or f"{socket.gethostname()}-{os.getpid()}"
    labels = logs.Labels(app.name, settings.node.release, instance)
    logs.set_up(settings.log, labels, sys.stderr, colour=output.colour and sys.stderr.isatty())
    stop = telemetry.start(
        os.environ,
        {"service.name": app.name, "service.version": labels.release, "service.instance.id": labels.instance},
    )
    if all_exposed:
        names = ", ".join(part.name for part in app.parts)
        output.note(f"hanse: this app has no gateway, so all of {names} is exposed, to this machine only")
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            announce = _announcer(app, output, whole=has_gateway(settings.node.services))
            return runner.run(serve(app, settings, announce=announce, listener=listener, around=around))
    finally:
        stop()


def anywhere(settings: Settings) -> Settings:
    """The settings, with any free port to answer at: many nodes of one machine answer nobody but those who look on.

    Example:
        >>> anywhere(Settings()).gateway.port
        0
    """
    return msgspec.structs.replace(settings, gateway=msgspec.structs.replace(settings.gateway, port=0))


def with_access(settings: Settings, *, wanted: bool) -> Settings:
    """The settings, with a line for each request where that is wanted and nobody has said otherwise.

    Example:
        >>> with_access(Settings(), wanted=True).log.access
        'on'
    """
    if settings.log.access != "auto":
        return settings
    log = msgspec.structs.replace(settings.log, access="on" if wanted else "off")
    return msgspec.structs.replace(settings, log=log)


def for_this_machine(settings: Settings) -> Settings:
    """The settings, with no name but this machine's own answered under, unless they list some.

    A page that somebody's browser shows could else be led here by a name of its own, and read and do everything.

    Example:
        >>> for_this_machine(Settings()).gateway.hosts
        ('localhost',)
    """
    gateway = settings.gateway
    return msgspec.structs.replace(settings, gateway=msgspec.structs.replace(gateway, hosts=gateway.hosts or OWN))


def _check_exposure(settings: Settings) -> None:
    """What nobody chose to expose is not to be seen from other machines."""
    host = settings.gateway.host
    if not is_loopback(host):
        raise Misconfigured(
            f"expected a gateway.host on this machine, such as 127.0.0.1, got {host!r}: without a gateway all is "
            f"exposed; say what others may see with `App(..., gateway=Gateway().rpc(...))`"
        )


def _announcer(app: App, output: Output, *, whole: bool) -> Callable[[str], None]:
    docs = _docs_of(app) if whole else ""

    def announce(url: str) -> None:
        click.echo(f"Hanse {app.name}: {url}")
        sys.stdout.flush()
        if sys.stdout.isatty():
            output.note(f"  docs: {url}{docs}   stop: Ctrl-C" if docs else "  stop: Ctrl-C")

    return announce


def _docs_of(app: App) -> str:
    """The path of the page that shows what is exposed; empty where nobody knows of one."""
    from hanse.gateway.gateway import Gateway

    return app.gateway.docs_path if isinstance(app.gateway, Gateway) else "" if app.gateway else "/docs"
