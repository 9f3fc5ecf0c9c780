"""How far a group has come: decisions, for any order of what happens."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, strategies as st

from hanse.kernel.faults import Misconfigured
from hanse.transport.amqp.keeping import refuse_old
from hanse.transport.amqp.progress import RECENT_MAX, Progress, Word, merged


@st.composite
def words(draw: st.DrawFn) -> Word:
    reached = draw(st.integers(-1, 30))
    last = draw(st.sampled_from(["", f"id-{reached}"]))
    return Word(reached, [number for number in range(reached + 1) if draw(st.booleans())], last)


def done(word: Word) -> set[int]:
    """What is done according to a word."""
    return set(range(word.reached + 1)) - set(word.undone)


class TestWords:
    @given(words(), words())
    def test_together_they_say_what_either_says(self, one: Word, other: Word) -> None:
        assert done(merged(one, other)) == done(one) | done(other)
        assert merged(one, other) == merged(other, one)

    @given(words(), words())
    def test_what_somebody_else_has_done_is_not_handed_out_again(self, one: Word, other: Word) -> None:
        progress = Progress(one)
        assert progress.hear(other)
        wanted = {number for number in range(40) if progress.wants(number, str(number))}
        assert wanted == set(range(40)) - done(one) - done(other)
        assert progress.changed


class TestProgress:
    @given(words(), st.data())
    def test_each_event_is_handed_out_until_it_is_done_and_never_again(self, word: Word, data: st.DataObject) -> None:
        handled = done(word)
        while word.reached < 40:
            progress = Progress(word)
            for number in range(progress.first, word.reached + 6):
                if progress.wants(number, f"id-{number}"):
                    assert number not in handled
                    progress.handed(number, f"id-{number}")
                    if data.draw(st.booleans()):
                        progress.done(number)
                        handled.add(number)
            word = progress.word()
            assert done(word) == handled

    def test_what_was_published_again_is_handed_out_at_its_first_place_only(self) -> None:
        progress = Progress(Word(2, []))
        assert not progress.wants(1, "one")
        assert not progress.wants(3, "one")
        progress.skipped(3, "one")
        assert progress.wants(4, "four")
        assert progress.word() == Word(3, [], "one")

    def test_what_is_not_wanted_any_more_is_done(self) -> None:
        progress = Progress(Word(5, [3]))
        progress.skipped(3, "three")
        assert (progress.word(), progress.changed) == (Word(5, []), True)

    def test_what_is_not_there_any_more_is_counted_and_left(self) -> None:
        progress = Progress(Word(5, [2, 4]))
        assert progress.gone(9) == len((2, 4, 6, 7, 8))
        assert progress.first == Word(5).reached + 1
        assert Progress(Word()).gone(9) == 0

    def test_what_was_not_handed_out_cannot_be_done(self) -> None:
        progress = Progress(Word(5, [4]))
        progress.done(4)
        assert (progress.word(), progress.changed) == (Word(5, [4]), False)

    def test_of_many_events_the_last_are_known(self) -> None:
        progress = Progress(Word())
        for number in range(RECENT_MAX + 1):
            assert progress.wants(number, str(number))
        assert not progress.wants(RECENT_MAX + 1, "1")
        assert progress.wants(RECENT_MAX + 2, "0")


class TestLosses:
    """A stream that lost its end gives numbers again which others had."""

    def test_another_event_where_the_last_one_was_does_not_fit(self) -> None:
        progress = Progress(Word(5, [2], "five"))
        assert [progress.fits(4, "x"), progress.fits(5, "five"), progress.fits(6, "x")] == [True, True, True]
        assert not progress.fits(5, "x")
        assert Progress(Word(5)).fits(5, "x")

    def test_what_somebody_else_has_seen_is_looked_for_as_well(self) -> None:
        progress = Progress(Word(5, [], "five"))
        assert progress.hear(Word(7, [], "seven"))
        assert progress.reached == Word(7).reached
        assert not progress.fits(7, "x")
        assert progress.fits(7, "seven")

    def test_after_a_loss_all_is_handed_out_again(self) -> None:
        progress = Progress(Word(5, [2], "five", 3)).lose()
        assert (progress.first, progress.changed, progress.word()) == (0, True, Word(losses=4))
        assert progress.wants(5, "other")
        assert progress.gone(9) == 0

    @given(words(), words(), st.integers(1, 3))
    def test_what_was_said_of_the_stream_before_counts_no_more(self, old: Word, new: Word, losses: int) -> None:
        new = msgspec.structs.replace(new, losses=losses)
        assert merged(old, new) == merged(new, old) == new
        progress = Progress(new)
        assert progress.hear(old)
        assert (progress.word(), progress.changed) == (new, True)
        assert not Progress(old).hear(new)

    def test_a_word_of_an_older_version_is_read(self) -> None:
        assert msgspec.msgpack.decode(msgspec.msgpack.encode([5, [2]]), type=Word) == Word(5, [2])


class TestVersions:
    @pytest.mark.parametrize("version", ["3.8.35", "3.6.10", "2.8.7"])
    def test_what_has_no_streams_is_refused(self, version: str) -> None:
        with pytest.raises(Misconfigured, match=version):
            refuse_old(version)

    @pytest.mark.parametrize("version", ["3.9.0", "3.10.8", "4.1.0", "4.2.0-rc.1", "", "unknown"])
    def test_what_has_them_or_does_not_say_is_taken(self, version: str) -> None:
        refuse_old(version)
