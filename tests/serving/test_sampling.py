"""Tokens are drawn from the distribution that was asked for, no matter how it was asked."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from serving.asks import Ask, Repetition
from serving.sampling import draw, is_stuck, next_of


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    chance=st.floats(0, 1, exclude_max=True),
    temperature=st.floats(0.1, 3),
    top_p=st.floats(0.05, 1),
    top_k=st.integers(0, 25),
    min_p=st.floats(0, 0.9),
    penalty=st.floats(0.6, 2),
    said=st.sets(st.integers(0, 19), min_size=1),
)
def test_tokens_are_drawn_from_the_distribution_that_transformers_makes(
    seed: int,
    chance: float,
    temperature: float,
    top_p: float,
    top_k: int,
    min_p: float,
    penalty: float,
    said: set[int],
) -> None:
    logits = torch.randn(20, generator=torch.Generator().manual_seed(seed)) * 3
    processors = LogitsProcessorList([RepetitionPenaltyLogitsProcessor(penalty)])
    processors.append(TemperatureLogitsWarper(temperature))
    if min_p:
        processors.append(MinPLogitsWarper(min_p))
    if top_k:
        processors.append(TopKLogitsWarper(top_k))
    processors.append(TopPLogitsWarper(top_p))
    odds = processors(torch.tensor([sorted(said)]), logits[None].clone())[0].double().softmax(-1).numpy()
    ask = Ask(1, temperature, top_p, top_k, min_p, penalty)
    ours = draw(logits.numpy(), ask, chance, dict.fromkeys(said, 0))
    upto = odds.cumsum()
    assert odds[ours] > 0
    assert upto[ours] - odds[ours] - 1e-5 <= chance <= upto[ours] + 1e-5


def test_presence_and_frequency_count_only_what_was_drawn() -> None:
    said = {0: 0, 1: 1, 2: 2}
    logits = np.array([0.9, 1.2, 1.4, 0.95], dtype=np.float32)
    greedy = Ask(1, temperature=0)
    assert draw(logits, greedy, 0, said) == 2
    assert draw(logits, greedy._replace(frequency_penalty=0.21), 0, said) == 1
    assert draw(logits, greedy._replace(presence_penalty=0.5), 0, said) == 3
    assert logits.tolist() == pytest.approx([0.9, 1.2, 1.4, 0.95])


def test_what_is_never_to_be_said_is_not_said_and_a_bias_turns_the_scales() -> None:
    logits = np.array([1.0, 2.0, 3.0], dtype=np.float32)
    greedy = Ask(1, temperature=0)
    assert draw(logits, greedy, 0, {}, never=[2]) == 1
    assert draw(logits, greedy, 0, {}, only={0}) == 0
    assert draw(logits, greedy._replace(logit_bias=((0, 2.5),)), 0, {}) == 0
    drawn = {draw(logits, Ask(1, temperature=9), chance / 50, {}, only={0, 2}) for chance in range(50)}
    assert drawn == {0, 2}


def test_choices_lead_from_token_to_token_to_their_end() -> None:
    choices = [(1, 2, 3), (1, 4), (5,)]
    assert next_of(choices, []) == {1, 5}
    assert next_of(choices, [1]) == {2, 4}
    assert next_of(choices, [1, 4]) == set()


@pytest.mark.parametrize(
    ("drawn", "stuck"),
    [
        ([1, 1, 1], True),
        ([9, 1, 1], False),
        ([7, 1, 2, 1, 2, 1, 2], True),
        ([1, 2, 1, 2, 1, 2, 1], True),
        ([1, 2, 3, 1, 2, 3, 1, 2, 3], False),
        ([], False),
    ],
)
def test_a_pattern_that_comes_three_times_is_being_stuck(drawn: list[int], stuck: bool) -> None:
    assert is_stuck(drawn, Repetition(max_pattern=2)) is stuck
