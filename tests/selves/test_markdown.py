"""Whatever a self writes renders as what it wrote."""

from __future__ import annotations

import html
import re

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from selves.markdown import block, front_matter, inline, shown

RENDER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
TEXTS = st.text(st.characters() | st.sampled_from("\n\t `*_#>|<&[]()!~:-+1.\\"), max_size=60)


def visible(rendered: str) -> str:
    text = re.sub(r"<br ?/?>\n?", "\n", rendered)
    text = html.unescape(re.sub(r"</?(p|blockquote)>\n?", "", text))
    return text.replace("\u00a0", " ")


@given(TEXTS)
@example("<script>alert(1)</script> & &lt; [a](http://x) ![i](j) `code` **b**\n# h\n1. one\n- two\n| a | b |")
@example("    indented\n\n\nafter two empty lines   \n===\n---\n```\nx\n```")
@example("left \u202eright\u202c \x1b[31m \x00 \ud800 \ufeff")
def test_a_block_renders_as_its_text(text: str) -> None:
    if not text.strip():
        return
    lines = [line.expandtabs(4) or " " for line in shown(text.strip("\n")).split("\n")]
    assert visible(RENDER.render(block(text))) == "\n".join(lines).replace("\u00a0", " ")


@given(TEXTS)
def test_a_line_renders_as_its_words(text: str) -> None:
    rendered = visible(RENDER.render(f"a {inline(text)} b"))
    assert " ".join(rendered.split()) == " ".join(f"a {shown(text)} b".split())


@pytest.mark.parametrize("text", ["", " \n ", "\t"])
def test_silence_is_said(text: str) -> None:
    assert block(text) == "> *(nothing)*"


def test_a_long_text_is_cut_and_says_so() -> None:
    assert block("x" * 30, limit=10).endswith("> *(20 more characters)*")
    assert len(block("x" * 100_000, limit=4000)) < 5000


@given(st.dictionaries(st.from_regex(r"x_[a-z_]{1,9}", fullmatch=True), TEXTS | st.lists(TEXTS, max_size=3)))
def test_the_front_matter_is_read_back_as_it_was(facts: dict[str, str | list[str]]) -> None:
    said = front_matter(facts).removeprefix("---").removesuffix("---")
    wanted = {
        key: shown(value) if isinstance(value, str) else [shown(item) for item in value]
        for key, value in facts.items()
        if value
    }
    assert (yaml.safe_load(said) or {}) == wanted
