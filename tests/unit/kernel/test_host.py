import random  # noqa: TID251 - a host is made of its sources
import re

from hypothesis import given, strategies as st

from hanse.kernel.host import Host

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


class Clock:
    def __init__(self, *times: float) -> None:
        self.times = list(times)

    def __call__(self) -> float:
        return self.times.pop(0) if len(self.times) > 1 else self.times[0]


def host(now: Clock) -> Host:
    chance = random.Random(1)
    return Host("test", now=now, monotonic=Clock(0.0), chance=chance, entropy=chance.randbytes)


def test_an_id_is_a_version_7_uuid_of_its_millisecond() -> None:
    id = host(Clock(1_700_000_000.123)).new_id()
    assert UUID7.fullmatch(id)
    assert int(id.replace("-", "")[:12], 16) == 1_700_000_000_123


def test_ids_of_one_millisecond_sort_by_creation_however_many() -> None:
    here = host(Clock(1.0))
    ids = [here.new_id() for _ in range(10_000)]
    assert sorted(set(ids)) == ids


@given(st.lists(st.floats(0, 2e9), min_size=1, max_size=50))
def test_ids_never_go_back_with_the_clock(times: list[float]) -> None:
    here = host(Clock(*times))
    ids = [here.new_id() for _ in times]
    assert sorted(set(ids)) == ids


def test_the_same_seed_gives_the_same_draws() -> None:
    first, second = (Host.fixed(wall=5.0, seed=3) for _ in range(2))
    assert (first.new_id(), first.entropy(4), first.monotonic()) == (second.new_id(), second.entropy(4), 0.0)


def test_the_real_machine_has_a_name_and_moving_clocks() -> None:
    here = Host.system()
    assert here.name
    assert here.now() > 1_700_000_000
    assert here.monotonic() <= here.monotonic()
    assert len(here.entropy(8)) == 8
