"""How much of its share an instance gets while it is young."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from hanse.control.desired import Command, Desired
from hanse.control.instances import Instance, System
from hanse.control.slow_start import next_change, weight_at
from hanse.control.supervisor_machine import decided

WEB = Desired("web", Command(("serve",)), 2)


def shares(system: System, now: float) -> tuple[dict[str, int], float | None]:
    """What instances weigh at a moment, and when that is to be looked at again."""
    decision = decided(system, {WEB.key: WEB}, now, slow_start=10.0)
    return {one.instance: one.weight for one in decision.system.serving or ()}, decision.wake


def ready(number: int, since: float) -> Instance:
    return Instance("web", number, phase="ready", since=since, port=80 + number, run=number, pid=number)


def test_an_instance_that_comes_to_others_gets_its_share_in_steps() -> None:
    system = System((ready(1, 0.0), ready(2, 100.1)))
    moments, now = list[int](), 100.1
    for _ in range(10):
        weights, wake = shares(system, now)
        moments.append(weights["web-2"])
        assert weights["web-1"] == 100
        if weights["web-2"] == 100:
            break
        assert wake is not None
        assert wake > now
        now = wake
    assert moments == [10, 28, 46, 64, 82, 100]
    assert now == pytest.approx(110.1)


def test_those_that_come_together_have_their_parts_at_once() -> None:
    weights, wake = shares(System((ready(1, 100.0), ready(2, 105.0))), 106.0)
    assert weights == {"web-1": 100, "web-2": 100}
    assert wake is None or wake > 116.0


def test_who_is_left_alone_with_all_requests_is_young_no_more() -> None:
    weights, _ = shares(System((replace(ready(1, 0.0), phase="unhealthy"), ready(2, 100.0))), 101.0)
    assert weights == {"web-2": 100}


def test_no_slow_start_gives_it_all_at_once() -> None:
    system = System((ready(1, 0.0), ready(2, 100.0)))
    decision = decided(system, {WEB.key: WEB}, 100.0)
    assert {one.weight for one in decision.system.serving or ()} == {100}
    assert (weight_at(0.0, 0.0), next_change(0.0, 0.0)) == (100, None)
