"""Text that can be shown at once: whole characters only, and never the beginning of a stop string."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from serving.streams import Detokenizer, StopScanner

ALPHABET = "abn\n<>"
TEXTS = st.text(ALPHABET, max_size=30)
STOPS = st.lists(st.text(ALPHABET, min_size=1, max_size=4), max_size=3)


def _in_pieces(text: str, cuts: list[int]) -> list[str]:
    marks = sorted({cut % (len(text) + 1) for cut in cuts} | {0, len(text)})
    return [text[a:b] for a, b in itertools.pairwise(marks)]


def _shown(stops: list[str], pieces: list[str]) -> str:
    scanner = StopScanner(stops)
    return "".join(map(scanner.add, pieces)) + scanner.flush()


@given(TEXTS, STOPS, st.lists(st.integers(0, 30)))
def test_what_is_shown_does_not_depend_on_how_the_text_was_cut(
    text: str, stops: list[str], cuts: list[int]
) -> None:
    whole = _shown(stops, [text])
    assert _shown(stops, _in_pieces(text, cuts)) == whole
    assert _shown(stops, list(text)) == whole


@given(TEXTS, STOPS)
def test_no_stop_string_is_ever_shown_and_nothing_else_is_lost(text: str, stops: list[str]) -> None:
    shown = _shown(stops, list(text))
    assert text.startswith(shown)
    assert not any(stop in shown for stop in stops)
    if not any(stop in text for stop in stops):
        assert shown == text
    else:
        assert any(text[len(shown) :].startswith(stop) for stop in stops)


@pytest.fixture(scope="module")
def tokenizer(checkpoints: Path):  # type: ignore[no-untyped-def]
    return AutoTokenizer.from_pretrained(checkpoints / "tiny" / "base-000016")


def test_streamed_text_is_the_text_and_no_character_is_ever_half(tokenizer) -> None:  # type: ignore[no-untyped-def]
    @given(st.text(min_size=1, max_size=20), st.integers(0, 6))
    def check(text: str, context: int) -> None:
        ids = tokenizer(text)["input_ids"]
        stream = Detokenizer(tokenizer.decode, tokenizer("Hi!")["input_ids"][:context])
        pieces = [stream.add(token_id) for token_id in ids] + [stream.flush()]
        assert "".join(pieces) == text.rstrip("\ufffd") or "\ufffd" in text
        assert "\ufffd" in text or not any("\ufffd" in piece for piece in pieces)

    check()


def test_a_half_character_at_the_end_is_left_out(tokenizer) -> None:  # type: ignore[no-untyped-def]
    ids = tokenizer("ok 🙂")["input_ids"]
    stream = Detokenizer(tokenizer.decode)
    assert "".join(map(stream.add, ids[:-1])) + stream.flush() == "ok "


def test_bytes_that_are_no_character_do_not_hold_up_what_follows(tokenizer) -> None:  # type: ignore[no-untyped-def]
    broken = tokenizer("🙂")["input_ids"][0]
    stream = Detokenizer(tokenizer.decode)
    text = "".join(map(stream.add, [broken, broken, *tokenizer("ok")["input_ids"]]))
    assert text == "\ufffd\ufffdok"
