"""What is logged in a world."""

import logging

import pytest

from hanse.sim.lines import Lines
from hanse.sim.loop import Loop
from hanse.sim.trace import Trace


def test_the_text_of_what_was_raised_is_kept_and_not_its_frames(caplog: pytest.LogCaptureFixture) -> None:
    lines = Lines(Loop(), Trace())
    try:
        _ = 1 / 0
    except ZeroDivisionError as error:
        logging.getLogger("app").exception("it did not go well")
        logging.getLogger("app").warning("because of a %s", error)
    finally:
        lines.close()
    assert [(record.exc_info, record.args) for record in caplog.records] == [(None, None), (None, None)]
    assert "ZeroDivisionError: division by zero" in caplog.text
    assert caplog.messages == ["it did not go well", "because of a division by zero"]


def test_a_line_is_an_effect_without_the_places_of_objects() -> None:
    trace = Trace(keep=True)
    lines = Lines(Loop(), trace)
    logging.getLogger("app").warning("lost <object at 0x7f00deadbeef>")
    lines.close()
    logging.getLogger("app").warning("nobody hears this")
    assert [effect.detail for effect in trace.effects] == ["WARNING app: lost <object at 0x...>"]
