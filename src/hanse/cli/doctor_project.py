"""What the doctor looks at in a project: settings, pinned versions, the app and its stores, the port, the surface."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path
from typing import cast

from hanse.cli.doctor_events import event_checks
from hanse.cli.doctor_machine import version_of
from hanse.cli.finding import FAIL, OK, WARN, Finding
from hanse.cli.net import is_loopback, url_of
from hanse.cli.options import Chosen, working_folder
from hanse.kernel.faults import CouldNotStart, Fault
from hanse.kernel.settings import Settings, Sources
from hanse.kernel.settings_hide import is_secret
from hanse.node.app import App

LOCKS = ("uv.lock", "requirements*.txt", "locks/*.txt")
"""Files that pin versions, in a project's folder."""

DIFFERENT_MAX = 5
"""Packages that are named where they differ from what is pinned."""

SURFACE_MAX = 200
"""Paths that are told to programs."""

_PINNED = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)\s*(?P<marker>;)?", re.MULTILINE)
_NEAR_SECONDS_MAX = 2.0


def project(target: str | None, chosen: Chosen) -> Iterator[Finding]:
    """Look at the project in the current folder."""
    folder = working_folder()
    yield from lock_checks(folder)
    try:
        settings, sources = chosen.read()
    except Fault as fault:
        yield Finding("settings", FAIL, str(fault), "Nothing starts with these.", "`hanse explain misconfigured`")
        return
    yield settings_check(sources)
    yield from safety_checks(settings, sources)
    yield port_check(settings)
    wanted = target or settings.app
    if not wanted:
        do = "Name one, as in `hanse doctor greet.py`, or set `app` in hanse.toml."
        yield Finding("app", OK, "none is named, so none was looked at", do=do)
        return
    yield from app_checks(wanted, folder, settings)


def lock_checks(folder: Path) -> Iterator[Finding]:
    """For each file that pins versions, whether what is installed is that."""
    for path in sorted(path for pattern in LOCKS for path in folder.glob(pattern)):
        with suppress(OSError, ValueError):
            yield lock_check(path.relative_to(folder).as_posix(), pinned_in(path.name, path.read_text("utf-8")))


def pinned_in(name: str, text: str) -> dict[str, str]:
    """What a file pins, by package; what is pinned for some machines only is left out.

    Example:
        >>> pinned_in("requirements.txt", "click==8.2.0 --hash=sha256:0")
        {'click': '8.2.0'}
    """
    if name != "uv.lock":
        return {found["name"]: found["version"] for found in _PINNED.finditer(text) if not found["marker"]}
    packages = cast("list[dict[str, object]]", tomllib.loads(text).get("package", []))
    return {str(one["name"]): str(one["version"]) for one in packages if "registry" in str(one.get("source"))}


def lock_check(name: str, pinned: Mapping[str, str]) -> Finding:
    """Whether what is installed is what is pinned; packages that are not installed belong to others."""
    installed = {package: version for package in pinned if (version := version_of(package))}
    other = [f"{one} {installed[one]} (pinned: {pinned[one]})" for one in installed if installed[one] != pinned[one]]
    if not other:
        return Finding(f"versions in {name}", OK, f"{len(installed)} packages are as pinned")
    shown = ", ".join(other[:DIFFERENT_MAX]) + ("" if len(other) <= DIFFERENT_MAX else ", ...")
    why = "What runs here is not what was tested."
    return Finding(f"versions in {name}", WARN, f"{len(other)} differ: {shown}", why, f"Install from {name} again.")


def settings_check(sources: Sources) -> Finding:
    """What is set, and by whom."""
    if not sources:
        return Finding("settings", OK, "all are the defaults", do="`hanse config show` lists them.")
    told = [f"{key} ({source})" for key, source in sorted(sources.items())]
    return Finding("settings", OK, ", ".join(told), more=told)


