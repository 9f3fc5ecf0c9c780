"""Containers as the keeper starts them: what each is called, labelled, told and handed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import final

import msgspec
from msgspec.structs import replace

from hanse.control.desired import Desired, Launch
from hanse.deploy.contained import HANDED, Box, contained
from hanse.deploy.home import Home
from hanse.deploy.images import engine_for
from hanse.deploy.project import OWN
from hanse.kernel.host import Host

ANYWHERE = "0.0.0.0"  # noqa: S104 - in a network of its own, where only its own port is published
"""Where a program listens that is alone in its network."""

SYSTEM_LETTERS = 12
"""Of what a system is called, in the names of its containers."""

_URL, _PROXIES = "HANSE_URL_", ("HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy")


@final
class Boxes:
    """See the module.

    Args of the constructor:
        home: Of the system.
        host: Its ids.
    """

    def __init__(self, home: Home, host: Host) -> None:
        self._home = home
        self._host = host

    def launch(self, launch: Launch, wanted: Desired, process: str, port: int, given: Mapping[str, str]) -> Launch:
        """What starts an instance in a container.

        Args:
            launch: What would start it on the machine.
            wanted: What it is an instance of.
            process: What it is called.
            port: Of the machine, which leads to it.
            given: Variables that all processes of the machine get.

        Raises:
            CouldNotStart: There is no container engine.
        """
        container = wanted.container
        assert container is not None
        system = self._home.system(self._host)
        box = Box(
            engine=engine_for(wanted.service, container).path,
            name=f"hanse-{system[-SYSTEM_LETTERS:]}-{process}",
            image=container.image,
            system=system,
            instance=process.rpartition(".")[0],
            listen=port,
            inner=wanted.inner,
            labels={"hanse.service": wanted.service, "hanse.release": wanted.release, "hanse.folder": self._folder},
            arguments=container.arguments,
        )
        variables = handed(launch.environment, wanted, given)
        # Which engine is meant is said where images are asked for: by the machine, and not by `.env`.
        machine = {name: text for name, text in os.environ.items() if name not in OWN}
        environment = {**machine, HANDED: msgspec.json.encode(variables).decode()}
        return replace(launch, arguments=contained(launch.arguments, box), environment=environment)

    @property
    def _folder(self) -> str:
        return str(self._home.project)


def handed(environment: Mapping[str, str], wanted: Desired, given: Mapping[str, str]) -> dict[str, str]:
    """The variables of a container: what is said of it, and nothing that is so of the machine.

    Args:
        environment: What a process of the machine would get.
        wanted: What it is an instance of.
        given: What all of these get.

    Example:
        >>> from hanse.control.desired import Command, Container
        >>> web = Desired("web", Command(()), inner=8000, container=Container("web:2", handed=("KEY",)))
        >>> given = {"PATH": "/bin", "KEY": "secret"}
        >>> handed({**given, "PORT": "8000", "HANSE_URL_DB": "http://127.0.0.1:20001"}, web, given)
        {'KEY': 'secret', 'PORT': '8000'}
    """
    container = wanted.container
    assert container is not None
    said = {name for name, text in environment.items() if given.get(name) != text}
    if wanted.inner:
        # What is at the loopback of the machine is not at its own.
        said = {name for name in said if not name.startswith(_URL) and name not in _PROXIES}
    return {name: text for name, text in environment.items() if name in said or name in container.handed}
