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
