"""`hanse up`: a whole system on one machine, services of the app and foreign ones."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import click

from hanse.cli.options import common
from hanse.cli.output import Output
from hanse.cli.project import asked_for
from hanse.cli.system import rows_of, show
from hanse.control.procfile import FILE as PROCFILE
from hanse.deploy.control_client import POLL_SECONDS, asked
from hanse.deploy.control_words import Ask, given_up, is_settled
from hanse.deploy.home import Home
from hanse.deploy.procfile import is_procfile, write_settings
from hanse.deploy.project import Project, is_something, settings_of
from hanse.kernel.faults import CouldNotStart, Unavailable
from hanse.kernel.settings_files import FILE

START_SECONDS = 120.0
"""That `--detach` waits for a system to be ready."""


@click.command()
@asked_for
@click.option("-d", "--detach", is_flag=True, help="Go on in the background, and return when all is ready.")
@click.option("--write", is_flag=True, help="Write the Procfile as hanse.toml, and start nothing.")
@common
def up(*, project: Project, detach: bool, write: bool, output: Output) -> None:
    """Run a whole system on this machine: the services of the app, and all others that the settings have a command for.

    With SERVICE, only those and whom they need. Each is started when those it needs are ready, gets requests when it
    is healthy, and is started anew when it ends. The first Ctrl-C ends all in order, the second kills.
    """
    if write:
        _write(project, output)
        return
    settings = settings_of(project, os.environ)
    if not is_something(settings):
        raise click.UsageError(
            f'expected something to run in {project.folder / project.file}: `app = "shop.py"`, or a service with a '
            f'command: [services.web] command = "...", or a Procfile beside it'
        )
    project.home.make()
    if detach:
        sys.exit(_detached(project, output))
    sys.exit(_kept(project, output))


def _write(project: Project, output: Output) -> None:
    procfile = project.folder / (project.file if is_procfile(project.file) else PROCFILE)
    settings = project.folder / FILE
    write_settings(procfile, settings)
    output.note(f"wrote {settings}")


def _kept(project: Project, output: Output) -> int:
    from hanse.deploy.guard import guarded
    from hanse.deploy.keeper import Keeper
    from hanse.deploy.supervising import Wanted, command_of
    from hanse.kernel.host import Host

    lock = project.home.lock()
    try:
        listener = project.home.listen()
        terminal = sys.stdout.isatty()
        live = terminal and not output.quiet and os.environ.get("TERM") != "dumb"
        wanted = Wanted(project, output.quiet, output.colour and terminal, live)
        return guarded(lambda: Keeper(command_of(wanted), listener, Host.system()).run())
    finally:
        os.close(lock)


def _detached(project: Project, output: Output) -> int:
    """Start the same in the background, and wait until it is ready or says why not."""
    log = project.home.folder / "up.log"
    words = [word for word in sys.argv[1:] if word not in ("-d", "--detach")]
    with log.open("wb") as told:
        process = subprocess.Popen(  # noqa: S603 - this very command
            [sys.executable, "-m", "hanse", *words, "--quiet"],
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=told,
            start_new_session=True,
        )
    never = threading.Event()
    for _ in range(int(START_SECONDS / POLL_SECONDS)):
        if process.poll() is not None:
            click.echo(log.read_text(errors="replace"), err=True, nl=False)
            return process.returncode
        if (settled := _settled(project.home, process.pid, output)) is not None:
            return settled
        _ = never.wait(POLL_SECONDS)
    raise CouldNotStart(f"not all was ready in {START_SECONDS:g} s; see `hanse ps` and {log}")


def _settled(home: Home, guard: int, output: Output) -> int | None:
    """The exit code, once it is known what becomes of a system; None while it is not."""
    if not _is_run_by(home, guard):
        return None
    try:
        status = asked(home, Ask("status"))
    except Unavailable:
        return None
    if not (lost := given_up(status)) and not is_settled(status):
        return None
    show(rows_of(status), status, output)
    return 1 if lost else 0


def _is_run_by(home: Home, guard: int) -> bool:
    """Whether the system in a folder is the one that was just started."""
    lock = home.run / "lock"
    return lock.exists() and lock.read_text().strip() == str(guard)
