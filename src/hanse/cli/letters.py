"""Dead letters as commands reach them: through a running node, or in the stores of an app that does not run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeVar

import msgspec

from hanse.cli.operator import operator_name
from hanse.cli.problem import Problem, problem_in
from hanse.cli.remote import Remote
from hanse.kernel.codec import codec_for, encode_json
from hanse.kernel.faults import Malformed, NotFound
from hanse.kernel.message import Headers, Identity
from hanse.kernel.settings import Settings
from hanse.node.app import App
from hanse.node.at_rest import asked_at_rest
from hanse.node.letters import letters_contract
from hanse.node.letters_served import LettersOf

T = TypeVar("T")

PATH = "/deadletterz"
NAMED_AS = "Hanse-Operator"


class Said(Exception):
    """A running system has said what is wrong.

    Attributes:
        problem: What.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem: Problem = problem


class Desk(Protocol):
    """Where dead letters are asked for."""

    def services(self) -> list[str]:
        """Names of all services."""
        ...

    def ask(self, service: str, operation: str, arguments: Mapping[str, object]) -> bytes:
        """The answer of an operation, in JSON."""
        ...


class Running:
    """Those of a running system.

    Args of the constructor:
        remote: Where it answers.
    """

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def services(self) -> list[str]:
        """See `Desk.services`."""
        return _read(self._post({}), list[str])

    def ask(self, service: str, operation: str, arguments: Mapping[str, object]) -> bytes:
        """See `Desk.ask`."""
        return self._post({"service": service, "operation": operation, "arguments": arguments})

    def _post(self, body: object) -> bytes:
        with self._remote.ask_directly(PATH, body=encode_json(body), headers={NAMED_AS: operator_name()}) as answer:
            problem = problem_in(answer)
            if problem is not None:
                raise Said(problem)
            return answer.body()


class Stopped:
    """Those in the stores of an app that does not run.

    Args of the constructor:
        app: The services.
        settings: Where their stores are.
    """

    def __init__(self, app: App, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    def services(self) -> list[str]:
        """See `Desk.services`."""
        return [part.name for part in self._app.parts]

    def ask(self, service: str, operation: str, arguments: Mapping[str, object]) -> bytes:
        """See `Desk.ask`."""
        return asyncio.run(self._ask(service, operation, arguments))

    async def _ask(self, service: str, operation: str, arguments: Mapping[str, object]) -> bytes:
        wanted = letters_contract(service).operations[operation].arguments
        given = codec_for(wanted).decode_json(encode_json(arguments))
        headers = Headers(identity=Identity(operator_name(), scopes=frozenset({"deadletters:write"})))

        async def call(letters: LettersOf) -> object:
            method: Callable[..., Awaitable[object]] = getattr(letters, operation)
            return await method(**msgspec.structs.asdict(given))

        return encode_json(await asked_at_rest(self._app, self._settings, service, call, headers))


def asked(desk: Desk, kind: type[T], service: str, operation: str, **arguments: object) -> T:
    """The answer of an operation.

    Raises:
        Said: A running system refuses.
        Fault: It cannot be had.
    """
    return _read(desk.ask(service, operation, arguments), kind)


def service_of(desk: Desk, id: str, operation: str = "get") -> str:
    """The service that has a dead letter, or an action on some.

    Raises:
        NotFound: None has.
    """
    for service in desk.services():
        try:
            _ = desk.ask(service, operation, {"id": id})
        except NotFound:
            continue
        except Said as said:
            if said.problem.code != "not_found":
                raise
            continue
        return service
    raise NotFound("dead letter" if operation == "get" else "action on dead letters", id)


def _read(answer: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(answer, type=kind)
    except msgspec.DecodeError as error:
        raise Malformed(f"expected what a Hanse gateway of this version says about dead letters: {error}") from None
