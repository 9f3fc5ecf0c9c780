from typing import Annotated, NewType

import pytest

from hanse.kernel.faults import Misdeclared
from hanse.kernel.hints import bare, hints_of, unwrapped

Sku = NewType("Sku", str)
Named = NewType("Named", Sku)


def lost(sku: "Nowhere") -> None:  # type: ignore[name-defined]  # noqa: F821
    del sku


def found(sku: Annotated[str, "a note"]) -> None:
    del sku


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        (str, str),
        (str | None, str),
        (Annotated[Annotated[str, 1] | None, 2], str),
        (Named, str),
        (Annotated[Named | None, 1], str),
        (None | int, int),
        (list[Sku], list[Sku]),
    ],
)
def test_a_bare_hint_is_what_a_value_is(hint: object, expected: object) -> None:
    assert bare(hint) == expected


def test_a_union_of_several_stays_one() -> None:
    assert bare(Annotated[int | str | None, 1]) == int | str | None


def test_notes_are_told_from_outside_in() -> None:
    _, notes = unwrapped(Annotated[Annotated[Named, "inner"] | None, "outer", "more"])

    assert notes == ("outer", "more", "inner")


def test_a_hint_that_names_nothing_is_told_with_what_to_do() -> None:
    expected = r"a parameter names 'Nowhere', which does not exist in .*test_hints; import it there at run time"
    with pytest.raises(Misdeclared, match=expected):
        hints_of(lost, "a parameter")


def test_hints_keep_their_notes() -> None:
    assert hints_of(found, "a parameter")["sku"] == Annotated[str, "a note"]
