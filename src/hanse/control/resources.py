"""Servers that services need, as the settings have them: which are to be started, and who needs which."""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec.structs import replace

from hanse.control.desired import GATEWAY, Parts
from hanse.control.servers import TITLES
from hanse.kernel.faults import Misconfigured
from hanse.kernel.settings import ResourceSettings, ServiceSettings, Settings
from hanse.kernel.settings_resources import mentioned, with_url

_NAME = re.compile(r"[a-z](?:_?[a-z0-9])*")


def checked(resources: Mapping[str, ResourceSettings]) -> dict[str, ResourceSettings]:
    """Those that have to be started; the others are elsewhere.

    Raises:
        Misconfigured: One cannot be; lists every one.

    Example:
        >>> list(checked({"db": ResourceSettings(kind="postgresql"), "bus": ResourceSettings(url="nats://bus")}))
        ['db']
    """
    problems = [f"resources.{name}{problem}" for name, one in resources.items() if (problem := _problem(name, one))]
    if problems:
        raise Misconfigured("\n  ".join(problems))
    return {name: one for name, one in resources.items() if one.command or not one.url}


def _problem(name: str, resource: ResourceSettings) -> str:
    if not _NAME.fullmatch(name):
        return ": expected a name of small letters, digits and single _, as variables have it in capitals"
    if resource.command and not resource.url:
        return '.url: expected where its command serves, such as "redis://{host}:{port}"'
    if not (resource.kind or resource.url):
        return f".kind: expected one of {', '.join(TITLES)}, or a `url`, and a `command` where that is to be started"
    return ""


def with_resources(settings: Settings, parts: Parts, urls: Mapping[str, str]) -> Settings:
    """The settings as whoever runs the services needs them: who needs which server, and knows where it is.

    Whoever mentions a resource needs it: it waits for it, and has its URL in a variable.

    Args:
        settings: What was set.
        parts: What the app consists of.
        urls: Of the servers that are started, by name.

    Raises:
        Misconfigured: A resource has the name of a service.

    Example:
        >>> settings = Settings(resources={"db": ResourceSettings(kind="postgresql")}, services={"web": ServiceSettings(
        ...     command="serve", environment={"DATABASE_URL": "resource:db"})})
        >>> found = with_resources(settings, Parts(""), {"db": "postgresql://127.0.0.1/db"}).services["web"]
        >>> found.needs, found.environment["DATABASE_URL"]
        (('db',), 'postgresql://127.0.0.1/db')
    """
    own = [part.name for part in parts.services] + [GATEWAY] * parts.gateway
    names = dict.fromkeys((*own, *settings.services))
    for name in settings.resources:
        if name in names:
            raise Misconfigured(f"resources.{name}: a service has that name; give one of them another")
    resources = {
        name: replace(one, url=urls[name]) if name in urls else one for name, one in settings.resources.items()
    }
    found = replace(settings, resources=resources)
    services = {name: _with_needs(settings.services.get(name, ServiceSettings()), found, urls) for name in names}
    for name in own:
        services[name] = _with_needs(services[name], found, urls, settings.node.transport, _store(name, settings))
    return replace(found, services=services)


def variable_of(name: str) -> str:
    """The variable that has the URL of a resource.

    Example:
        >>> variable_of("db")
        'HANSE_RESOURCES__DB__URL'
    """
    return f"HANSE_RESOURCES__{name.upper()}__URL"


def _store(service: str, settings: Settings) -> str:
    return settings.services.get(service, ServiceSettings()).store or settings.node.store


def _with_needs(service: ServiceSettings, settings: Settings, urls: Mapping[str, str], *uses: str) -> ServiceSettings:
    """A service that needs what it says that it needs, and what it mentions in its environment or elsewhere."""
    resources = settings.resources
    texts = (*service.environment.values(), *uses)
    needed = dict.fromkeys((*(one for one in service.needs if one in resources), *map(mentioned, texts)))
    started = [name for name in needed if name in urls]
    others = (one for one in service.needs if one not in resources)
    known = {variable_of(name): urls[name] for name in started}
    own = {key: with_url(text, resources) for key, text in service.environment.items()}
    return replace(service, needs=(*others, *started), environment={**known, **own})
