"""Only what contracts allow is on the wire.

The body of every call, answer and item, and each event, is checked against the JSON Schema that its contract publishes,
by a validator that knows nothing of the types behind; and every fault against what the operation lists. Where versions
of an app meet, a body is right if it is so for one of the two that talk to each other.

The story may call with what no contract allows, to see it refused: then it has to be.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import msgspec

from hanse.kernel.message import CALL, EVENT, FAULT, ITEM, REPLY, SEND, STREAM, Message
from hanse.node.app import App
from hanse.sim.check import Observer
from hanse.sim.observe.scene import Scene
from hanse.sim.observe.shapes import Shape, events_of, framework_faults, shapes_of
from hanse.sim.observe.validator import Check, validator

REFUSED_MAX = 10_000
"""Wrong calls whose answers are waited for."""

RIGHT_MAX = 10_000
"""Messages that are known to be right, at most: one that says the same again is not looked at."""

_decode = msgspec.msgpack.Decoder().decode
_json = msgspec.json.Decoder().decode
_ASKS = (CALL, SEND, STREAM)
_TELLS = (REPLY, ITEM)

_fault = validator(
    {
        "type": "object",
        "properties": {
            "code": {"type": "string", "minLength": 1},
            "text": {"type": "string"},
            "values": {"type": "object"},
            "retryable": {"type": "boolean"},
            "origin": {"type": "string"},
        },
        "required": ["code", "text"],
    },
    {},
)


Said = tuple[Callable[[Shape], Check] | None, str, App, App, bytes]
"""What of an operation's shape a body is to be like (None for events), its address, the two versions, and the body."""


class Contracts(Observer):
    """Finds what no contract allows."""

    name: str = "contracts"

    def __init__(self, scene: Scene) -> None:
        """Look on from the first message."""
        self._scene = scene
        self._faults = framework_faults()
        self._wrong: dict[str, str] = {}
        self._right: set[Said] = set()

    def said(self, source: str, target: str, message: Message, asked: Message | None) -> None:
        """A message leaves; see the module for what it has to be like."""
        if asked is None:
            if message.kind is EVENT:
                self._event(source, target, message)
            elif message.kind in _ASKS:
                self._ask(source, target, message)
            return
        if message.id != asked.id:
            self._violate(f"{source} answers {asked.address} {asked.id} under the id {message.id}")
        if asked.kind is EVENT:
            return
        if message.kind in _TELLS:
            self._tell(source, target, message, asked)
        elif message.kind is FAULT:
            self._refuse(source, message, asked)

    def _ask(self, source: str, target: str, message: Message) -> None:
        problem = self._problem(target, source, message.address, _arguments, message.body)
        if problem is None:
            return
        if source in self._scene.machines:
            self._violate(
                f"{source} calls {message.address} {message.id} with what its contract does not allow{problem}"
            )
        elif len(self._wrong) < REFUSED_MAX:
            self._wrong[message.id] = problem

    def _tell(self, source: str, target: str, message: Message, asked: Message) -> None:
        wrong = self._wrong.get(asked.id)
        if wrong is not None:
            self._violate(
                f"{source} has served {asked.address} {asked.id}, with arguments that it has to refuse{wrong}"
            )
        problem = self._problem(source, target, asked.address, _result, message.body)
        if problem is not None:
            self._violate(f"{source} answers {asked.address} {asked.id} with what its contract does not allow{problem}")

    def _refuse(self, source: str, message: Message, asked: Message) -> None:
        """A fault: well formed, and one that the caller may expect."""
        told = _decode(message.body)
        problem = _fault(told)
        if problem is not None:
            self._violate(f"{source} refuses {asked.address} {asked.id} with no fault that anybody could read{problem}")
            return
        code = str(cast("dict[str, object]", told)["code"])
        if code != message.headers.type:
            self._violate(
                f"{source} refuses {asked.address} {asked.id} with {code}, and counts it as {message.headers.type}"
            )
        shape = shapes_of(self._app(source)).get(asked.address)
        if shape is not None and shape.faults and code not in shape.faults and code not in self._faults:
            listed = ", ".join(sorted(shape.faults))
            self._violate(
                f"{source} refuses {asked.address} {asked.id} with {code}, and its contract lists {listed} only; "
                f"add it to its faults"
            )

    def _event(self, source: str, target: str, message: Message) -> None:
        said: Said = (None, "", self._app(source), self._app(target), message.body)
        if said in self._right:
            return
        entry = cast("dict[str, object]", _decode(message.body))
        if entry.get("op") != "emitted":
            return
        topic, value = str(entry["name"]), _json(cast("bytes", entry["after"]))
        problem = self._first(source, target, lambda app: events_of(app).get(topic), value)
        if problem is None:
            self._remember(said)
        else:
            self._violate(f"{source} tells of the event {topic} {message.id}, which is not like it should be{problem}")

    def _problem(
        self, server: str, client: str, address: str, which: Callable[[Shape], Check], body: bytes
    ) -> str | None:
        said: Said = (which, address, self._app(server), self._app(client), body)
        if said in self._right:
            return None
        problem = self._first(server, client, lambda app: _at(app, address, which), _decode(body))
        if problem is None:
            self._remember(said)
        return problem

    def _remember(self, said: Said) -> None:
        """The same bytes at the same place are right again."""
        if len(self._right) >= RIGHT_MAX:
            self._right.clear()
        self._right.add(said)

    def _first(self, one: str, other: str, check_of: Callable[[App], Check | None], value: object) -> str | None:
        """What is wrong with a value for both of two machines; None where it is right for one, or nobody can tell."""
        check = check_of(self._app(one))
        problem = None if check is None else check(value)
        if problem is None or self._app(one) is self._app(other):
            return problem
        check = check_of(self._app(other))
        return None if check is None or check(value) is None else problem

    def _app(self, machine: str) -> App:
        """The version that a machine runs; the story speaks that which the world began with."""
        found = self._scene.machines.get(machine)
        return self._scene.app if found is None else found.app

    def _violate(self, detail: str) -> None:
        self._scene.violate(self.name, detail)


def _at(app: App, address: str, which: Callable[[Shape], Check]) -> Check | None:
    shape = shapes_of(app).get(address)
    return None if shape is None else which(shape)


def _arguments(shape: Shape) -> Check:
    return shape.arguments


def _result(shape: Shape) -> Check:
    return shape.result
