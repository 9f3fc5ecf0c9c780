"""Plans are data: incidents that compare, are kept, and are told by their kind."""

import typing

import msgspec
import pytest

from hanse.sim.plan import (
    Clock,
    Cut,
    Delay,
    FullDisk,
    Incident,
    Kill,
    KillAt,
    Loss,
    LostFlush,
    Pause,
    Plan,
    PowerLoss,
    Repeat,
    Replace,
    SlowDisk,
)

WHEN = {"at": 1.5, "seconds": 2.0}
EACH: list[Incident] = [
    Kill(machine="a", **WHEN),
    KillAt(machine="a", point="unit.before_commit", **WHEN),
    PowerLoss(machine="a", **WHEN),
    LostFlush(machine="a", **WHEN),
    Pause(machine="a", **WHEN),
    SlowDisk(machine="a", factor=10.0, **WHEN),
    FullDisk(machine="a", **WHEN),
    Clock(machine="a", jump=-3600.0, **WHEN),
    Cut(machines=("a",), others=("b", "c"), one_way=True, **WHEN),
    Delay(machine="a", most=0.5, reorder=True, **WHEN),
    Loss(machine="a", share=0.5, **WHEN),
    Repeat(machine="a", share=0.5, **WHEN),
    Replace(machine="a", **WHEN),
]


def test_this_is_each_kind_of_incident() -> None:
    assert {type(one) for one in EACH} == set(typing.get_args(Incident))


@pytest.mark.parametrize("incident", EACH, ids=lambda one: type(one).__name__)
def test_an_incident_is_kept_as_data(incident: Incident) -> None:
    kept = msgspec.json.encode((incident,))
    assert msgspec.json.decode(kept, type=Plan) == (incident,)
    assert msgspec.json.decode(kept)[0]["kind"] == incident.__struct_config__.tag


@pytest.mark.parametrize("incident", EACH, ids=lambda one: type(one).__name__)
def test_an_incident_is_a_value(incident: Incident) -> None:
    assert hash(incident) == hash(msgspec.structs.replace(incident))
    with pytest.raises(AttributeError):
        incident.at = 2.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("incident", "text"),
    [
        (Kill(at=1, seconds=2, machine="a"), "a is killed, and started again after 2 s"),
        (
            KillAt(at=1, seconds=2, machine="a", point="unit.before_commit"),
            "a is killed the first time within 2 s that it passes unit.before_commit",
        ),
        (
            PowerLoss(at=1, seconds=2, machine="a"),
            "a has no power for 2 s; what its disk had not flushed is gone",
        ),
        (
            LostFlush(at=1, seconds=2, machine="a"),
            "a has a disk that forgets for 2 s what it says it flushed; then its power goes",
        ),
        (Pause(at=1, seconds=0.25, machine="a"), "a stands still for 0.25 s"),
        (SlowDisk(at=1, seconds=2, machine="a", factor=20), "a has a disk that takes 20 times as long for 2 s"),
        (FullDisk(at=1, seconds=2, machine="a"), "a has a full disk for 2 s"),
        (Clock(at=1, seconds=2, machine="a", jump=-3), "a has a clock that is 3 s behind for 2 s"),
        (Clock(at=1, seconds=2, machine="a", jump=3), "a has a clock that is 3 s ahead for 2 s"),
        (Cut(at=1, seconds=2, machines=("a",), others=("b",)), "nothing gets from a to b, nor back, for 2 s"),
        (
            Delay(at=1, seconds=2, machine="a", most=0.5, reorder=True),
            "what a sends and gets comes up to 0.5 s later and out of order for 2 s",
        ),
        (Delay(at=1, seconds=2, machine="a", most=0.5), "what a sends and gets comes up to 0.5 s later for 2 s"),
        (Loss(at=1, seconds=2, machine="a", share=0.25), "25% of what a sends and gets is lost for 2 s"),
        (Repeat(at=1, seconds=2, machine="a", share=0.5), "50% of what a sends and gets comes twice for 2 s"),
        (Replace(at=1, seconds=2, machine="a"), "a is replaced by the next version, with 2 s to finish"),
    ],
)
def test_each_incident_has_words(incident: Incident, text: str) -> None:
    assert incident.words == text
