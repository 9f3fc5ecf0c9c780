"""A rollout beside processes that are held up now and then: nobody is taken back for that, and who is slow is."""

import pytest

from .stalls import Stalling, alarms, ends

pytestmark = pytest.mark.usefixtures("untraced")

NEVER = (0.0, 0.0)


@pytest.mark.parametrize(
    "world",
    [
        Stalling(seconds=20.0),
        Stalling(seconds=20.0, waits=False),
        Stalling(rps=600.0, old=9, seconds=20.0),
        Stalling(rps=100.0, share=0.5, old=1, seconds=20.0),
        Stalling(share=0.25, together=True, seconds=20.0),
    ],
    ids=["one of four", "seen once answered", "busy", "one of two", "the machine"],
)
def test_to_be_held_up_is_not_to_be_slow(world: Stalling) -> None:
    assert alarms(world, range(12)) == []


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("every", [NEVER, (10.0, 20.0)])
def test_half_a_second_later_is_noticed_within_thirty_requests(every: tuple[float, float], waits: bool) -> None:
    for seed in range(12):
        verdict, asked = ends(Stalling(every=every, later=0.5, waits=waits), seed)
        assert verdict.decision == "roll_back"
        assert verdict.reason.startswith("slow")
        assert asked <= 30


def test_some_that_are_later_are_noticed_too() -> None:
    for seed in range(6):
        verdict, asked = ends(Stalling(rps=1_000.0, every=NEVER, later=0.5, part=0.2), seed)
        assert verdict.decision == "roll_back"
        assert asked <= 300
