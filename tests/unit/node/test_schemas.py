"""What stores need, looked at before anything is opened."""

from pathlib import Path

import pytest

from hanse.contract.model import Resource
from hanse.kernel.faults import CouldNotStart, Misconfigured
from hanse.kernel.settings import NodeSettings, Settings
from hanse.node.app import App
from hanse.node.schemas import apply_stores, plan_stores
from hanse.service.collection import Collection
from hanse.service.service import Service


class Note(Resource):
    text: str


class Desk(Service):
    notes: Collection[Note]


class Idle(Service):
    pass


APP = App("desk", Desk, Idle)


def changed() -> App:
    """The same, where a field has another type."""

    class Note(Resource):
        text: int

    class Desk(Service):
        notes: Collection[Note]

    return App("desk", Desk, Idle)


def settings(store: str, *services: str) -> Settings:
    return Settings(node=NodeSettings(store=store, services=services))


async def test_nothing_is_done_where_anything_is_refused(tmp_path: Path) -> None:
    before = settings(f"sqlite:///{tmp_path}")
    await apply_stores(APP, before, plan_stores(APP, before))
    after = changed()
    plans = plan_stores(after, before)
    with pytest.raises(CouldNotStart, match=r"nothing was done: notes\.text: stored as string, now integer"):
        await apply_stores(after, before, plans)
    assert [plan.steps for plan in plan_stores(APP, before)] == [[], []]


async def test_what_needs_nothing_is_not_opened(tmp_path: Path) -> None:
    here = settings(f"sqlite:///{tmp_path}", "idle")
    await apply_stores(APP, here, plan_stores(APP, here))
    file = tmp_path / "idle.db"
    before = file.stat().st_mtime_ns
    plans = plan_stores(APP, here)
    await apply_stores(APP, here, plans)
    assert [(plan.service, plan.steps) for plan in plans] == [("idle", [])]
    assert file.stat().st_mtime_ns == before


async def test_a_store_that_cannot_be_looked_at_is_opened_to_see() -> None:
    elsewhere = settings("nowhere://user:secret@host/db", "desk")
    plans = plan_stores(APP, elsewhere)
    assert [(plan.unseen, plan.refused, "secret" in plan.store) for plan in plans] == [(True, [], False)]
    with pytest.raises(Misconfigured, match="no store for 'nowhere:'"):
        await apply_stores(APP, elsewhere, plans)


async def test_a_store_in_memory_is_made_and_forgotten() -> None:
    here = settings("memory:", "desk")
    for _ in range(2):
        plans = plan_stores(APP, here)
        assert {step.change for step in plans[0].steps} == {"add"}
        await apply_stores(APP, here, plans)
