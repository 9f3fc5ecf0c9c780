import gc
import weakref
from collections.abc import Iterator

import pytest

from hanse.sim.steady import steady


class Knot:
    """Garbage that only a collection finds."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def thawed() -> Iterator[None]:
    """Nothing is frozen, as in a program that never asked for it."""
    gc.unfreeze()
    yield
    _ = gc.collect()
    gc.freeze()


def test_what_was_frozen_before_stays_frozen() -> None:
    gc.freeze()
    with steady():
        pass
    assert gc.get_freeze_count() > 0


def test_garbage_is_not_frozen_for_ever() -> None:
    gc.freeze()
    gone = weakref.ref(Knot())
    with steady():
        pass
    assert gone() is None


@pytest.mark.usefixtures("thawed")
def test_where_nothing_was_frozen_nothing_is_afterwards() -> None:
    with steady():
        assert gc.get_freeze_count() > 0
    assert gc.get_freeze_count() == 0


def test_garbage_is_collected_again_afterwards() -> None:
    assert gc.isenabled()
    with steady():
        assert not gc.isenabled()
    assert gc.isenabled()
