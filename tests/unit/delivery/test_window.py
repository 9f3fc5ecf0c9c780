"""The window keeps each key in order, and its position never passes what is not done."""

from hypothesis import given, strategies as st

from hanse.delivery.window import Window

KEYS = st.lists(st.sampled_from(["", "a", "b"]), max_size=12)


class Model:
    """Runs a window with a free choice of what is done next, and notes the order in which entries get their turn."""

    def __init__(self, keys: list[str]) -> None:
        self.window = Window(0, limit=len(keys) + 1)
        self.turns = [seq for seq, key in enumerate(keys, 1) if self.window.take(seq, key)]
        self.under_way = list(self.turns)
        self.left = set(range(1, len(keys) + 1))

    def finish(self, choice: int) -> None:
        seq = self.under_way.pop(choice % len(self.under_way))
        self.left.discard(seq)
        if (following := self.window.done(seq)) is not None:
            self.turns.append(following)
            self.under_way.append(following)


@given(KEYS, st.data())
def test_every_entry_gets_its_turn_once_and_in_order_of_its_key(keys: list[str], data: st.DataObject) -> None:
    model = Model(keys)
    while model.under_way:
        model.finish(data.draw(st.integers(0, 20)))
    assert sorted(model.turns) == list(range(1, len(keys) + 1))
    for key in ("a", "b"):
        turns = [seq for seq in model.turns if keys[seq - 1] == key]
        assert turns == sorted(turns)


@given(KEYS, st.data())
def test_the_position_is_just_below_the_lowest_entry_that_is_left(keys: list[str], data: st.DataObject) -> None:
    model = Model(keys)
    while model.under_way:
        assert model.window.position == min(model.left) - 1
        assert model.window.room == model.window.limit - len(model.left)
        model.finish(data.draw(st.integers(0, 20)))
    assert (model.window.position, len(model.window)) == (len(keys), 0)


@given(KEYS, st.data())
def test_one_entry_of_a_key_is_under_way_at_a_time(keys: list[str], data: st.DataObject) -> None:
    model = Model(keys)
    while model.under_way:
        under_way = [key for seq in model.under_way if (key := keys[seq - 1])]
        assert len(under_way) == len(set(under_way))
        model.finish(data.draw(st.integers(0, 20)))


def test_positions_that_nobody_wants_are_skipped() -> None:
    window = Window(3, limit=1)
    window.skip_to(9)
    window.skip_to(5)
    assert window.position == 9
