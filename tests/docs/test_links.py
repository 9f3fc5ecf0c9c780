"""A link of one page to another leads somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")
CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)


def anchors_of(page: Path) -> set[str]:
    """How the usual renderers name headings: lower case, dashes, no punctuation."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for path, anchor in LINK.findall(CODE.sub("", page.read_text())):
        target = page.parent / path if path else page
        assert target.exists(), f"{path} is missing"
        assert not anchor or anchor in anchors_of(target), f"{path} has no heading #{anchor}"


def test_every_page_is_on_the_map() -> None:
    docs = ROOT / "docs"
    shown = {(docs / path).resolve() for path, _ in LINK.findall((docs / "README.md").read_text()) if path}
    missing = {page for page in docs.rglob("*.md") if page.name != "README.md"} - shown
    assert not missing, f"docs/README.md has no link to {[str(page.relative_to(docs)) for page in missing]}"
