"""Reads what a project wants to run: its settings, the parts of its app, and what all its processes are given."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec.structs import replace

from hanse.control.desired import Desired, Parts, Runs, desired_of
from hanse.control.procfile import FILE as PROCFILE, formation_of
from hanse.control.promises import Promised
from hanse.control.resources import with_resources
from hanse.deploy.home import NAME, Home
from hanse.deploy.images import prepared
from hanse.deploy.own_network import why_not
from hanse.deploy.procfile import is_procfile, procfile_layer
from hanse.deploy.resources.prepare import prepare
from hanse.kernel.faults import CouldNotStart, Misconfigured
from hanse.kernel.host import Host
from hanse.kernel.settings import ServiceSettings, Settings
from hanse.kernel.settings_files import FILE, load, parse_dotenv
from hanse.kernel.settings_resources import with_url

LOAD_SECONDS = 60.0
"""That an app may take to be imported."""

HANSE = (sys.executable, "-m", "hanse")
PARTS = (sys.executable, "-m", "hanse.cli.parts")
PROMISES = (sys.executable, "-m", "hanse.cli.promises")
"""What tells of an app: processes of their own, as code of anybody's may do anything."""

OWN = ("PORT", "HOST", "HANSE_INSTANCE", "HANSE_RELEASE", "HANSE_CONFIG", "HANSE_ENV", "HANSE_KEEPER", "HANSE_PROCESS")
"""Variables that are told to each process anew, or to none."""


class Project(msgspec.Struct, frozen=True):
    """What `hanse up` was asked to run.

    Attributes:
        folder: Where its settings are.
        file: Name of their file there, or of a Procfile.
        environment: Whose table applies; empty for what the file and the variables say.
        only: The services that were named; all where there is none.
        formation: How many of each are to run, such as `web=2,worker=1`; empty for what the settings say.
    """

    folder: Path
    file: str = FILE
    environment: str = ""
    only: tuple[str, ...] = ()
    formation: str = ""

    @property
    def home(self) -> Home:
        """The folder of the system that runs."""
        return Home(self.folder)


class Plan(msgspec.Struct, frozen=True):
    """What a project wants, read once.

    Attributes:
        settings: As they are now.
        desired: What should run, by name, in the order of starts.
        variables: What all processes have in their environment.
        parts: What its app consists of.
        transport: URL of what carries the messages of that.
        made: What had to be made for it, in words.
    """

    settings: Settings
    desired: dict[str, Desired]
    variables: dict[str, str]
    parts: Parts = Parts("")
    transport: str = "memory:"
    made: tuple[str, ...] = ()


def settings_of(project: Project, environ: Mapping[str, str]) -> Settings:
    """The settings of a project; those of its Procfile, where that is meant, or where nothing else says what to run.

    `PORT` is that of the edge, where nothing else says it.

    Raises:
        Misconfigured: Something cannot be used.
    """
    named = is_procfile(project.file)
    given = {**environ, "HANSE_CONFIG": project.file} if project.file != FILE and not named else environ
    settings, sources = load(project.folder, given, environment=project.environment)
    procfile = project.folder / (project.file if named else PROCFILE)
    if named or (procfile.is_file() and not is_something(settings)):
        # What the settings say of the same service is meant.
        layer = [one for one in procfile_layer(procfile) if ".".join(one.path) not in sources]
        settings, _ = load(project.folder, given, flags=layer, environment=project.environment)
    if sources.get("gateway.port") != "PORT" or "edge.port" in sources:
        return settings
    # Whoever runs a program that is the one door to others tells it the port of that.
    return replace(settings, edge=replace(settings.edge, port=settings.gateway.port))


def is_something(settings: Settings) -> bool:
    """Whether settings say what to run."""
    return bool(settings.app or settings.resources) or any(
        one.command or one.image for one in settings.services.values()
    )


async def read(project: Project, environ: Mapping[str, str], host: Host, running: Collection[str] = ()) -> Plan:
    """Read what a project wants to run, and make the servers that it needs ready for that.

    Args:
        project: What it is.
        environ: Variables of this process.
        host: Whose chance gives ports and passwords to servers.
        running: Names of servers that run now.

    Raises:
        Misconfigured: Something cannot be used.
        CouldNotStart: Its app cannot be imported, or a server that it needs is missing.
    """
    settings = settings_of(project, environ)
    parts = await parts_of(settings.app, project.folder) if settings.app else Parts("")
    settings = _with_formation(settings, parts, project.formation)
    ready = await asyncio.to_thread(prepare, settings.resources, project.folder, host, running=running)
    settings = with_resources(settings, parts, {one.name: one.url for one in ready})
    transport = settings.node.transport
    if transport == "memory:":
        # The processes of one machine find each other in a folder.
        transport = f"unix:{NAME}/run/nodes"
    runs = Runs(HANSE, transport, str(project.folder))
    variables = variables_of(project, environ)
    if settings.log.format == "auto":
        # People read along; who ships logs says which format they want.
        variables["HANSE_LOG_FORMAT"] = "text"
    desired = desired_of(settings, parts, runs, [one.desired for one in ready])
    await _check_networks(desired)
    desired = _with_dotenv(desired, project)
    images = await prepared(desired)
    made = (*(f"{one.name}: {one.told}" for one in ready if one.told), *images)
    return Plan(settings, desired, variables, parts, with_url(transport, settings.resources), made)


