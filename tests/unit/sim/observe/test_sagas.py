"""Steps of sagas are done once, undone once and the last one first, and nothing happens after the end."""

from typing import cast

import pytest

from hanse.delivery.saga_rows import SAGA_STEPS, SAGAS, SagaRow, SagaStep, State
from hanse.kernel.codec import encode_json
from hanse.sim.observe.sagas import Sagas
from hanse.sim.observe.scene import Scene
from hanse.store.base import Batch, Put


class Told:
    """A scene that only hears of violations."""

    def __init__(self) -> None:
        self.details: list[str] = []

    def violate(self, check: str, detail: str) -> None:
        assert check == "sagas"
        self.details.append(detail)


def step(name: str, *, closed: bool = True, fault: bytes = b"", unsettled: bool = False) -> Put:
    row = SagaStep(id=f"7/{name}", saga="7", name=name, kind="step", closed=closed, fault=fault, unsettled=unsettled)
    return Put(SAGA_STEPS, row.id, encode_json(row), "m")


def saga(state: State) -> Put:
    row = SagaRow(id="7", name="orders.place", version=1, arguments="{}", state=state)
    return Put(SAGAS, row.id, encode_json(row), "m")


def told(*writes: Put) -> list[str]:
    scene = Told()
    observer = Sagas(cast("Scene", scene))
    for seq, write in enumerate(writes, 1):
        observer.committed("desk", "orders.db", Batch(0.0, writes=(write,)), (seq,))
    return scene.details


def test_a_saga_that_goes_its_way_is_fine() -> None:
    writes = [saga("running"), step("a"), step("wait", closed=False), step("wait"), step("b"), step("c", fault=b"x")]
    assert told(*writes, saga("undoing"), step("undo:b"), step("undo:a"), saga("undone")) == []


def test_what_was_unsettled_may_be_undone_once_it_is_settled() -> None:
    maybe = step("a", fault=b"x", unsettled=True)
    assert told(maybe, saga("undoing"), step("settled:a"), step("undo:a")) == []
    assert "did not take effect" in told(maybe, saga("undoing"), step("settled:a", fault=b"x"), step("undo:a"))[0]


@pytest.mark.parametrize(
    ("writes", "said"),
    [
        ([saga("running"), step("a"), step("a")], "has done a twice: see the entries 2 and 3"),
        ([saga("done"), step("a")], "is done, and still does a"),
        ([saga("running"), step("a"), step("undo:a")], "undoes a, but is running"),
        ([step("a"), step("undo:a")], "undoes a, but is unknown"),
        ([saga("undoing"), step("undo:a")], "undoes a, which did not take effect"),
        ([step("a"), step("b"), saga("undoing"), step("undo:a"), step("undo:b")], "undoes b after a"),
    ],
)
def test_what_must_not_be_is_told(writes: list[Put], said: str) -> None:
    (detail,) = told(*writes)
    assert said in detail
