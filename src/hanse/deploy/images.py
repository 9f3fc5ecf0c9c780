"""What a container engine is asked about images and containers, by its own command: docker's, or podman's.

The command knows where the engine is (`DOCKER_HOST`, contexts) and how registries let people in, which a library
would have to be told once more.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress

import msgspec

from hanse.control.desired import Container, Desired
from hanse.control.images import image_for, name_for, problem_of, split
from hanse.deploy.sources import Source
from hanse.kernel.faults import CouldNotStart, Misconfigured

ENGINES = ("docker", "podman")
"""In the order in which they are looked for."""

SYSTEM = "hanse.system"
INSTANCE = "hanse.instance"
"""Labels of a container: whose it is, and as what it runs."""

ASK_SECONDS = 30.0
"""That an engine may take to answer."""

PULL_SECONDS_MAX = 300.0
"""That it may take to pull an image."""

TOLD_MAX = 300
"""Letters of what it says that are told on."""

_MISSING = ("no such image", "image not known", "failed to find image")
"""How engines say that an image is not on the machine."""


class Engine(msgspec.Struct, frozen=True):
    """A container engine, as its command is found on this machine.

    Attributes:
        path: Of the command.
    """

    path: str

    async def image(self, reference: str) -> str:
        """The image by what it consists of, whatever its tag will mean later; empty where this machine has it not.

        Raises:
            CouldNotStart: The engine does not answer.
        """
        told = "{{.Id}}{{range .RepoDigests}} {{.}}{{end}}"
        code, out, wrong = await self.asked("image", "inspect", "--format", told, reference)
        if code == 0:
            return _pinned(reference, out.split())
        if any(words in wrong.lower() for words in _MISSING):
            return ""
        raise CouldNotStart(f"{self.path} does not answer for its engine: {_last(wrong)}; see that it runs")

    async def held(self, reference: str) -> tuple[str, bool]:
        """The same, pulled where this machine has it not; and whether it was.

        Raises:
            CouldNotStart: The engine does not answer.
            Misconfigured: There is no such image.
        """
        if found := await self.image(reference):
            return found, False
        code, _, wrong = await self.asked("pull", "--quiet", reference, seconds=PULL_SECONDS_MAX)
        if code:
            raise Misconfigured(
                f"there is no image {reference} on this machine, and it cannot be pulled: {_last(wrong)}; "
                f"see its name, and that {self.path} may pull it"
            )
        return await self.image(reference), True

    async def sweep(self, system: str) -> int:
        """Take away what a system has left behind that ended with nobody to do so; how many containers that was.

        Raises:
            CouldNotStart: The engine does not answer.
        """
        code, out, wrong = await self.asked("ps", "--all", "--quiet", "--filter", f"label={SYSTEM}={system}")
        if code:
            raise CouldNotStart(f"{self.path} does not answer for its engine: {_last(wrong)}; see that it runs")
        if found := out.split():
            _ = await self.asked("rm", "--force", "--volumes", *found)
        return len(found)

    async def asked(self, *words: str, seconds: float = ASK_SECONDS) -> tuple[int, str, str]:
        """What the command comes to: its exit code, and all that it says.

        Raises:
            CouldNotStart: It cannot be run, or takes too long.
        """
        try:
            process = await asyncio.create_subprocess_exec(
                self.path,
                *words,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            raise CouldNotStart(f"{self.path} cannot be run: {error}") from None
        try:
            async with asyncio.timeout(seconds):
                out, wrong = await process.communicate()
        except TimeoutError:
            raise CouldNotStart(
                f"`{self.path} {words[0]}` was not over in {seconds:g} s; see that its engine runs"
            ) from None
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                _ = await process.wait()
        return process.returncode or 0, out.decode(errors="replace"), wrong.decode(errors="replace")


def engine_for(service: str, container: Container) -> Engine:
    """What runs a container.

    Raises:
        CouldNotStart: There is none on this machine.
    """
    names = (container.engine,) if container.engine else ENGINES
    for name in names:
        if path := shutil.which(name):
            return Engine(path)
    raise CouldNotStart(
        f"services.{service}.image: expected {' or '.join(names)} on this machine, found neither command; install one"
        if len(names) > 1
        else f"services.{service}.container: expected {names[0]} on this machine, found no such command; install it"
    )


async def prepared(desired: Mapping[str, Desired]) -> tuple[str, ...]:
    """See that the images of all services are here, before anything runs; what had to be pulled, in words.

    Raises:
        CouldNotStart: There is no container engine, or it does not answer.
        Misconfigured: An image is neither here nor can be pulled.
    """
    pulled: list[str] = []
    for one in desired.values():
        if one.container is None:
            continue
        try:
            _, was_pulled = await engine_for(one.service, one.container).held(one.container.image)
        except Misconfigured as fault:
            raise Misconfigured(f"services.{one.service}.image: {fault}") from None
        if was_pulled:
            pulled.append(f"{one.service}: pulled {one.container.image}")
    return tuple(pulled)


async def swept(desired: Iterable[Desired], system: str) -> int:
    """Take away containers of an earlier run of this system; how many there were.

    Raises:
        CouldNotStart: An engine does not answer.
    """
    engines = {engine_for(one.service, one.container) for one in desired if one.container is not None}
    return sum([await engine.sweep(system) for engine in engines])


async def image_source(wanted: str, service: Desired) -> Source:
    """The image that somebody means by a word, as it is now: a tag that moves later moves no release.

    Args:
        wanted: A tag or a digest of the service's own repository, or an image.
        service: Whose it is to be.

    Raises:
        CouldNotStart: The engine does not answer.
        Misconfigured: There is no such image.
    """
    container = service.container
    assert container is not None
    reference = image_for(wanted, container.image)
    if problem := problem_of(reference):
        raise Misconfigured(f"services.{service.service}: {problem}")
    pinned, _ = await engine_for(service.service, container).held(reference)
    return Source(name_for(reference, container.image), "image:" + pinned, image=pinned)


def _pinned(reference: str, told: list[str]) -> str:
    """What names an image for good: as a registry knows it, so that it can be pulled again, or as this machine does."""
    repository = split(reference)[0]
    known = (one for one in told[1:] if split(one)[0] == repository)
    return next(known, told[0] if told else reference)


def _last(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1][:TOLD_MAX] if lines else "it says nothing"
