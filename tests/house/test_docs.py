"""The docs say what the code does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[2]
PAGES = sorted([*HOUSE.glob("*.md"), *HOUSE.glob("docs/**/*.md")])


def test_the_reference_is_made_from_the_code() -> None:
    result = subprocess.run(
        [sys.executable, "docs/make_reference.py", "--check"],
        cwd=HOUSE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(HOUSE)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def headings(page: Path) -> set[str]:
    """Return the names by which a page's headings are linked to, as GitHub makes them."""
    found = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(HOUSE)))
def test_every_link_into_a_page_leads_to_a_heading(page: Path) -> None:
    for target, name in re.findall(r"\]\(([^)#\s]*)#([^)]+)\)", page.read_text("utf-8")):
        if not target.startswith(("http://", "https://")):
            assert name in headings(page.parent / target if target else page), f"{page.name}: #{name}"


def test_the_readme_knows_only_commands_and_targets_that_exist() -> None:
    from selves.__main__ import COMMANDS

    text = (HOUSE / "README.md").read_text("utf-8")
    targets = set(re.findall(r"^([a-z]+):", (HOUSE / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)", text)) <= targets
    assert set(re.findall(r"(?:^|`|/)selves ([a-z]+)", text, re.MULTILINE)) <= set(COMMANDS)
