"""A page is read in one sitting: it answers one question, in two screens."""

from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
WRITTEN = [page for page in sorted(DOCS.rglob("*.md")) if not page.read_text().startswith("<!-- Written by")]
LINES_MAX = 120
"""Lines of a page, its snippets among them; those that are written from the code are to be searched, not read."""


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(DOCS)))
def test_a_page_is_not_longer_than_two_screens(page: Path) -> None:
    lines = len(page.read_text().splitlines())
    assert lines <= LINES_MAX, f"{lines} lines: which question does it answer? Give the others a page of their own."
