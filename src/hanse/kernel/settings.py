"""Settings: typed, layered, validated once into one frozen value, with the source of each value beside it.

A layer is a list of `Setting`s: a path into the tree, the value as it came, and where it came from. Later layers win.
`resolve` is a pure function of the layers; `settings_files` reads the layers from files and the environment.

Adding a setting is adding a field to a struct below: names, types, limits and defaults are read from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Literal, cast

import msgspec
from msgspec import Meta, field

from hanse.kernel.faults import Misconfigured
from hanse.kernel.route import Route
from hanse.kernel.settings_hide import hidden
from hanse.kernel.settings_schema import Unusable, as_table, convert, type_at

Path = tuple[str, ...]
Sources = Mapping[str, str]
"""Where each value came from, by its dotted key; keys that nobody set are absent."""

DEFAULT = "default"
"""The source of a value that nobody set."""

Seconds = Annotated[float, Meta(ge=0, extra={"unit": "seconds"})]
Bytes = Annotated[int, Meta(gt=0, extra={"unit": "bytes"})]
BytesOrNone = Annotated[int, Meta(ge=0, extra={"unit": "bytes"})]
Port = Annotated[int, Meta(ge=0, le=65535)]


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the settings; secrets are hidden where it is printed."""

    def __repr__(self) -> str:
        names = self.__struct_fields__
        values = (f"{name}={hidden(getattr(self, name), name)!r}" for name in names)
        return f"{type(self).__name__}({', '.join(values)})"


class GatewaySettings(Section, frozen=True, kw_only=True):
    """How the outside gets in.

    Attributes:
        host: Address to listen on; only this machine reaches the default.
        port: Port to listen on; 0 takes a free one.
        body_max: Largest request body, in bytes; the setting also takes `"2MiB"`.
        metrics: Who gets `/metrics` and the checks of `/readyz?verbose`: `local` is this machine only, `open` is
            everybody, `off` is nobody.
        metrics_token: Who sends it as a bearer token gets these, from anywhere, and nobody else; empty for none.
        trusted_proxies: Addresses and networks (`10.0.0.0/8`) that are believed about client, scheme, host and prefix.
        forcing: Addresses and networks that may choose the release of services that answer them, by the header
            `X-Hanse-Release`; nobody by default, and this machine where `hanse up` runs an edge before it.
        hosts: Names that are answered under, and `*.shop.example` for all below one, beside addresses and `localhost`;
            empty is any name.
        proxy_headers: What they set: `X-Forwarded-For`, `-Proto`, `-Host`, `-Prefix`, or `Forwarded` (RFC 7239).
    """

    host: str = "127.0.0.1"
    port: Port = 8000
    body_max: Bytes = 1024 * 1024
    metrics: Literal["local", "open", "off"] = "local"
    metrics_token: str = ""
    trusted_proxies: tuple[str, ...] = ()
    forcing: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    proxy_headers: Literal["x-forwarded", "forwarded"] = "x-forwarded"


class NodeSettings(Section, frozen=True, kw_only=True):
    """How one process hosts services.

    Attributes:
        services: Names of what it hosts: services, and `gateway`; empty for the whole app.
        store: URL of the store of every service that has none of its own.
        transport: URL of what carries messages between nodes.
        events: Where events wait for their subscribers: `log`, that of the service that told them, or `broker`, where
            the transport is one that keeps them.
        discovery: URL of how nodes find each other, where the transport has no broker; empty for its own way.
        discovery_keys: Secrets by which nodes that find each other sign what they say: the first signs, all are
            believed, so that keys are changed with no gap; empty for whoever reaches the port.
        interface: Name or address of the network interface that nodes find each other on; empty for the loopback.
        zone: Where it stands; calls prefer their own zone.
        tls_certificate, tls_key: Paths of what the node shows to others over `tcp://`, or to a broker (PEM); or empty.
        tls_authority: Path of the certificates of whoever signs those of all nodes, or of the servers; others are not
            believed.
        credentials: Path of a `.creds` file for NATS.
        zmq_secret: Path of the secret key that the node proves over `zmq://`; empty for no keys.
        zmq_allowed: Path of the list of the public keys of all nodes, one a line; others are not listened to.
        drain_delay: Seconds between "not ready" and the end of accepting, for balancers to notice; 5 in Kubernetes.
        grace: Seconds that work in flight has to finish at a stop.
        release: Version of the code that runs, as logs and announcements name it.
        instance: Name of this process among its like; by default made of host name and process id.
        timeout: Seconds that a call waits for its answer, unless operation or caller say otherwise.
        calls_max: Operations running at once; the next one is told to come again.
        retention: Seconds that logs and the marks of what was handled are kept, at the least; 7 days.
        sagas_awake: Sagas of a service that are kept in memory while they only wait; of others there is a row.
        follow_routes: Whether calls go by routes that are kept as rows, too, and may change while it runs.
        need_routes: Whether it follows them and begins only once it was told them, rather than by its settings.
    """

    services: tuple[str, ...] = ()
    store: str = "memory:"
    transport: str = "memory:"
    events: Literal["log", "broker"] = "log"
    discovery: str = ""
    discovery_keys: tuple[str, ...] = ()
    interface: str = ""
    zone: str = ""
    tls_certificate: str = ""
    tls_key: str = ""
    tls_authority: str = ""
    credentials: str = ""
    zmq_secret: str = ""
    zmq_allowed: str = ""
    drain_delay: Seconds = 0.0
    grace: Seconds = 30.0
    release: str = ""
    instance: str = ""
    timeout: Annotated[float, Meta(gt=0, extra={"unit": "seconds"})] = 10.0
    calls_max: Annotated[int, Meta(gt=0)] = 1000
    retention: Annotated[float, Meta(gt=0, extra={"unit": "seconds"})] = 604_800.0
    sagas_awake: Annotated[int, Meta(ge=0)] = 1_000
    follow_routes: bool = False
    need_routes: bool = False


