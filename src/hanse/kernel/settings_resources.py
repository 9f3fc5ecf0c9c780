"""`resource:db`, wherever a setting takes a URL: where the resource of that name is, as far as that is known.

The URL of a resource is a setting like any other, `resources.db.url`. One that is elsewhere has it in the file; one
that `hanse up` starts has it in the environment of whoever needs it, as `HANSE_RESOURCES__DB__URL`. So one file serves
where a server is started for the app, and where there is one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from hanse.kernel.faults import Misconfigured
from hanse.kernel.settings import ResourceSettings, Settings
from hanse.kernel.settings_schema import nearest

SCHEME = "resource:"

_MENTIONED = re.compile(rf"{SCHEME}(?P<name>[^?]*)(?:\?(?P<options>.*))?", re.DOTALL)


def mentioned(text: str) -> str:
    """The resource whose URL this stands for; empty where it stands for itself.

    Example:
        >>> mentioned("resource:db"), mentioned("resource:db?schema=shop"), mentioned("sqlite:///shop.db")
        ('db', 'db', '')
    """
    match = _MENTIONED.fullmatch(text)
    return match["name"] if match else ""


def with_url(text: str, resources: Mapping[str, ResourceSettings]) -> str:
    """What a text stands for; the text itself where that is not known.

    Example:
        >>> with_url("resource:db?schema=shop", {"db": ResourceSettings(url="postgresql://db/shop")})
        'postgresql://db/shop?schema=shop'
    """
    match = _MENTIONED.fullmatch(text)
    url = resources[match["name"]].url if match and match["name"] in resources else ""
    if match is None or not url:
        return text
    options = match["options"]
    return f"{url}{'&' if '?' in url else '?'}{options}" if options else url


def with_urls(settings: Settings) -> Settings:
    """The settings, with the URLs of those resources that have one.

    Stores of single services are left as they are, as what a URL means for a service depends on its kind.

    Raises:
        Misconfigured: There is no resource of some name; lists every one.
    """
    problems = [
        f"{where}: {unknown(name, settings.resources)}"
        for where, text in _places(settings)
        if text.startswith(SCHEME) and (name := mentioned(text)) not in settings.resources
    ]
    if problems:
        raise Misconfigured("\n  ".join(problems))
    resources = settings.resources
    node = settings.node
    node = replace(node, store=with_url(node.store, resources), transport=with_url(node.transport, resources))
    services = {
        name: replace(
            service, environment={key: with_url(text, resources) for key, text in service.environment.items()}
        )
        for name, service in settings.services.items()
    }
    return replace(settings, node=node, services=services) if resources else settings


def unknown(name: str, known: Iterable[str]) -> str:
    """That there is no resource of a name, and what to do.

    Example:
        >>> unknown("dbs", ["db", "bus"])
        "there is no resource 'dbs'; did you mean db?"
    """
    there = list(known)
    near = nearest(name, there)
    hint = f'declare it: [resources.{name or "db"}] kind = "postgresql"'
    if there:
        hint = f"did you mean {near}?" if near else f"there are {', '.join(there)}"
    return f"there is no resource {name!r}; {hint}"


def not_there(text: str) -> str:
    """That nothing tells where a resource is, and what to do."""
    name = mentioned(text)
    return (
        f"{text!r} is a server that `hanse up` starts: start this by it, "
        f"or say where one is with HANSE_RESOURCES__{name.upper()}__URL"
    )


def _places(settings: Settings) -> Iterable[tuple[str, str]]:
    """What may stand for the URL of a resource, with its key."""
    yield "node.store", settings.node.store
    yield "node.transport", settings.node.transport
    for name, service in settings.services.items():
        yield f"services.{name}.store", service.store
        for key, text in service.environment.items():
            yield f"services.{name}.environment.{key}", text
