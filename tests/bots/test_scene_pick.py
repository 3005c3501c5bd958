"""The sample that sounds most like an answer is picked, the same one every time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.pick import SAMPLES, samples_for, score
from serving.voice import ModelInfo

HEARD = ["Hi! How are you all?", "I read a book about the sea."]


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ("I like that book.", "I like that song."),
        ("I went to the shop.", "I went to the"),
        ("It was a good one.", "Haha."),
    ],
)
def test_an_answer_beats_what_is_none(better: str, worse: str) -> None:
    assert score(better, -2.0, HEARD) > score(worse, -2.0, HEARD)


def test_what_its_model_finds_likely_is_better() -> None:
    assert score("It was good.", -1.5, HEARD) > score("It was good.", -3.0, HEARD)


@given(st.text(), st.none() | st.floats(-20, 0), st.lists(st.text(), max_size=5))
def test_everything_gets_a_score_near_its_likelihood(text: str, mean: float | None, heard: list[str]) -> None:
    assert -0.51 < score(text, mean, heard) - (mean or 0.0) < 1.51


@pytest.mark.parametrize(("parameters", "samples"), [(1_300_000, SAMPLES), (135_000_000, 1), (None, 1)])
def test_only_small_models_are_asked_several_times(parameters: int | None, samples: int) -> None:
    info = ModelInfo(
        address="ember@base-000400",
        form="transcript",
        context_tokens=256,
        weights_sha256="",
        engine="embedded",
        engine_version="",
        parameters=parameters,
    )
    assert samples_for(info) == samples
