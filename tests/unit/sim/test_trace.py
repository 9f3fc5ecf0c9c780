"""The trace of a run: one hash for one sequence of effects."""

from hypothesis import given, strategies as st

from hanse.sim.trace import EFFECTS_MAX, Effect, Trace

effects = st.lists(
    st.builds(
        Effect,
        at=st.floats(0.0, 1e6),
        machine=st.sampled_from(["a", "b", ""]),
        kind=st.sampled_from(["send", "log"]),
        detail=st.text(max_size=5),
        data=st.binary(max_size=5),
        peer=st.sampled_from(["", "c"]),
    ),
    max_size=6,
)


def traced(found: list[Effect], *, keep: bool = False) -> Trace:
    trace = Trace(keep=keep)
    for one in found:
        trace.add(one.at, one.machine, one.kind, one.detail, one.data, one.peer)
    return trace


@given(effects, effects)
def test_other_effects_have_another_hash(one: list[Effect], other: list[Effect]) -> None:
    assert (traced(one).hash == traced(other).hash) == (one == other)


@given(effects)
def test_keeping_effects_changes_no_hash(found: list[Effect]) -> None:
    kept = traced(found, keep=True)
    assert kept.hash == traced(found).hash
    assert kept.effects == found
    assert kept.count == len(found)
    assert traced(found).effects == []


def test_what_ends_in_one_field_does_not_begin_in_the_next() -> None:
    hashes = set[str]()
    for machine, kind, detail, data, peer in (
        ("ab", "c", "", b"", ""),
        ("a", "bc", "", b"", ""),
        ("a", "b", "c", b"", ""),
        ("a", "b", "", b"c", ""),
        ("a", "b", "", b"", "c"),
    ):
        trace = Trace()
        trace.add(1.0, machine, kind, detail, data, peer)
        hashes.add(trace.hash)
    assert len(hashes) == 5


def test_data_is_told_from_what_comes_before_it() -> None:
    one, other = Trace(), Trace()
    one.add(1.0, "a", "log", "x\x00", b"")
    other.add(1.0, "a", "log", "x", b"\x00")
    assert one.hash != other.hash


def test_effects_are_kept_up_to_a_limit_and_hashed_beyond() -> None:
    trace = Trace(keep=True)
    for n in range(EFFECTS_MAX + 1):
        trace.add(float(n), "a", "log")
    before = trace.hash
    trace.add(0.0, "a", "log")
    assert len(trace.effects) == EFFECTS_MAX
    assert trace.hash != before
