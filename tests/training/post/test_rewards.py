"""Rewards are plain functions; what is wrong with one is said with its name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from selves.errors import TrainingError, UsageError
from selves.settings import House
from training.post.rewards import asks, exact, last_number, load, not_in_circles


def test_answers_are_worth_what_can_be_checked() -> None:
    assert exact([" 7 ", "8", "seven"], answer=["7", "7", "7"]) == [1.0, 0.0, 0.0]
    assert last_number(["3 + 4 = 7.", "7 is 3 + 4", "none", "-2"], answer=["7", "7", "7", "-2"]) == [
        1,
        0,
        0,
        1,
    ]
    assert last_number(["7.0", "It is 7.5.", "0.7"], answer=["7", "7", "7"]) == [1, 0, 0]
    assert asks(["And you? ", "Why? Because."]) == [1.0, 0.0]


def test_going_in_circles_is_worth_little() -> None:
    circles, speech, silence = not_in_circles(["la la la la la la la la", "a word that is new", ""])
    assert silence == 0 < circles < 0.3 < speech == 1


def test_a_reward_takes_only_what_it_names_and_may_not_apply(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "judged.py").write_text("def of(completions, score):\n    return score\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "judged", raising=False)
    reward = load("judged:of")
    said = [[{"role": "assistant", "content": "a"}], "b"]
    assert reward(prompts=[1, 2], completions=said, score=[None, 2], other=[3, 4]) == [None, 2.0]
    with pytest.raises(TrainingError, match="judged:of gave inf"):
        reward(prompts=[1], completions=["a"], score=[float("inf")])
    with pytest.raises(
        UsageError, match="judged:nothing cannot be imported: judged has no 'nothing'"
    ) as caught:
        load("judged:nothing")
    assert "folder" not in caught.value.fix
    with pytest.raises(UsageError, match="'judged' is not module:function"):
        load("judged")


def test_a_reward_is_given_the_options_and_the_house_that_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "told.py").write_text(
        "def of(completions, weight, house):\n    return [weight * len(str(house.home))]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "told", raising=False)
    house = House(home=Path("home"), cast_path=Path("none.toml"))
    assert load("told:of", {"weight": 2.5, "other": 1}, house)(prompts=[1], completions=["a"]) == [10.0]
