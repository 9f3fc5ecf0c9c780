"""Events as the outside knows them: CloudEvents 1.0.2 in JSON. Pure.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast

import msgspec

from hanse.contract.cloud_events import SPEC_VERSION
from hanse.contract.model import Event, topic_of
from hanse.kernel.codec import codec_for, encode_json
from hanse.kernel.faults import Flaw, Invalid
from hanse.service.rows import Line

KEY_CHARACTERS_MAX = 255
"""Of an id and its source together, which are kept."""

JSON_TYPES = frozenset({"", "application/json"})


class CloudEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event in its envelope; extensions are beside the attributes, in lower case."""

    id: str
    source: str
    type: str
    data: msgspec.Raw
    sequence: str
    time: str = ""
    traceparent: str = ""
    correlationid: str = ""
    causationid: str = ""
    datacontenttype: str = msgspec.field(default_factory=lambda: "application/json")
    specversion: str = msgspec.field(default_factory=lambda: SPEC_VERSION)


class Came(msgspec.Struct, frozen=True):
    """An event from outside: its value as JSON, and the key under which a repeat is known; empty for none."""

    value: bytes
    key: str = ""


class _Envelope(msgspec.Struct, frozen=True):
    specversion: str
    id: str
    source: str
    type: str
    data: msgspec.Raw = msgspec.Raw()
    datacontenttype: str = ""


_envelope = codec_for(_Envelope)


def moment(at: float) -> str:
    """A wall-clock second as RFC 3339 has it.

    Example:
        >>> moment(0.5)
        '1970-01-01T00:00:00.500000Z'
    """
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def cloud_event(line: Line, type: str, source: str) -> bytes:  # noqa: A002 - as CloudEvents has it
    """An event of a feed in its envelope, as JSON."""
    headers = line.headers
    return encode_json(
        CloudEvent(
            id=line.id,
            source=source,
            type=type,
            data=msgspec.Raw(line.value),
            sequence=str(line.rev),
            time=moment(line.at),
            traceparent=headers.traceparent,
            correlationid=headers.correlation_id,
            causationid=headers.causation_id,
        )
    )


def plain(body: bytes, kind: type[Event]) -> Came:
    """An event that came as mere JSON.

    Raises:
        Invalid, Malformed: It is not of its kind.
    """
    return Came(_checked(body, kind))


def structured(body: bytes, kind: type[Event], type: str) -> Came:  # noqa: A002 - as CloudEvents has it
    """An event that came in its envelope.

    Args:
        body: The envelope in JSON.
        kind: What it has to be.
        type: What the envelope has to say that it is; the bare topic will do.

    Raises:
        Invalid, Malformed: It is no CloudEvent, or none of this kind.
    """
    came = _envelope.decode_json(body)
    flaws: list[Flaw] = []
    if came.specversion != SPEC_VERSION:
        flaws.append(Flaw("/specversion", "invalid", f"expected {SPEC_VERSION}, got {came.specversion[:20]!r}"))
    if came.type not in {type, topic_of(kind)}:
        flaws.append(Flaw("/type", "invalid", f"expected {type}, got {came.type[:100]!r}"))
    if came.datacontenttype.partition(";")[0].strip().lower() not in JSON_TYPES:
        said = f"expected application/json, got {came.datacontenttype[:100]!r}"
        flaws.append(Flaw("/datacontenttype", "invalid", said))
    flaws += [Flaw(f"/{name}", "invalid", "expected some text") for name in ("id", "source") if not getattr(came, name)]
    if len(came.id) + len(came.source) > KEY_CHARACTERS_MAX:
        flaws.append(Flaw("/id", "too_long", f"expected at most {KEY_CHARACTERS_MAX} characters with the source"))
    if not bytes(came.data):
        flaws.append(Flaw("/data", "missing", "expected the event as JSON; data_base64 is not taken"))
    if flaws:
        raise Invalid(f"{flaws[0].pointer}: {flaws[0].detail}", flaws)
    try:
        value = _checked(bytes(came.data), kind)
    except Invalid as fault:
        inner = [msgspec.structs.replace(flaw, pointer=f"/data{flaw.pointer}") for flaw in fault.errors]
        raise Invalid(f"/data: {fault.detail}", inner) from None
    return Came(value, f"{came.source} {came.id}")


def _checked(body: bytes, kind: type[Event]) -> bytes:
    """The event as the service itself would tell it: with its defaults, without what it does not know."""
    return encode_json(codec_for(cast("type[object]", kind)).decode_json(body))
