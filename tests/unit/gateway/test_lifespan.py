"""The lifespan protocol, with applications that do not keep to it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from hanse import CouldNotStart
from hanse.gateway.lifespan import answer_lifespan, lifespan_of

Value = Any


def saying(*answers: str, message: str = "", forever: bool = False) -> Callable[..., Value]:
    """An application that gives these answers, one to each event."""

    async def app(scope: Value, receive: Value, send: Value) -> None:
        for answer in answers:
            await receive()
            await send({"type": f"lifespan.{answer}", "message": message})
        if forever:
            await asyncio.Event().wait()

    return app


@pytest.mark.parametrize(
    ("app", "told"),
    [
        (saying(forever=True), "it did not start within 0.01 s"),
        (
            saying("startup.failed", message="Traceback\n  line\nOSError: no disk\n"),
            "it did not start: OSError: no disk",
        ),
        (saying("startup.failed"), "it did not start: it does not say why"),
    ],
)
async def test_what_does_not_start_is_told(app: Value, told: str) -> None:
    with pytest.raises(CouldNotStart, match=told):
        async with lifespan_of(app, "it", {}, seconds=0.01):
            raise AssertionError


@pytest.mark.parametrize(
    ("app", "logged"),
    [
        (saying("startup.complete", forever=True), "it did not stop within 0.01 s"),
        (
            saying("startup.complete", "shutdown.failed", message="OSError: full"),
            "it did not stop in order: OSError: full",
        ),
        (saying("startup.complete", "shutdown.complete"), ""),
        (saying("startup.complete"), "it did not stop in order"),
        (saying(), ""),
    ],
)
async def test_what_does_not_stop_is_logged(app: Value, logged: str, caplog: pytest.LogCaptureFixture) -> None:
    async with lifespan_of(app, "it", {}, seconds=0.01):
        pass

    assert logged in caplog.text
    assert bool(logged) == bool(caplog.text)


async def test_a_body_that_fails_still_ends_the_lifespan() -> None:
    told: list[str] = []

    async def app(scope: Value, receive: Value, send: Value) -> None:
        for kind in ("startup", "shutdown"):
            told.append((await receive())["type"])
            await send({"type": f"lifespan.{kind}.complete"})

    with pytest.raises(KeyError):
        async with lifespan_of(app, "it", {}):
            raise KeyError

    assert told == ["lifespan.startup", "lifespan.shutdown"]


@pytest.mark.parametrize("failing", ["", "start", "stop"])
async def test_a_server_is_told_how_it_went(failing: str) -> None:
    @asynccontextmanager
    async def life() -> AsyncIterator[None]:
        if failing == "start":
            raise OSError("no disk")
        yield
        if failing == "stop":
            raise OSError("full")

    told: list[Value] = []

    async def receive() -> Value:
        return {}

    async def send(event: Value) -> None:
        told.append(tuple(event.values()))

    await answer_lifespan(receive, send, life())
    expected: dict[str, list[Value]] = {
        "": [("lifespan.startup.complete",), ("lifespan.shutdown.complete",)],
        "start": [("lifespan.startup.failed", "no disk")],
        "stop": [("lifespan.startup.complete",), ("lifespan.shutdown.failed", "full")],
    }
    assert told == expected[failing]