class LogSettings(Section, frozen=True, kw_only=True):
    """What is logged, and how.

    Attributes:
        level: The least urgent level that is written.
        format: `auto` is text on a terminal and JSON elsewhere.
        access: Whether each request has a line, of the logger `hanse.access`; `auto` is on a terminal only.
    """

    level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    format: Literal["auto", "json", "text"] = "auto"
    access: Literal["auto", "on", "off"] = "auto"


Interval = Annotated[float, Meta(gt=0, extra={"unit": "seconds"})]
Count = Annotated[int, Meta(gt=0)]


class HealthSettings(Section, frozen=True, kw_only=True):
    """How the platform sees whether an instance is healthy.

    Attributes:
        path: What is asked; any answer below 500 is healthy. Empty for `/readyz` of the framework's services, and `/`
            of others.
        interval: Seconds between two looks at an instance that is ready.
        timeout: Seconds that an answer may take.
        rise: Healthy answers in a row after which it gets traffic.
        fall: Looks in a row that fail, after which it gets none.
        startup: Seconds in which it has to become healthy, at its start or again; then it is started anew.
    """

    path: str = ""
    interval: Interval = 2.0
    timeout: Interval = 2.0
    rise: Count = 1
    fall: Count = 3
    startup: Interval = 60.0


class ServiceSettings(Section, frozen=True, kw_only=True):
    """One service: where it keeps its rows, its configuration values, and how the platform runs it.

    Attributes:
        store: URL of its store; empty for the node's. `resource:NAME` is that of a resource.
        settings: Values for the fields of the service class, by name.
        instances: How many of it run.
        command: What starts a foreign service, with `{host}`, `{port}`, `{instance}` and `{release}` filled in; empty
            for a service of the app. What only a shell understands is given to `/bin/sh`.
        image: What containers are made of that it runs in, such as `registry/web:1.4`; then `command` is what that is
            told to run, by default what it does by itself.
        container: What runs them: `docker`, `podman`, or `auto` for whichever is there.
        container_arguments: What that is told beside what it is told of every container, such as `["--read-only"]`.
        directory: Where it is started; by default where the settings are.
        environment: Variables that it gets beside those of `hanse up` and of `.env`; `${NAME}` stands for one of these.
        port: The one port that it insists on; 0 for a free one. A container with one has a network of its own, and one
            without is on the machine's (Linux).
        own_network: Whether each instance has a network of its own (Linux), so that all may insist on `port`; from
            there it reaches its neighbours, resources and `reaches`, and nothing else.
        reaches: Ports of this machine that it finds at its own loopback then, such as 5432.
        needs: Services and resources that have to be ready before it is started, and are stopped after it.
        restart: When it is started anew after its end: `always`, `on-failure` or `never`.
        stop_grace: Seconds that it has to end by itself at a stop, once it has been told to.
        route: Path prefix that the edge sends to it.
        host: Name in the URL that the edge sends to it.
        strip_prefix: Whether the edge takes the path prefix away.
        protocol: What it speaks: `http`, `h2c` for gRPC, or `none`, for what works and answers nobody.
        health: Path that answers below 500 when it is healthy, or a table.
        balance: How requests are spread over its instances.
        sticky: Whether one visitor stays with one instance.
        release_hook: Command that runs once per rollout.
        memory_max: Bytes that one instance may use, such as `"512MiB"`, before a new release is rolled back for it; 0
            for any number.
        cpu_max: Processors that one instance may use for long, such as 0.5, before a new release is rolled back for it;
            0 for any number.
        egress: Whether it asks its neighbours by name, as `http://users/`; by default what `edge.egress` says.
    """

    store: str = ""
    settings: dict[str, object] = field(default_factory=dict[str, object])
    instances: Annotated[int, Meta(ge=0)] = 1
    command: str = ""
    image: str = ""
    container: Literal["auto", "docker", "podman"] = "auto"
    container_arguments: tuple[str, ...] = ()
    directory: str = ""
    environment: dict[str, str] = field(default_factory=dict[str, str])
    port: Port = 0
    own_network: bool = False
    reaches: tuple[Annotated[int, Meta(ge=1, le=65535)], ...] = ()
    needs: tuple[str, ...] = ()
    restart: Literal["always", "on-failure", "never"] = "always"
    stop_grace: Seconds = 30.0
    route: str = ""
    host: str = ""
    strip_prefix: bool = False
    protocol: Literal["http", "h2c", "none"] = "http"
    health: str | HealthSettings = ""
    balance: Literal["round_robin", "least_request", "source"] = "round_robin"
    sticky: bool = False
    release_hook: str = ""
    memory_max: BytesOrNone = 0
    cpu_max: Annotated[float, Meta(ge=0.0)] = 0.0
    egress: bool | None = None


