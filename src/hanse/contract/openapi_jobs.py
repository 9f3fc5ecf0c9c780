"""What an OpenAPI document tells of operations that are answered later."""

from __future__ import annotations

from typing import cast

from hanse.contract.openapi_parts import AT, answer_of, entry_of
from hanse.contract.schema import Json

JOB: Json = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "operation": {"type": "string"},
        "status": {"enum": ["waiting", "running", "cancelling", "done", "failed", "cancelled"]},
        "began": {"type": "number"},
        "ended": {"type": "number"},
        "progress": {"type": "number", "minimum": 0, "maximum": 1},
        "text": {"type": "string"},
        "answer": {"type": "object"},
    },
    "required": ["id", "operation", "status", "began"],
}

_LOCATION: Json = {"description": "Where its answer will be.", "schema": {"type": "string"}}
_PREFER: Json = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "description": "respond-async, with wait=seconds; handling=strict or lenient.",
    "schema": {"type": "string", "examples": ["respond-async", "respond-async, wait=5"]},
}


def job_path() -> Json:
    """The path at which a job is asked for, followed and cancelled."""
    missing: Json = {
        "description": "There is none, it is somebody else's, or it was forgotten.",
        "content": {"application/problem+json": {"schema": {"$ref": AT.format(name="Problem")}}},
    }
    standing = answer_of("How it stands; its answer, once there is one.", JOB)
    told: Json = {"schema": {"type": "string", "description": "The same, at each change, until it has ended."}}
    cast("Json", standing["content"])["text/event-stream"] = told
    same: Json = {"description": "It is as it was."}
    get = entry_of(
        "get_operation", "A call that is answered later.", "operations", {"200": standing, "304": same, "404": missing}
    )
    ended = answer_of("How it stands now: cancelled, unless it had ended.", JOB)
    cancel = entry_of("cancel_operation", "Have it end.", "operations", {"200": ended, "404": missing})
    identity: Json = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    return {"parameters": [identity], "get": get, "delete": cancel}


def with_job(entry: Json) -> None:
    """Have an operation tell that its answer may come later."""
    later = answer_of("It will be done; Location says where its answer will be (respond-async).", JOB)
    answers = cast("Json", entry["responses"])
    answers["202"] = {**later, "headers": {"Location": _LOCATION}}
    entry["parameters"] = [*cast("list[Json]", entry.get("parameters", [])), _PREFER]