def safety_checks(settings: Settings, sources: Sources) -> Iterator[Finding]:
    """Settings that can be meant, and are dangerous."""
    gateway = settings.gateway
    everybody = not is_loopback(gateway.host)
    if everybody and gateway.metrics == "open" and not gateway.metrics_token:
        why = "Figures tell strangers what the app does and how it is built."
        do = "Set gateway.metrics_token, or `local`, or close it at the proxy."
        yield Finding("gateway.metrics", WARN, "open to everybody", why, do)
    if (
        gateway.metrics == "local"
        and not gateway.metrics_token
        and any(map(_is_of_this_machine, gateway.trusted_proxies))
    ):
        why = "A proxy of this machine that adds no forwarding header makes strangers look local."
        do = "Set gateway.metrics_token; or `off`, or see that the proxy keeps `/metrics` to itself."
        yield Finding("gateway.metrics", WARN, "local, behind a proxy of this machine", why, do)
    for one in gateway.trusted_proxies:
        if believes_everybody(one):
            why = "Anybody can say that they are somebody else."
            do = "Name the addresses of your proxies only."
            yield Finding("gateway.trusted_proxies", WARN, f"{one} believes everybody", why, do)
    for key, source in sorted(sources.items()):
        if is_secret(key.rpartition(".")[2]) and source.startswith("hanse.toml"):
            why = "The file lies beside the code, and goes where the code goes."
            do = f"Set HANSE_{key.upper().replace('.', '__')}, or the same with _FILE and the name of a file."
            yield Finding(key, WARN, f"a secret in {source}", why, do)
    if settings.node.grace == 0:
        why = "Whatever is under way at a stop is cut off."
        yield Finding("node.grace", WARN, "0 s", why, "Give requests some seconds to end.")


def _is_of_this_machine(network: str) -> bool:
    try:
        return ip_network(network, strict=False).is_loopback
    except ValueError:
        return False


def believes_everybody(network: str) -> bool:
    """Whether a network is all there is; one that is none is refused by the settings.

    Example:
        >>> believes_everybody("0.0.0.0/0"), believes_everybody("10.0.0.0/8"), believes_everybody("proxy")
        (True, False, False)
    """
    try:
        return ip_network(network, strict=False).prefixlen == 0
    except ValueError:
        return False


def port_check(settings: Settings) -> Finding:
    """Whether the address can be listened on; an app of ours that does so already is no mistake."""
    from hanse.gateway.listen import bound

    host, port = settings.gateway.host, settings.gateway.port
    try:
        with bound(host, port):
            return Finding("port", OK, f"{host}:{port} is free" if port else "0: a free one is taken")
    except CouldNotStart as fault:
        if _is_ours(url_of(host, port)):
            says = f"a Hanse app answers at {url_of(host, port)}"
            return Finding("port", WARN, says, "One address serves one app.", "Stop it first, or take another --port.")
        return Finding("port", FAIL, str(fault), "The app could not start.", "`hanse explain could_not_start`")


def _is_ours(url: str) -> bool:
    from hanse.cli.remote import Remote
    from hanse.cli.running import document_of

    try:
        return bool(document_of(Remote(url, timeout=_NEAR_SECONDS_MAX)))
    except Fault:
        return False


def app_checks(wanted: str, folder: Path, settings: Settings) -> Iterator[Finding]:
    """Whether the app loads, fits together, can keep its rows, and what it shows."""
    from hanse.cli.target import load_app

    try:
        app = load_app(wanted, folder)
    except Fault as fault:
        yield Finding("app", FAIL, str(fault), "It does not start.", "`hanse dev` shows the lines.")
        return
    yield Finding("app", OK, f"{app.name}: {', '.join(part.name for part in app.parts)}")
    yield fit_check(app, settings)
    yield from store_checks(app, settings)
    yield from event_checks(app, settings)
    yield surface_check(app, settings)


def fit_check(app: App, settings: Settings) -> Finding:
    """Whether every contract has a provider, and every setting a service."""
    from hanse.gateway.gateway import Gateway
    from hanse.node.node import Node

    try:
        app.check()
        _ = (app.gateway or Gateway.everything(app.services)).asgi(Node(app, settings))
    except Fault as fault:
        return Finding("contracts", FAIL, str(fault), "The app does not fit together.", f"`hanse explain {fault.code}`")
    return Finding("contracts", OK, "all have providers")