class EdgeSettings(Section, frozen=True, kw_only=True):
    """The one door of `hanse up`, with the app's gateway and the foreign services behind it.

    Attributes:
        host: Address to listen on; only this machine reaches the default.
        port: Port to listen on; 0 takes a free one.
        engine: What moves the requests: `auto` and `builtin` are what comes along, `haproxy` takes twice as many
            a second and has to be installed, as has `envoy`; these two speak HTTP/2 and gRPC; `none` is no door at all.
        certificate: Path of the certificate that it shows, with those of whoever signed it (PEM), from the folder of
            the settings; `development` makes one for this machine; empty for plain HTTP.
        key: Path of the certificate's key (PEM); empty where that is in the same file.
        slow_start: Seconds over which an instance that has come gets its whole share, where others of its release are
            older; 0 gives it at once.
        egress: Whether services ask their neighbours by name, as `http://users/`, by a proxy that `HTTP_PROXY` names.
            It is a wish, as that proxy then gets all that they ask over plain HTTP.
        egress_hosts: Hosts outside to which that proxy passes requests on: names, `*.shop.example` for all below one,
            or `*` for any.
    """

    host: str = "127.0.0.1"
    port: Port = 8000
    engine: Literal["auto", "builtin", "haproxy", "envoy", "none"] = "auto"
    certificate: str = ""
    key: str = ""
    slow_start: Seconds = 10.0
    egress: bool = False
    egress_hosts: tuple[str, ...] = ()


class ResourceSettings(Section, frozen=True, kw_only=True):
    """A server that services need; where a setting or a variable takes a URL, `resource:NAME` stands for its.

    Attributes:
        kind: Which one; empty for another, by its command and URL.
        port: Port to listen on; 0 takes a free one, once.
        directory: Where it keeps its data; by default `.hanse/resources/NAME`.
        command: What starts it, instead of what is known of its kind; `{host}` and `{port}` are filled in.
        url: Where it is, so that none is started; where there is a command, the URL of what that starts, with `{host}`
            and `{port}` filled in.
    """

    kind: Literal["", "nats", "postgresql", "redis"] = ""
    port: Port = 0
    directory: str = ""
    command: str = ""
    url: str = ""


class Settings(Section, frozen=True, kw_only=True):
    """All that can be set, validated.

    Attributes:
        app: What runs, as `module:name`.
        environment: Name of the environment whose table in the file applies; empty for none.
        gateway, node, log, edge: See their classes.
        services: By name of the service.
        routes: How calls are shared among releases, by name of the service that is called.
        resources: Servers that services need, by name.
        environments: Tables that override the others, by name of the environment.
    """

    app: str = ""
    environment: str = ""
    gateway: GatewaySettings = GatewaySettings()
    node: NodeSettings = NodeSettings()
    log: LogSettings = LogSettings()
    services: dict[str, ServiceSettings] = field(default_factory=dict[str, ServiceSettings])
    routes: dict[str, Route] = field(default_factory=dict[str, Route])
    edge: EdgeSettings = EdgeSettings()
    resources: dict[str, ResourceSettings] = field(default_factory=dict[str, ResourceSettings])
    environments: dict[str, dict[str, object]] = field(default_factory=dict[str, dict[str, object]])


