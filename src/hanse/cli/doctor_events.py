"""What the doctor looks at in the events of an app: who tells them, and what a power cut may take where they wait."""

from __future__ import annotations

from collections.abc import Iterator

from hanse.cli.finding import OK, WARN, Finding
from hanse.contract.model import Event
from hanse.kernel.settings import Settings
from hanse.node.app import App
from hanse.node.events import subscriptions_of
from hanse.service.service import may_emit

_POWER = {
    "amqp": "RabbitMQ flushes no streams: a power cut of all its servers at once costs up to half a minute of them",
    "nats": "a lone NATS server forgets up to two minutes at a power cut, unless it has sync_interval: always",
    "redis": "Redis forgets up to two seconds at a power cut, unless it has appendfsync always",
}
_KIN = {"tls": "nats", "rediss": "redis", "valkey": "redis", "valkeys": "redis", "amqps": "amqp"}


def event_checks(app: App, settings: Settings) -> Iterator[Finding]:
    """Whether the events that handlers want can come, and what is lost of those that wait."""
    kept = settings.node.events == "broker"
    for kind, names in unheard(app).items():
        yield far_check(app.name, kind, names, kept=kept)
    if kept and (says := power_of(settings.node.transport)):
        yield Finding("node.events", OK, f"kept by a broker; {says}")


def unheard(app: App) -> dict[type[Event], list[str]]:
    """Events that no service of an app may emit, with the services that want them."""
    wanted: dict[type[Event], list[str]] = {}
    for one in subscriptions_of(app):
        kind = one.on.kind
        if issubclass(kind, Event) and not any(may_emit(cls, kind) for cls in app.services):
            wanted.setdefault(kind, []).append(one.part.name)
    return wanted


def far_check(name: str, kind: type[Event], wanted: list[str], *, kept: bool) -> Finding:
    """An event that no service of the app emits: another code base may, where a broker keeps it for both.

    Example:
        >>> class Paid(Event):
        ...     bill: str
        >>> far_check("shop", Paid, ["mailer"], kept=True).says
        'mailer waits for Paid from elsewhere: whoever emits it has to be of an App of the same name, "shop"'
    """
    title, who = f"events of {kind.__name__}", ", ".join(wanted)
    if kept:
        says = (
            f'waits for {kind.__name__} from elsewhere: whoever emits it has to be of an App of the same name, "{name}"'
        )
        return Finding(title, OK, f"{who} {says}")
    why = 'Each service lists what it emits, and none lists this; with node.events = "log" nobody else is heard.'
    do = 'List it in `events=` of who emits it; or set node.events = "broker", and give the other app this one\'s name.'
    return Finding(title, WARN, f"{who} waits for {kind.__name__}, which no service here emits", why, do)


def power_of(url: str) -> str:
    """What a power cut costs of the events that a broker keeps; empty where nobody here knows.

    Example:
        >>> power_of("valkey://host")
        'Redis forgets up to two seconds at a power cut, unless it has appendfsync always'
    """
    scheme = url.partition(":")[0]
    return _POWER.get(_KIN.get(scheme, scheme), "")