def store_checks(app: App, settings: Settings) -> Iterator[Finding]:
    """For each store, whether it can be written and holds what this version reads; nothing is changed."""
    from hanse.node.schemas import StorePlan, plan_stores
    from hanse.node.stores import url_for

    plans: dict[str, StorePlan] = {}
    try:
        plans = {one.service: one for one in plan_stores(app, settings)}
    except Fault as fault:
        yield Finding("stores", FAIL, str(fault), "They could not be opened.", f"`hanse explain {fault.code}`")
    for part in app.parts:
        plan, url = plans.get(part.name), url_for(settings, part.name)
        if plan is None or not part.resources:
            continue
        title = f"store of {part.name}"
        yield (
            folder_check(title, url)
            if not plan.refused
            else Finding(
                title,
                FAIL,
                "; ".join(f"{one.collection}.{one.field}: {one.detail}" for one in plan.refused),
                "Rows that are stored could not be read by this version.",
                "`hanse store plan` tells all of it.",
            )
        )


def folder_check(title: str, url: str) -> Finding:
    """Whether a SQLite file can be where a URL says, and a server keeps what it is told."""
    if url == "memory:":
        why = "Rows are gone with the process."
        return Finding(title, WARN, "memory:", why, "Set node.store, such as sqlite:///data.")
    if not url.startswith("sqlite:"):
        return server_check(title, url)
    from hanse.store.sqlite.probe import journal_in
    from hanse.store.sqlite.url import parse_url

    file = Path(parse_url(url).path)
    folder = nearest_folder(file)
    try:
        mode = journal_in(folder)
    except OSError as error:
        do = "Choose another folder, or give it to who runs the app."
        return Finding(title, FAIL, f"{folder}: {error.strerror or error}", "Rows are kept there.", do)
    return journal_check(title, file, mode)


def server_check(title: str, url: str) -> Finding:
    """Whether the server of a store may lose what it has acknowledged."""
    from hanse.node.stores import doubt_in

    try:
        doubt = doubt_in(url)
    except Fault as fault:
        return Finding(title, FAIL, str(fault), "It could not be opened.", f"`hanse explain {fault.code}`")
    if not doubt:
        return Finding(title, OK, "not looked at")
    says, _, do = doubt.rpartition("; ")
    return Finding(title, WARN, says, "What was answered may be gone.", f"{do[:1].upper()}{do[1:]}.")


def journal_check(title: str, file: Path, mode: str) -> Finding:
    """Whether a file can be shared by readers and a writer, and be written.

    Example:
        >>> journal_check("store of orders", Path("/net/orders.db"), "delete").says
        '/net/orders.db has no WAL, only delete'
    """
    if mode != "wal":
        why = "Readers and writers wait for each other, and other processes may read what is half written."
        return Finding(title, FAIL, f"{file} has no WAL, only {mode}", why, "Use a disk of this machine.")
    if file.exists() and not os.access(file, os.W_OK):
        return Finding(title, FAIL, f"{file} cannot be written", "Rows are kept there.", "See who owns it.")
    return Finding(title, OK, f"{file}, in WAL")


def nearest_folder(file: Path) -> Path:
    """The folder of a file, or the next one above that is there."""
    return next(folder for folder in file.absolute().parents if folder.is_dir())


def surface_check(app: App, settings: Settings) -> Finding:
    """What the outside can ask for."""
    from hanse.gateway.gateway import Gateway

    gateway = app.gateway
    if gateway is None:
        why = "A file without a gateway is for trying things out."
        do = "App(..., gateway=Gateway().rpc(...)) says what others may see."
        return Finding("exposed", WARN, "no gateway: everything, to this machine only", why, do)
    if not isinstance(gateway, Gateway):
        return Finding("exposed", OK, "by a door of its own, which was not looked at")
    surface = gateway.surface
    writing = [one for one in surface if not one.startswith(("GET ", "QUERY ", "/"))]
    says = f"{len(surface)} paths, {len(writing)} that change something"
    if writing and not gateway.identifies and not is_loopback(settings.gateway.host):
        why = "Nobody is asked who they are, and the app listens to other machines."
        do = "Gateway(identify=...) says who is asking; guards say what they may."
        return Finding("exposed", WARN, says, why, do, _some(surface))
    return Finding("exposed", OK, says, more=_some(surface))


def _some(surface: Iterable[str]) -> list[str]:
    return list(surface)[:SURFACE_MAX]
