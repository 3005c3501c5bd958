"""What no self may say is not said, however it is written; a filter that fails lets nothing pass."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.filters import plain, refuse
from selves.cast import Filter
from selves.errors import ConfigError, UsageError

WORDS = Filter(words=("darn", "flip*", "out of here"))


@pytest.mark.parametrize(
    "text",
    ["Darn!", "oh DARN it", "dárn", "d\u200barn", "ｄａｒｎ", "what a flipping day", "get out  of, here"],
)
def test_a_filtered_word_is_found_however_it_is_written(text: str) -> None:
    assert refuse(WORDS, "Ash", text) == "a filtered word"


@pytest.mark.parametrize("text", ["I am darning socks", "a backflip", "out of the way, here", ""])
def test_other_words_pass(text: str) -> None:
    assert refuse(WORDS, "Ash", text) is None


@given(st.text())
def test_without_a_filter_everything_passes(text: str) -> None:
    assert refuse(Filter(), "Ash", text) is None
    refuse(WORDS, "Ash", text)


def test_more_words_come_from_a_file(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("# not these\n\ngadzooks\n", "utf-8")
    spec = Filter(words_file=str(words))
    assert refuse(spec, "Ash", "Gadzooks!") == "a filtered word"
    assert refuse(spec, "Ash", "not these") is None
    with pytest.raises(ConfigError, match="words_file cannot be read"):
        refuse(Filter(words_file=str(tmp_path / "none.txt")), "Ash", "hello")


def test_a_function_of_ones_own_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "house_rules.py").write_text(
        "def polite(text, speaker):\n"
        "    if 'boom' in text:\n        raise RuntimeError(text)\n"
        "    return 'Ash never shouts' if speaker == 'Ash' and text.isupper() else None\n",
        "utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    spec = Filter(function="house_rules:polite")
    assert refuse(spec, "Ash", "HELLO") == "the filter: Ash never shouts"
    assert refuse(spec, "Ember", "HELLO") is None
    assert refuse(spec, "Ash", "boom") == "the filter failed"
    with pytest.raises(UsageError, match="cannot be imported"):
        refuse(Filter(function="house_rules:rude"), "Ash", "hello")


def test_discord_s_own_codes_are_taken_out() -> None:
    said = "hi <@123> and <@!45>, see <#678> <@&9> @everyone <:wave:11>"
    assert plain(said) == "hi and , see everyone :wave:"
    assert plain("a < b > c, me@example.org") == "a < b > c, me@example.org"
