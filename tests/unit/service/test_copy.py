"""What a replica writes for what its owner's feed told, however that is cut into commits and broken off."""

from hypothesis import given, strategies as st

from hanse.service.copy import Copy, Step
from hanse.service.rows import Line


def existing(id: str, value: bytes = b"1") -> Line:
    return Line("existing", id=id, value=value)


def updated(id: str, seq: int, value: bytes = b"2") -> Line:
    return Line("updated", f"log.{seq}", id, value=value)


def deleted(id: str, seq: int) -> Line:
    return Line("deleted", f"log.{seq}", id)


def ready(seq: int) -> Line:
    return Line("ready", f"log.{seq}")


RESET = Line("reset")


class Kept:
    """What a store would have, after each step."""

    def __init__(self) -> None:
        self.rows: dict[str, bytes] = {}
        self.cursor = ""

    def apply(self, step: Step) -> None:
        if step.keep is not None:
            self.rows = {id: value for id, value in self.rows.items() if id in step.keep}
        for id, value in step.rows.items():
            if value is None:
                self.rows.pop(id, None)
            else:
                self.rows[id] = value
        self.cursor = step.cursor


def test_amid_a_snapshot_nobody_may_go_on_from_a_change() -> None:
    copy = Copy("")
    assert copy.take([existing("a"), updated("b", 7)]).cursor == ""
    assert copy.take([ready(9)]).cursor == "log.9"


def test_with_a_reset_the_cursor_counts_no_longer() -> None:
    copy = Copy("log.5")
    step = copy.take([updated("a", 6), RESET])
    assert (step.rows, step.cursor, step.keep) == ({}, "", None)


def test_what_a_snapshot_does_not_tell_of_is_gone() -> None:
    kept, copy = Kept(), Copy("log.5")
    kept.rows = {"old": b"0", "a": b"0"}
    for lines in ([RESET, existing("a")], [existing("b"), deleted("b", 8)], [ready(9)]):
        kept.apply(copy.take(lines))
    assert kept.rows == {"a": b"1"}


def test_a_change_right_after_a_snapshot_stays() -> None:
    kept, copy = Kept(), Copy("")
    kept.apply(copy.take([existing("a"), ready(5), Line("created", "log.6", "c", value=b"3")]))
    assert (kept.rows, kept.cursor) == ({"a": b"1", "c": b"3"}, "log.6")


def test_a_reset_within_one_commit_leaves_nothing_of_the_snapshot_before() -> None:
    step = Copy("").take([existing("a"), ready(5), RESET, existing("b")])
    assert (step.rows, step.cursor, step.keep) == ({"b": b"1"}, "", None)


IDS = st.sampled_from("abc")
WRITES = st.lists(st.tuples(IDS, st.booleans()), max_size=12)


@given(st.lists(st.tuples(WRITES, st.booleans()), max_size=4), st.data())
def test_however_it_is_cut_the_copy_comes_to_what_the_owner_has(
    phases: list[tuple[list[tuple[str, bool]], bool]], data: st.DataObject
) -> None:
    """Feeds that begin with a snapshot, go on with changes, and are reset now and then; commits are cut anywhere."""
    owner: dict[str, bytes] = {}
    lines: list[Line] = []
    seq = 0
    for writes, anew in [([], True), *phases]:
        if anew:
            lines += [RESET, *(existing(id, value) for id, value in owner.items()), ready(seq)]
        for id, gone in writes:
            seq += 1
            if not gone:
                owner[id] = str(seq).encode()
                lines.append(updated(id, seq, owner[id]))
            elif id in owner:
                del owner[id]
                lines.append(deleted(id, seq))
    kept, copy = Kept(), Copy("")
    while lines:
        many = data.draw(st.integers(1, len(lines)))
        kept.apply(copy.take(lines[:many]))
        del lines[:many]
        if data.draw(st.booleans()) and kept.cursor:
            copy = Copy(kept.cursor)  # it was killed between two commits, and its owner goes on after its cursor
    assert kept.rows == owner
