"""A running system as commands reach it: where it answers, and what each request says besides."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import wraps
from typing import TypeVar

import click
import msgspec

from hanse.cli.http import Answer, request, request_directly
from hanse.cli.net import url_of
from hanse.cli.options import Chosen, configured, working_folder

T = TypeVar("T")

_APP_HELP = "With --transport: whose nodes are asked, as `hanse run` takes it; else what hanse.toml says."

SILENCE_SECONDS_MAX = 60.0
"""How long a command waits for the next byte, unless `--timeout` says otherwise."""


class Remote(msgspec.Struct, frozen=True):
    """What the command line says about a running system.

    Attributes:
        said: Its URL; empty where the command line does not say.
        headers: Of each request.
        timeout: Seconds of silence after which a request is given up.
        chosen: Settings, which say where it is if nobody else does.
        own: Name of the node there that is the command's own, and goes with it; empty for none.
    """

    said: str = ""
    headers: Mapping[str, str] = {}
    timeout: float = SILENCE_SECONDS_MAX
    chosen: Chosen = Chosen()
    own: str = ""

    @property
    def base(self) -> str:
        """Where it answers: what was said, else HANSE_URL, else where the settings have the gateway.

        Raises:
            Misconfigured: The settings cannot be read.
        """
        said = self.said or os.environ.get("HANSE_URL", "")
        if not said:
            settings, _ = self.chosen.read()
            said = url_of(settings.gateway.host, settings.gateway.port)
        return said.rstrip("/")

    def ask(
        self, path: str, *, body: bytes | None = None, method: str = "", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Ask it: POST with a body, GET without, unless a method is said.

        Raises:
            Misconfigured: Its URL is none.
            Unavailable: Nobody answers.
        """
        every = {**self.headers, **(headers or {})}
        return request(f"{self.base}{path}", body=body, method=method, headers=every, timeout=self.timeout)

    def ask_directly(self, path: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Ask for a page that is the operator's: POST with a body, GET without.

        Raises:
            Misconfigured: Its URL is none.
            Unavailable: Nobody answers.
        """
        every = {**self.headers, **(headers or {})}
        return request_directly(f"{self.base}{path}", headers=every, timeout=self.timeout, body=body)


def remote(command: Callable[..., T]) -> Callable[..., T]:
    """Add `--url`, `--header` and `--timeout` (and what `configured` adds); the command takes them as `remote`."""

    @click.option("--url", default="", help="Where the system answers; else HANSE_URL, else what the settings say.")
    @click.option("--header", "headers", multiple=True, metavar="NAME:VALUE", help="Send this too; may be repeated.")
    @click.option(
        "--timeout",
        default=SILENCE_SECONDS_MAX,
        type=click.FloatRange(min=0, min_open=True),
        show_default=True,
        help="Seconds of silence after which a request is given up.",
    )
    @click.option("--app", "through", default="", metavar="TARGET", help=_APP_HELP)
    @configured("transport", "discovery")
    @wraps(command)
    def wrapped(*args: object, url: str, headers: tuple[str, ...], timeout: float, chosen: Chosen, **rest: object) -> T:
        through, own = str(rest.pop("through")), ""
        if not url and any(flag.path == ("node", "transport") for flag in chosen.flags):
            url, own = _through(through, chosen)
        reached = Remote(url, dict(map(header_in, headers)), timeout, chosen, own)
        return command(*args, remote=reached, **rest)

    return wrapped


def _through(target: str, chosen: Chosen) -> tuple[str, str]:
    """Where a gateway answers that is the command's own, and goes with it; and the name of its node."""
    from hanse.cli.target import load_app, wanted_target
    from hanse.cli.through import Through

    settings, _ = chosen.read()
    app = load_app(wanted_target(target, settings, "call --app"), working_folder())
    through = click.get_current_context().with_resource(Through(app, settings))
    return through.url, through.instance


def header_in(text: str) -> tuple[str, str]:
    """The name and the value of a header as curl takes it.

    Raises:
        click.UsageError: It is none.

    Example:
        >>> header_in("Authorization: Bearer t")
        ('Authorization', 'Bearer t')
    """
    name, colon, value = text.partition(":")
    if not colon or not name.strip() or {"\r", "\n"} & set(text) or not text.isascii():
        raise click.UsageError(f"expected --header NAME:VALUE, such as 'Authorization: Bearer ...', got {text!r}")
    return name.strip(), value.strip()
