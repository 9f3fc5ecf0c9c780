"""The lifespan protocol of ASGI, from both sides: driving an application's, and answering a server's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import cast

from hanse.gateway.asgi import Application, Event, Receive, Scope, Send
from hanse.kernel.faults import CouldNotStart, Fault
from hanse.kernel.tasks import Tasks

LIFESPAN_SECONDS = 60.0
"""How long an application may take to start, and to stop."""

_log = logging.getLogger("hanse.gateway")
_ENDED = "ended"


@asynccontextmanager
async def lifespan_of(
    app: Application, where: str, state: dict[str, object], *, seconds: float = LIFESPAN_SECONDS
) -> AsyncGenerator[None]:
    """Have an application started while this is entered; one that does not know lifespans is left alone.

    Args:
        app: The application.
        where: What errors call it, such as "the application at /old".
        state: What it finds in its lifespan's state, and may add to; its requests are given a copy.
        seconds: How long it may take to start, and to stop.

    Raises:
        CouldNotStart: It says that it cannot start, or does not say anything in time.
    """
    async with Tasks(_failed) as tasks:
        talk = _Talk(app, state, seconds)
        _ = tasks.start(talk.run(), name=f"lifespan of {where}")
        await _start(talk, where)
        try:
            yield
        finally:
            await _stop(talk, where)


async def answer_lifespan(receive: Receive, send: Send, life: AbstractAsyncContextManager[object]) -> None:
    """Answer a server that starts and stops this application.

    Args:
        receive: The ASGI callable.
        send: The ASGI callable.
        life: Entered at the start, left at the stop.
    """
    async with AsyncExitStack() as stack:
        _ = await receive()
        try:
            _ = await stack.enter_async_context(life)
        except Exception as error:  # noqa: BLE001 - whatever it is, the server is told
            _report("could not start", error)
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        _ = await receive()
        try:
            await stack.aclose()
        except Exception as error:  # noqa: BLE001 - as above
            _report("did not stop in order", error)
            await send({"type": "lifespan.shutdown.failed", "message": str(error)})
            return
        await send({"type": "lifespan.shutdown.complete"})


class _Talk:
    """A conversation with one application."""

    def __init__(self, app: Application, state: dict[str, object], seconds: float) -> None:
        self._app = app
        self.seconds: float = seconds
        self._scope: Scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": state}
        self._said: asyncio.Queue[Event] = asyncio.Queue()
        self._heard: asyncio.Queue[Event] = asyncio.Queue()
        self.knows: bool = False

    async def run(self) -> None:
        try:
            await self._app(self._scope, self._said.get, self._heard.put)
        except Exception:  # noqa: BLE001 - so says an application that it does not know lifespans
            _log.debug("a lifespan ended with an error", exc_info=True)
        finally:
            self._heard.put_nowait({"type": _ENDED})

    async def ask(self, what: str) -> Event:
        """What it answers; `_ENDED` where it has nothing to say."""
        self._said.put_nowait({"type": what})
        async with asyncio.timeout(self.seconds):
            return await self._heard.get()


async def _start(talk: _Talk, where: str) -> None:
    try:
        answer = await talk.ask("lifespan.startup")
    except TimeoutError:
        raise CouldNotStart(f"{where} did not start within {talk.seconds:g} s") from None
    if answer["type"] == "lifespan.startup.failed":
        if "\n" in (told := cast("str", answer.get("message", "")).strip()):
            _log.error("%s did not start:\n%s", where, told)
        raise CouldNotStart(f"{where} did not start: {_last_line(answer)}")
    talk.knows = answer["type"] == "lifespan.startup.complete"


async def _stop(talk: _Talk, where: str) -> None:
    if not talk.knows:
        return
    try:
        answer = await talk.ask("lifespan.shutdown")
    except TimeoutError:
        _log.warning("%s did not stop within %g s", where, talk.seconds)
        return
    if answer["type"] != "lifespan.shutdown.complete":
        _log.error("%s did not stop in order: %s", where, _last_line(answer))


def _report(what: str, error: Exception) -> None:
    """A fault says all in its text, which the server is told; of anything else the log has where it was."""
    if not isinstance(error, Fault):
        _log.error(what, exc_info=error)


def _last_line(answer: Event) -> str:
    """Starlette tells a whole traceback; what went wrong is in its last line."""
    lines = cast("str", answer.get("message", "")).strip().splitlines()
    return lines[-1] if lines else "it does not say why"


def _failed(error: BaseException) -> None:
    _log.error("a lifespan failed", exc_info=error)
