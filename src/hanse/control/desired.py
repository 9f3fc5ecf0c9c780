"""What should run, as one value read from the settings: services of the app and foreign ones alike, in their order.

Nothing here starts anything. Who wants more to run than the settings say, such as a server that services need or a
second release, adds a `Desired` of its own.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import signal
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from typing import Literal

import msgspec

from hanse.control.edge_table import Table
from hanse.control.images import problem_of
from hanse.kernel.faults import Misconfigured
from hanse.kernel.settings import HealthSettings, ServiceSettings, Settings
from hanse.kernel.settings_schema import nearest

INSTANCES_MAX = 1_000
"""Of one service; more is a slip of the finger."""

DIGESTS_MAX = 4_096
"""That are kept: the same are asked for at every step."""

GATEWAY = "gateway"
"""The service of the app that answers the outside."""

READY_PATH, FOREIGN_PATH = "/readyz", "/"
"""What is asked where the settings name no path."""

EDGE_ADDRESS = "127.0.0.1"
"""Where the edge asks services from: what it says of clients, and of copies of requests, is believed."""

_SHELL = re.compile(r"[|&;<>()`*?~\n]|\$\(|\$\{\w+[^\w}]|(?:^|\s)#|^\s*[A-Za-z_]\w*=")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_PLACE = re.compile(r"\{(host|port|instance|release)\}")
_VARIABLE = re.compile(r"\$(?:(?P<plain>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*)\})")


Key = tuple[str, str]
"""Of what should run: service and release."""


GRPC_HEALTH = "grpc.health.v1"
"""What is asked of a server of gRPC instead of a path."""


class Probe(msgspec.Struct, frozen=True):
    """How it is seen whether an instance is healthy; see `HealthSettings` for what each number means.

    Attributes:
        path: What is asked over HTTP, `GRPC_HEALTH`, or the URL of a server that is asked in words of its own; empty
            where nothing can be, so that whoever runs is healthy.
        interval, timeout, startup: Seconds.
        rise, fall: Answers in a row.
    """

    path: str = ""
    interval: float = 2.0
    timeout: float = 2.0
    rise: int = 1
    fall: int = 3
    startup: float = 60.0


class Command(msgspec.Struct, frozen=True):
    """What starts one instance, with `{port}` and the like not yet filled in.

    Attributes:
        line: The words of the command.
        shell: Whether its first words are a shell's, which hands no signals on.
        directory: Where it is started.
        environment: Variables beside those that all have.
    """

    line: tuple[str, ...]
    shell: bool = False
    directory: str = ""
    environment: dict[str, str] = {}


class Container(msgspec.Struct, frozen=True):
    """How an instance is run in a container.

    Attributes:
        image: What it is made of: a name and a tag, or a digest.
        engine: What runs it, such as `docker`; empty for whichever of them is there.
        arguments: What that is told beside what it is told of every container.
        handed: Names of the variables that are handed on into it, beside those that tell of the instance.
    """

    image: str
    engine: str = ""
    arguments: tuple[str, ...] = ()
    handed: tuple[str, ...] = ()


class Desired(msgspec.Struct, frozen=True):
    """Something that should run.

    Attributes:
        service: Its name.
        command: What starts an instance of it.
        instances: How many.
        release: Which of its releases this is; there may be several at once.
        port: The one of the machine that it insists on; 0 for any.
        inner: The one that it insists on in a network of its own; 0 where it has none.
        reaches: Ports of the machine that it reaches from there, beside those of its neighbours.
        needs: Names of services that have to be ready before it starts.
        probe: How it is seen whether it is healthy.
        restart: When it is started anew.
        stop_signal: What tells it to end.
        stop_grace: Seconds between being told to end and being killed.
        own: Whether it is a service of the app, whose exit codes are known.
        turn: Counts how often somebody wanted it restarted.
        memory_max: Bytes that an instance may use; 0 for any number.
        cpu_max: Processors that it may use for long; 0 for any number.
        container: What it is run in; None for a process of the machine.
    """

    service: str
    command: Command
    instances: int = 1
    release: str = ""
    port: int = 0
    inner: int = 0
    reaches: tuple[int, ...] = ()
    needs: tuple[str, ...] = ()
    probe: Probe = Probe()
    restart: Literal["always", "on-failure", "never"] = "always"
    stop_signal: int = signal.SIGTERM
    stop_grace: float = 30.0
    own: bool = False
    turn: int = 0
    memory_max: int = 0
    cpu_max: float = 0.0
    container: Container | None = None

    @property
    def key(self) -> Key:
        """What instances of it have in common."""
        return self.service, self.release

    @property
    def is_job(self) -> bool:
        """Whether it is done when it has ended well, so that whoever needs it waits for that."""
        return self.restart == "never" and not self.probe.path

    @property
    def build(self) -> str:
        """What an instance is started from: where this differs, it is replaced by another one."""
        command = self.command
        parts = (command.line, command.directory, sorted(command.environment.items()), self.port, self.turn)
        apart = (self.inner, self.reaches) if self.inner else ()
        return _digest(repr((*parts, *apart, *((self.container,) if self.container else ()))))


class Part(msgspec.Struct, frozen=True):
    """A service of the app: its name, and whom it calls."""

    name: str
    needs: tuple[str, ...] = ()


class Parts(msgspec.Struct, frozen=True):
    """What an app consists of, as one who has imported it says.

    Attributes:
        app: What was imported, as `module:name`.
        services: Those of the app.
        gateway: Whether it lets the outside in.
        name: Of the app, by which its nodes find each other.
    """

    app: str
    services: tuple[Part, ...] = ()
    gateway: bool = False
    name: str = ""


class Runs(msgspec.Struct, frozen=True):
    """How services of the app are run.

    Attributes:
        python: The words that run `hanse`.
        transport: URL of what carries their messages.
        directory: Where the settings are.
    """

    python: tuple[str, ...]
    transport: str
    directory: str


def desired_of(settings: Settings, parts: Parts, runs: Runs, resources: Iterable[Desired] = ()) -> dict[str, Desired]:
    """What the settings want to run, by name, whoever is needed before whoever needs it.

    Args:
        settings: What was set.
        parts: What the app consists of.
        runs: How services of the app are run, and where.
        resources: Servers that services need.

    Raises:
        Misconfigured: A need or a service is unknown, needs go in a circle, or an instance cannot run beside another.

    Example:
        >>> settings = Settings(services={"web": ServiceSettings(command="node web.js {port}", needs=("api",)),
        ...                               "api": ServiceSettings(command="flask run -p {port}")})
        >>> list(desired_of(settings, Parts(""), Runs((), "unix:run", ".")))
        ['api', 'web']
    """
    own = {part.name: part for part in _with_gateway(parts)}
    found = {one.service: one for one in resources}
    # The edge tells them who asks, and which requests are copies.
    trusted = ",".join(dict.fromkeys((EDGE_ADDRESS, *settings.gateway.trusted_proxies)))
    # Of these alone does the edge hand on which release they choose.
    forcing = ",".join(dict.fromkeys((*Table().forcing, *settings.gateway.forcing)))
    told = {"HANSE_GATEWAY__TRUSTED_PROXIES": trusted, "HANSE_GATEWAY__FORCING": forcing}
    for name, part in own.items():
        service = settings.services.get(name, ServiceSettings())
        found[name] = _own(part, service, parts.app, runs, told)
    for name, service in settings.services.items():
        if name not in own:
            if not (service.command or service.image):
                raise Misconfigured(_unknown(name, found))
            found[name] = _foreign(name, service, runs.directory)
    _check(found)
    return {name: found[name] for name in _in_order(found)}


class Seat(msgspec.Struct, frozen=True):
    """Where and as what one instance is started.

    Attributes:
        instance: Its name, such as `users-1`.
        host, port: Where it is to listen.
        release: Which release it is of.
        variables: What all have in their environment.
    """

    instance: str
    host: str
    port: int
    release: str
    variables: Mapping[str, str]


class Launch(msgspec.Struct, frozen=True):
    """What is started, with everything filled in."""

    arguments: tuple[str, ...]
    directory: str
    environment: dict[str, str]


def filled(command: Command, seat: Seat) -> Launch:
    """A command as it is started at a place.

    Raises:
        Misconfigured: A variable stands for another one that is not there.

    Example:
        >>> command = Command(("serve", "{host}:{port}", "$MODE"), environment={"MODE": "${BEST}!"})
        >>> filled(command, Seat("a-1", "::1", 80, "", {"BEST": "fast"})).arguments
        ('serve', '::1:80', 'fast!')
    """
    values = {"host": seat.host, "port": str(seat.port), "instance": seat.instance, "release": seat.release}
    variables = {
        **seat.variables,
        "HOST": seat.host,
        "PORT": str(seat.port),
        "HANSE_INSTANCE": seat.instance,
        "HANSE_RELEASE": seat.release,
    }
    own = {
        name: _with_variables(_placed(text, values), variables, f"environment.{name}")
        for name, text in command.environment.items()
    }
    environment = {**variables, **own}
    line = [_placed(word, values) for word in command.line]
    if not command.shell:
        line = [_VARIABLE.sub(lambda match: environment.get(_name(match), match[0]), word) for word in line]
    return Launch(tuple(line), command.directory, environment)


def command_of(key: str, text: str, directory: str) -> Command:
    """A command as somebody wrote it, for a shell where only that understands it.

    Args:
        key: Of the setting that it stands in.
        text: The command.
        directory: Where it is started.

    Raises:
        Misconfigured: It is no command.

    Example:
        >>> command_of("services.web.command", "serve --port {port}", "/srv").line
        ('serve', '--port', '{port}')
    """
    shell = _SHELL.search(text) is not None
    try:
        words = ("/bin/sh", "-c", text) if shell else tuple(shlex.split(text))
    except ValueError as error:
        raise Misconfigured(f"{key}: {error}: {text!r}") from None
    if not words:
        raise Misconfigured(f"{key}: expected a command, got only spaces")
    return Command(words, shell, directory)


def _with_gateway(parts: Parts) -> tuple[Part, ...]:
    if not parts.gateway:
        return parts.services
    return (*parts.services, Part(GATEWAY, tuple(part.name for part in parts.services)))


def _own(part: Part, service: ServiceSettings, app: str, runs: Runs, told: Mapping[str, str]) -> Desired:
    if service.command:
        raise Misconfigured(f"services.{part.name}: expected no command, as the app has a service of that name")
    if service.own_network:
        raise Misconfigured(f"services.{part.name}.own_network: expected a foreign service, got one of the app")
    if service.image:
        raise Misconfigured(f"services.{part.name}.image: expected a foreign service, got one of the app")
    line = (*runs.python, "run", app, "--services", part.name, "--port", "{port}", "--transport", runs.transport)
    # Shares of releases change while it runs; whoever began without them would give a new release more than its own.
    environment = {"HANSE_NODE__NEED_ROUTES": "true", **told, **service.environment}
    command = Command(line, directory=runs.directory, environment=environment)
    needs = tuple(dict.fromkeys((*part.needs, *service.needs)))
    one = _wanted(part.name, service, command, READY_PATH)
    return msgspec.structs.replace(one, needs=needs, own=True)


def _foreign(name: str, service: ServiceSettings, directory: str) -> Desired:
    where = f"{directory}/{service.directory}" if service.directory[:1] != "/" else service.directory
    key = f"services.{name}.command"
    command = (_told if service.image else command_of)(key, service.command, where.rstrip("/"))
    command = msgspec.structs.replace(command, environment=service.environment)
    return _wanted(name, service, command, FOREIGN_PATH)


def _told(key: str, text: str, directory: str) -> Command:
    """What an image is told to run, which may be nothing: by itself it knows. Its shell, if any, is its own affair."""
    try:
        return Command(tuple(shlex.split(text)), directory=directory)
    except ValueError as error:
        raise Misconfigured(f"{key}: {error}: {text!r}") from None


def _wanted(name: str, service: ServiceSettings, command: Command, path: str) -> Desired:
    if problem := _problem_of_network(service):
        raise Misconfigured(f"services.{name}.{problem}")
    own = service.own_network or bool(service.image)
    return Desired(
        name,
        command,
        service.instances,
        port=0 if own else service.port,
        inner=service.port if own else 0,
        reaches=service.reaches,
        needs=service.needs,
        probe=_probe(service, path),
        restart=service.restart,
        stop_grace=service.stop_grace,
        memory_max=service.memory_max,
        cpu_max=service.cpu_max,
        container=_container(service),
    )


def _container(service: ServiceSettings) -> Container | None:
    if not service.image:
        return None
    engine = "" if service.container == "auto" else service.container
    return Container(service.image, engine, service.container_arguments, tuple(service.environment))


def _problem_of_network(service: ServiceSettings) -> str:
    """What makes no sense of a network of its own; empty for nothing."""
    if problem := _problem_of_image(service):
        return problem
    if service.own_network and not service.port:
        return "own_network: expected a `port` that it insists on; whoever listens at {port} needs none"
    if service.reaches and not service.own_network:
        return "reaches: expected `own_network = true` beside it; whoever is on the machine reaches all of its ports"
    if service.port in service.reaches:
        return f"reaches: expected other ports than its own, {service.port}, which leads to itself there"
    return ""


def _problem_of_image(service: ServiceSettings) -> str:
    if service.image and (problem := problem_of(service.image)):
        return f"image: {problem}"
    if service.image and (service.own_network or service.reaches):
        return (
            "own_network: expected nothing of networks beside `image`; a container with a `port` has one of its own, "
            "and one without is on the machine's"
        )
    if service.container_arguments and not service.image:
        return "container_arguments: expected an `image` beside them, from which a container is made"
    return ""


def _probe(service: ServiceSettings, path: str) -> Probe:
    health = service.health
    told = health if isinstance(health, HealthSettings) else HealthSettings(path=health)
    asked = told.path or path
    if service.protocol != "http":
        asked = GRPC_HEALTH if service.protocol == "h2c" else ""
    return Probe(asked, told.interval, told.timeout, told.rise, told.fall, told.startup)


def _check(found: Mapping[str, Desired]) -> None:
    for name, one in found.items():
        if not _NAME.fullmatch(name):
            # It is part of names of files, variables and processes.
            raise Misconfigured(f"services.{name}: expected a name of letters, digits, - and _, got {name!r}")
        for need in one.needs:
            if need not in found:
                near = nearest(need, found)
                hint = f"; did you mean {near}?" if near else f"; there are {', '.join(found)}"
                raise Misconfigured(f"services.{name}.needs: unknown {need!r}{hint}")
        if one.port and one.instances > 1:
            raise Misconfigured(
                f"services.{name}: expected one instance, as it insists on port {one.port}, got {one.instances}; "
                f"leave `port` away and use {{port}} or $PORT in its command, or say `own_network = true` (Linux)"
            )
        if one.instances > INSTANCES_MAX:
            raise Misconfigured(f"services.{name}.instances: expected at most {INSTANCES_MAX}, got {one.instances}")


def _in_order(found: Mapping[str, Desired]) -> Sequence[str]:
    try:
        return tuple(TopologicalSorter({name: one.needs for name, one in found.items()}).static_order())
    except CycleError as error:
        circle = " -> ".join(error.args[1])
        raise Misconfigured(f"services need each other in a circle: {circle}; take one of these `needs` away") from None


def _unknown(name: str, found: Iterable[str]) -> str:
    near = nearest(name, found)
    hint = f"; did you mean {near}?" if near else ""
    return f"services.{name}: expected a service of the app, or a `command` that starts it{hint}"


def _placed(text: str, values: Mapping[str, str]) -> str:
    return _PLACE.sub(lambda match: values[match[1]], text)


def _with_variables(text: str, variables: Mapping[str, str], where: str) -> str:
    def value(match: re.Match[str]) -> str:
        name = match["braced"]
        if name is None:
            return match[0]
        if name not in variables:
            raise Misconfigured(f"{where}: there is no variable {name}; set it, or write it into .env")
        return variables[name]

    return _VARIABLE.sub(value, text)


def _name(match: re.Match[str]) -> str:
    return match["plain"] or match["braced"]


@lru_cache(DIGESTS_MAX)
def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