class Setting(msgspec.Struct, frozen=True):
    """One value as it came.

    Attributes:
        path: Where it belongs, such as `("gateway", "port")`.
        value: Plain data; a string where it came from the environment or a flag.
        source: Where it came from, as an error names it: `hanse.toml`, `HANSE_GATEWAY__PORT`, `--port`.
    """

    path: Path
    value: object
    source: str


def resolve(layers: Iterable[Iterable[Setting]], problems: Iterable[str] = ()) -> tuple[Settings, Sources]:
    """The settings that the layers make together, the last one winning, and the source of each value.

    Args:
        layers: The weakest first.
        problems: What reading the layers has found already; told with the rest.

    Raises:
        Misconfigured: Something cannot be used; lists every such value with its source and what was expected.

    Example:
        >>> file = [Setting(("gateway", "port"), 9000, "hanse.toml")]
        >>> settings, sources = resolve([file, [Setting(("gateway", "port"), "80", "PORT")]])
        >>> settings.gateway.port, sources["gateway.port"]
        (80, 'PORT')
        >>> resolve([[Setting(("gateway", "prot"), 80, "hanse.toml")]])
        Traceback (most recent call last):
        ...
        hanse.kernel.faults.Misconfigured: gateway.prot (hanse.toml): unknown; did you mean gateway.port?
    """
    found = list(problems)
    tree: dict[str, object] = {}
    winners = _winners(layers)
    for setting in winners.values():
        found += _place(tree, setting)
    _refuse(found)
    return _sourced(msgspec.convert(tree, Settings), winners.values()), {
        dotted(path): setting.source for path, setting in winners.items()
    }


def problems_of(settings: Iterable[Setting]) -> list[str]:
    """What is wrong with values that do not apply now, such as those of another environment."""
    return [problem for setting in settings for problem in _place({}, setting)]


def flatten(table: Mapping[str, object], source: str, *, path: Path = ()) -> Iterator[Setting]:
    """The leaves of nested tables; an empty table is a leaf of its own, so that it is not lost.

    Example:
        >>> [(leaf.path, leaf.value) for leaf in flatten({"a": {"b": 1, "c": {}}}, "hanse.toml")]
        [(('a', 'b'), 1), (('a', 'c'), {})]
    """
    for name, value in table.items():
        inner = as_table(value)
        if inner:
            yield from flatten(inner, source, path=(*path, name))
        else:
            yield Setting((*path, name), value, source)


def dotted(path: Path) -> str:
    """A path as people write it: `gateway.port`."""
    return ".".join(path)


def _sourced(settings: Settings, winners: Iterable[Setting]) -> Settings:
    """With the sources of routes in them: whoever asks how a call finds its way is told."""
    sources: dict[str, dict[str, None]] = {}
    for setting in winners:
        if setting.path[0] == "routes" and len(setting.path) > 1:
            sources.setdefault(setting.path[1], {})[setting.source] = None
    routes = {
        name: msgspec.structs.replace(route, source=", ".join(sources[name])) for name, route in settings.routes.items()
    }
    return msgspec.structs.replace(settings, routes=routes)


def _refuse(problems: list[str]) -> None:
    if len(problems) == 1:
        raise Misconfigured(problems[0])
    if problems:
        raise Misconfigured(f"{len(problems)} settings cannot be used:\n  " + "\n  ".join(problems))


def _winners(layers: Iterable[Iterable[Setting]]) -> dict[Path, Setting]:
    """The last value of each path; one that replaces a whole table, or that opens one, replaces what stood there."""
    winners: dict[Path, Setting] = {}
    for layer in layers:
        for setting in layer:
            for path in [path for path in winners if _replaces(setting, path, winners[path])]:
                del winners[path]
            winners[setting.path] = setting
    return winners


def _replaces(setting: Setting, path: Path, old: Setting) -> bool:
    shared = min(len(path), len(setting.path))
    if path[:shared] != setting.path[:shared] or len(path) == len(setting.path):
        return False
    shorter = old if len(path) == shared else setting
    return shorter.value != {}


def _place(tree: dict[str, object], setting: Setting) -> list[str]:
    """Put one converted value into the tree; says what is wrong with it, if anything."""
    try:
        value = convert(type_at(Settings, setting.path), setting.value)
    except Unusable as error:
        return [f"{dotted(setting.path)} ({setting.source}): {error.told(setting.path, setting.value)}"]
    *tables, name = setting.path
    for table in tables:
        # _winners left no value where a table is needed.
        tree = cast("dict[str, object]", tree.setdefault(table, {}))
    if value == {}:
        tree.setdefault(name, value)
    else:
        tree[name] = value
    return []