async def _check_networks(desired: Mapping[str, Desired]) -> None:
    """See that those who want a network of their own can have it, before anything runs."""
    wants = next((one.service for one in desired.values() if one.inner and one.container is None), "")
    if wants and (why := await why_not()):
        raise CouldNotStart(
            f"services.{wants}.own_network: {why}; without it, leave `port` away and use {{port}} or $PORT in "
            f"its command"
        )


def _with_formation(settings: Settings, parts: Parts, formation: str) -> Settings:
    if not formation:
        return settings
    names = dict.fromkeys((*(part.name for part in parts.services), *settings.services))
    services = {
        name: replace(settings.services.get(name, ServiceSettings()), instances=count)
        for name, count in formation_of(formation, names).items()
    }
    return replace(settings, services={**settings.services, **services})


def variables_of(project: Project, environ: Mapping[str, str]) -> dict[str, str]:
    """What all processes of a project have in their environment: that of `hanse up`, over what `.env` says."""
    found = {name: value for name, value in {**_dotenv(project), **environ}.items() if name not in OWN}
    if project.file != FILE and not is_procfile(project.file):
        found["HANSE_CONFIG"] = project.file
    if environment := project.environment or environ.get("HANSE_ENV", ""):
        found["HANSE_ENV"] = environment
    return found


def _dotenv(project: Project) -> dict[str, str]:
    with suppress(OSError, UnicodeDecodeError):
        return parse_dotenv((project.folder / ".env").read_text(encoding="utf-8"), [])
    return {}


def _with_dotenv(desired: dict[str, Desired], project: Project) -> dict[str, Desired]:
    """Containers are handed what `.env` says, too; of the rest of the machine's variables they are to know nothing."""
    names = tuple(name for name in _dotenv(project) if name not in OWN)
    return {
        name: one
        if one.container is None
        else replace(one, container=replace(one.container, handed=(*one.container.handed, *names)))
        for name, one in desired.items()
    }


async def parts_of(app: str, folder: Path) -> Parts:
    """What an app consists of.

    Raises:
        Misconfigured: There is no such app.
        CouldNotStart: It cannot be imported, in time.
    """
    return msgspec.json.decode(await told_by((*PARTS, app), app, folder), type=Parts)


async def promises_of(app: str, folder: Path, source: str = "") -> dict[str, Promised]:
    """What the services of an app promise and count on.

    Args:
        app: As the settings name it.
        folder: Where they are.
        source: Where its code is; empty for there, too.

    Raises:
        Misconfigured: There is no such app.
        CouldNotStart: It cannot be imported, in time.
    """
    words = (*PROMISES, app, *((source,) if source else ()))
    return msgspec.json.decode(await told_by(words, app, folder), type=dict[str, Promised])


async def told_by(words: tuple[str, ...], app: str, folder: Path) -> bytes:
    """The last line that a process prints, which imports an app.

    Args:
        words: Its command.
        app: What it imports.
        folder: Where it is started.

    Raises:
        Misconfigured: There is no such app.
        CouldNotStart: It cannot be imported, in time.
    """
    process = await asyncio.create_subprocess_exec(
        *words,
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(LOAD_SECONDS):
            told, wrong = await process.communicate()
    except TimeoutError:
        raise CouldNotStart(f"the app {app!r} was not imported in {LOAD_SECONDS:g} s") from None
    finally:
        # Whoever waits no longer leaves nobody behind.
        if process.returncode is None:
            process.kill()
            _ = await process.wait()
    if process.returncode:
        why = wrong.decode(errors="replace").strip() or f"the app {app!r} could not be imported"
        raise (Misconfigured if process.returncode == Misconfigured.exit_code else CouldNotStart)(why)
    # What the app prints while it is imported comes before.
    return told.splitlines()[-1]


def stamps_of(project: Project) -> tuple[tuple[str, int, int], ...]:
    """What changes whenever somebody writes the settings."""
    return tuple(_stamps(project))


def _stamps(project: Project) -> Iterator[tuple[str, int, int]]:
    for name in dict.fromkeys((project.file, FILE, PROCFILE, ".env")):
        with suppress(OSError):
            found = (project.folder / name).stat()
            yield name, found.st_mtime_ns, found.st_size
