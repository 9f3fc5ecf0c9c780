"""Docstrings as data."""

from hanse.contract.prose import Prose, prose_of


def test_what_has_no_sections_is_prose() -> None:
    assert prose_of("") == Prose()
    assert prose_of("Buy some.") == Prose("Buy some.")
    prose = prose_of("Buy some,\nor more.\n\nThey are gone then.\n\n- really\n")
    assert (prose.summary, prose.description) == ("Buy some, or more.", "They are gone then.\n\n- really")


def test_sections_are_taken_apart() -> None:
    prose = prose_of("""Buy some.

    Args:
        sku: What
            is wanted.
        count (int): How many.
        first, last: Names.

    Returns:
        What was bought: all of it.

    Raises:
        SoldOut: Nothing is left.
        hanse.TooLate: The shop is closed.
    """)

    assert prose.items == {"sku": "What is wanted.", "count": "How many.", "first": "Names.", "last": "Names."}
    assert prose.answer == "What was bought: all of it."
    assert prose.faults == {"SoldOut": "Nothing is left.", "hanse.TooLate": "The shop is closed."}
    assert (prose.summary, prose.description, prose.deprecated) == ("Buy some.", "", None)


def test_what_comes_after_a_section_is_prose_again() -> None:
    prose = prose_of("Buy.\n\nArgs:\n    sku: What.\n\nThey are gone then.")

    assert (prose.description, prose.items) == ("They are gone then.", {"sku": "What."})


def test_a_deprecation_says_what_to_use() -> None:
    assert prose_of("Buy.\n\nDeprecated: use order.").deprecated == "use order."
    assert prose_of("Buy.\n\nDeprecated:\n    Use\n    order.").deprecated == "Use order."


def test_examples_of_code_are_left_out() -> None:
    assert prose_of("Buy.\n\nExample:\n    >>> buy()\n").description == ""
