"""What other tools and other languages see of our services: NATS service discovery (ADR-32), and calls with JSON.

`nats micro list` and its like ask at `$SRV.PING`, `$SRV.INFO` and `$SRV.STATS`, of all, of a name, or of one instance.
Each operation that answers once is an endpoint at `hanse.<app>.json.<service>.<operation>`, with its schemas.
See https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-32.md.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import final

import msgspec

from hanse.kernel.faults import Fault
from hanse.kernel.host import Host
from hanse.kernel.message import NO_HEADERS, Headers, Kind, Message
from hanse.kernel.traceparent import parse_traceparent
from hanse.transport.base import Receiver
from hanse.transport.brokered.served import Served, Work
from hanse.transport.described import DescribedOperation, DescribedService, Refused
from hanse.transport.nats.connection import Connection, Subscription
from hanse.transport.nats.names import GROUP, Names

CALL_SECONDS = 10.0
"""For which a call of others is worked on; they do not say how long they wait."""

HEADERS_MAX = 100
"""Lines of headers that are looked at in a request of others."""

_VERBS = ("PING", "INFO", "STATS")
_NAME = re.compile(r"[a-zA-Z0-9_-]+")
_VERSION = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))?(\.(0|[1-9]\d*))?([-+][0-9A-Za-z.+-]+)?")
_FAULT = Kind.FAULT
_encode = msgspec.json.Encoder().encode


class _Endpoint(msgspec.Struct):
    """An operation, and what others asked of it.

    Attributes:
        subject: Where it is called.
        seconds: That were worked on it.
    """

    operation: DescribedOperation
    subject: bytes
    requests: int = 0
    errors: int = 0
    last_error: str = ""
    seconds: float = 0.0

    def info(self, *, schemas: bool) -> dict[str, object]:
        told = {"description": self.operation.doc}
        if schemas:
            told["request_schema"] = _encode(self.operation.arguments).decode()
            told["response_schema"] = _encode(self.operation.result).decode()
        return {**self._identity(), "metadata": told}

    def stats(self) -> dict[str, object]:
        nanoseconds = int(self.seconds * 1e9)
        return {
            **self._identity(),
            "num_requests": self.requests,
            "num_errors": self.errors,
            "last_error": self.last_error,
            "processing_time": nanoseconds,
            "average_processing_time": nanoseconds // max(1, self.requests),
            "data": {},
        }

    def _identity(self) -> dict[str, object]:
        return {"name": self.operation.name, "subject": self.subject.decode(), "queue_group": GROUP.decode()}


@final
class Services:
    """Answers others."""

    def __init__(self, connection: Connection, names: Names, host: Host, served: Served) -> None:
        """Tell of nothing yet.

        Args:
            connection: What is asked and answered goes through it.
            names: The app, and this node.
            host: Its clocks.
            served: Owns the work on what others call.
        """
        self._connection = connection
        self._names = names
        self._host = host
        self._served = served
        self._described: dict[str, DescribedService] = {}
        self._endpoints: dict[str, list[_Endpoint]] = {}
        self._subscriptions: dict[str, list[Subscription]] = {}
        self._started = ""

    def describe(self, service: DescribedService) -> None:
        """See `TellsOthers.describe`."""
        self._described[service.name] = service
        if service.name in self._served.receivers:
            self.listen(service.name)

    def listen(self, name: str) -> None:
        """A service is served from now on; nothing if it was not described, or others could not name it."""
        service = self._described.get(name)
        if service is None or name in self._subscriptions or _NAME.fullmatch(name) is None:
            return
        # As others read it: with a fraction, and Z for UTC.
        self._started = self._started or datetime.fromtimestamp(self._host.now(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        endpoints = [_Endpoint(one, self._names.json(name, one.name)) for one in service.operations]
        self._endpoints[name] = endpoints
        listened = [self._call(service, endpoint) for endpoint in endpoints]
        for verb in _VERBS:
            subjects = (f"$SRV.{verb}", f"$SRV.{verb}.{name}", f"$SRV.{verb}.{name}.{self._names.node.decode()}")
            listened += [self._answer(verb, service, subject.encode()) for subject in subjects]
        self._subscriptions[name] = listened

    def leave(self, name: str) -> None:
        """It is served no more."""
        for subscription in self._subscriptions.pop(name, []):
            self._connection.unsubscribe(subscription)
        self._endpoints.pop(name, None)

    def _answer(self, verb: str, service: DescribedService, subject: bytes) -> Subscription:
        def take(subject: bytes, reply: bytes, payload: bytes, headers: bytes) -> None:
            del subject, payload, headers
            if reply:
                _ = self._connection.publish(reply, b"", self._told(verb, service))

        return self._connection.subscribe(subject, take)

    def _told(self, verb: str, service: DescribedService) -> bytes:
        told: dict[str, object] = {
            "type": f"io.nats.micro.v1.{verb.lower()}_response",
            "name": service.name,
            "id": self._names.node.decode(),
            "version": _semantic(service.version),
            "metadata": {"app": self._names.app, "contract": service.version, "fingerprint": service.fingerprint},
        }
        endpoints = self._endpoints.get(service.name, [])
        if verb == "STATS":
            return _encode({**told, "started": self._started, "endpoints": [one.stats() for one in endpoints]})
        if verb == "PING":
            return _encode(told)
        told["description"] = service.doc
        whole = _encode({**told, "endpoints": [one.info(schemas=True) for one in endpoints]})
        if len(whole) <= self._connection.body_bytes_max:
            return whole
        return _encode({**told, "endpoints": [one.info(schemas=False) for one in endpoints]})

    # Calls.

    def _call(self, service: DescribedService, endpoint: _Endpoint) -> Subscription:
        def take(subject: bytes, reply: bytes, payload: bytes, headers: bytes) -> None:
            del subject
            receiver = self._served.receivers.get(service.name)
            if receiver is None or not reply or self._served.refusal(reply) is not None:
                self._say(reply, Refused(503, "this instance takes no more calls", b"null"))
            else:
                run = self._serve(receiver, service.name, endpoint, (reply, payload, headers))
                self._served.start(reply, Work(), run)

        return self._connection.subscribe(endpoint.subject, take, GROUP)

    async def _serve(
        self, receiver: Receiver, service: str, endpoint: _Endpoint, asked: tuple[bytes, bytes, bytes]
    ) -> None:
        reply, payload, headers = asked
        began = self._host.monotonic()
        try:
            told = await self._answered(receiver, service, endpoint.operation, (payload, headers))
        finally:
            self._served.ended(reply)
        endpoint.requests += 1
        endpoint.seconds += self._host.monotonic() - began
        if isinstance(told, Refused):
            endpoint.errors += 1
            endpoint.last_error = f"{told.status}:{told.text}"
        self._say(reply, told)

    async def _answered(
        self, receiver: Receiver, service: str, operation: DescribedOperation, asked: tuple[bytes, bytes]
    ) -> bytes | Refused:
        payload, headers = asked
        try:
            body = operation.body_of(payload or b"{}")
            address = f"{service}.{operation.name}"
            message = Message(Kind.CALL, self._host.new_id(), address, CALL_SECONDS, _headers(headers), body)
            answer = await receiver.serve(message)
            if answer.kind is _FAULT:
                return operation.refused(answer)
            told = operation.json_of(answer.body)
        except Fault as fault:
            return Refused(fault.status, fault.detail, _encode({"code": fault.code, "detail": fault.detail}))
        if len(told) > self._connection.body_bytes_max:
            return Refused(413, f"the answer is over {self._connection.body_bytes_max} bytes", b"null")
        return told

    def _say(self, reply: bytes, what: bytes | Refused) -> None:
        if not reply:
            return
        if isinstance(what, bytes):
            _ = self._connection.publish(reply, b"", what)
            return
        # One line of printable ASCII: what a service says must not become a header.
        text = " ".join(what.text.split()).encode("ascii", "replace").decode()
        head = f"NATS/1.0\r\nNats-Service-Error-Code: {what.status}\r\nNats-Service-Error: {text}\r\n\r\n".encode()
        _ = self._connection.publish_with_headers(reply, head, what.problem)


def _semantic(version: str) -> str:
    """A version as others want it: of three numbers.

    Example:
        >>> _semantic("1"), _semantic("2.1-beta"), _semantic("spring")
        ('1.0.0', '2.1.0-beta', '0.0.0')
    """
    found = _VERSION.fullmatch(version)
    if found is None:
        return "0.0.0"
    return f"{found[1]}.{found[3] or 0}.{found[5] or 0}{found[6] or ''}"


def _headers(lines: bytes) -> Headers:
    """What a request of others carries on: its trace."""
    found: dict[str, str] = {}
    for line in lines.split(b"\r\n")[1 : HEADERS_MAX + 1]:
        name, _, value = line.partition(b":")
        found[name.decode(errors="replace").lower()] = value.strip().decode(errors="replace")
    traceparent = found.get("traceparent", "")
    if parse_traceparent(traceparent) is None:
        return NO_HEADERS
    return Headers(traceparent=traceparent, tracestate=found.get("tracestate", ""))
