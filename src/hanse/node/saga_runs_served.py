"""Serves the sagas of a hosted service: shows them, and has them go on or turn back; see `saga_runs`."""

from __future__ import annotations

from hanse.delivery.saga_rows import SagaRow, SagaStep
from hanse.kernel.codec import codec_for
from hanse.kernel.context import current
from hanse.kernel.message import Headers
from hanse.node.saga_runs import STEPS_SHOWN_MAX, SagaLine, SagaPage, SagaSelection, SagaShown, SagaStepLine
from hanse.node.stored_sagas import StoredSagas

_headers = codec_for(Headers)


class SagaRunsOf:
    """Serves the sagas of one store.

    Args of the constructor:
        stored: The sagas.
    """

    def __init__(self, stored: StoredSagas) -> None:
        self._stored = stored

    async def find(self, which: SagaSelection, *, limit: int = 50, cursor: str | None = None) -> SagaPage:
        """See `SagaRuns.find`."""
        rows, following = await self._stored.page(which.where(), limit=limit, cursor=cursor)
        return SagaPage(items=[line_of(row) for row in rows], next=following)

    async def count(self, which: SagaSelection) -> int:
        """See `SagaRuns.count`."""
        return await self._stored.count(which.where())

    async def get(self, id: str) -> SagaShown:
        """See `SagaRuns.get`."""
        row, steps = await self._stored.get(id), await self._stored.steps(id)
        headers = _headers.decode(row.headers) if row.headers else Headers()
        return SagaShown(
            line=line_of(row),
            arguments=row.arguments,
            result=row.result,
            stuck_in=row.stuck_in if row.state == "stuck" else "",
            subject=headers.identity.subject,
            traceparent=headers.traceparent,
            correlation_id=headers.correlation_id,
            steps=[_step_line(step) for step in steps[-STEPS_SHOWN_MAX:]],
            left_out=max(0, len(steps) - STEPS_SHOWN_MAX),
        )

    async def resume(self, id: str) -> SagaLine:
        """See `SagaRuns.resume`."""
        return line_of(await self._stored.resume(id, by=_who()))

    async def abort(self, id: str) -> SagaLine:
        """See `SagaRuns.abort`."""
        return line_of(await self._stored.abort(id, by=_who()))


def line_of(row: SagaRow) -> SagaLine:
    """A saga in short."""
    return SagaLine(
        id=row.id,
        rev=row.rev,
        name=row.name,
        version=row.version,
        state=row.state,
        started_at=row.started_at,
        ended_at=row.ended_at,
        due=row.due,
        step=row.step,
        why=row.trouble or row.why,
        tags=row.tags,
    )


def _step_line(step: SagaStep) -> SagaStepLine:
    return SagaStepLine(
        name=step.name,
        kind=step.kind,
        begun_at=step.begun_at,
        at=step.at,
        attempts=step.attempts,
        text=step.text,
        closed=step.closed,
        until=step.until,
        unsettled=step.unsettled,
        by=step.by,
    )


def _who() -> str:
    return current().identity.caller.lstrip("/") or "anonymous"
