"""A verdict in the forms that others ask for, so that they keep their rollouts and get a judge.

- Argo Rollouts asks a URL (`provider.web`), takes a value out of the JSON by `jsonPath`, and compares it with
  `successCondition` and `failureCondition`; what is neither is inconclusive, and too many of these pause the rollout.
- Flagger posts to webhooks and looks at nothing but the status: up to 202 is yes, all else is no. What no means depends
  on the hook: before more traffic, or before the end, it waits; during the analysis it is a failed check, and too many
  of these roll back; and for `rollback`, yes rolls back at once.
"""

from __future__ import annotations

from math import ceil
from typing import Literal

import msgspec

from hanse.control.rollout import Ruling
from hanse.control.verdict import Verdict

OK, NO = 200, 412

Hook = Literal["rollout", "confirm-traffic-increase", "confirm-promotion", "rollback"]
"""Webhooks of Flagger that a judge can answer."""

_YES: dict[Hook, frozenset[Ruling]] = {
    "rollout": frozenset({"go_on", "wait", "hold"}),
    "confirm-traffic-increase": frozenset({"go_on"}),
    "confirm-promotion": frozenset({"go_on"}),
    "rollback": frozenset({"roll_back"}),
}


class FlaggerAnswer(msgspec.Struct, frozen=True):
    """What Flagger's webhook is answered.

    Attributes:
        status: Of HTTP.
        body: Of it, which Flagger shows as the reason where the status is no.
    """

    status: int
    body: str


def verdict_for_argo(verdict: Verdict) -> bytes:
    """A verdict as Argo Rollouts' web metric asks for it: with `jsonPath: "{$.verdict}"`.

    Args:
        verdict: To be told.

    Returns:
        JSON: `verdict` is `go_on`, `wait`, `hold` or `roll_back`; beside it the reason and all the evidence.

    Example:
        >>> told = Verdict(decision="go_on", reason="no worse", at=60.0, step_seconds=60.0, step_requests=900)
        >>> verdict_for_argo(told)[:42]
        b'{"verdict":"go_on","reason":"no worse","at'
    """
    told = {"verdict": verdict.decision} | {
        name: getattr(verdict, name) for name in verdict.__struct_fields__ if name != "decision"
    }
    return msgspec.json.encode(told)


def argo_metric(url: str, *, interval_seconds: int = 5, deadline_seconds: float = 900.0) -> dict[str, object]:
    """The metric of an AnalysisTemplate that asks for it, for an analysis within a step.

    Until the judge knows, its answer is inconclusive; where that lasts until the deadline, the rollout is paused, as it
    is when the judge holds.

    Args:
        url: Where the verdict is told.
        interval_seconds: How often it is asked for.
        deadline_seconds: That of the judge's terms.

    Example:
        >>> argo_metric("http://hanse/rollouts/1/verdict")["inconclusiveLimit"]
        180
    """
    return {
        "name": "hanse",
        "interval": f"{interval_seconds}s",
        "successCondition": 'result == "go_on"',
        "failureCondition": 'result == "roll_back"',
        "failureLimit": 0,
        "consecutiveSuccessLimit": 1,
        "inconclusiveLimit": ceil(deadline_seconds / interval_seconds),
        "provider": {"web": {"url": url, "jsonPath": "{$.verdict}"}},
    }


def verdict_for_flagger(verdict: Verdict, hook: Hook) -> FlaggerAnswer:
    """A verdict as one of Flagger's webhooks is answered it.

    To wait is no failed check: else a release with little traffic would be rolled back for it.

    Args:
        verdict: To be told.
        hook: The `type` of the webhook.

    Example:
        >>> told = Verdict(decision="wait", reason="5 of 120 s", at=5.0, step_seconds=5.0, step_requests=90)
        >>> verdict_for_flagger(told, "confirm-traffic-increase")
        FlaggerAnswer(status=412, body='wait: 5 of 120 s')
        >>> verdict_for_flagger(told, "rollout").status
        200
    """
    status = OK if verdict.decision in _YES[hook] else NO
    return FlaggerAnswer(status, f"{verdict.decision.replace('_', ' ')}: {verdict.reason}")
