"""What is known of a figure: an interval that has a width also where all answers are alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selves.lineage import find_age
from selves.settings import House
from tests.training.post.parts import BASE, MakePost
from training.evals.items import wilson
from training.figure import Figure, mean, rate, share, share_of
from training.post import models
from training.post.data import prepare
from training.post.figures import measure

PARTS = st.lists(st.integers(0, 3), min_size=1, max_size=30)


@given(PARTS)
def test_the_value_lies_in_its_interval_and_what_never_happened_may_still_happen(some: list[int]) -> None:
    parts = [(number, 3) for number in some]
    for figure in (share("a", [number > 1 for number in some]), share_of("b", parts)):
        assert 0 <= figure.low <= figure.value <= figure.high <= 1
        assert figure.low < figure.high
    often = rate("c", parts, 1000)
    assert often.low <= often.value <= often.high
    assert often.high > 0


def test_parts_that_are_all_alike_have_the_interval_of_so_many_parts() -> None:
    never = share_of("gives in", [(0, 3)] * 16)
    assert (never.low, never.high) == pytest.approx(wilson(0, 16))
    assert str(never) == "0% (0% to 19%)"
    halves, others = share_of("gives in", [(1, 2)] * 8), wilson(0, 8)[1]
    assert (halves.low, halves.high) == pytest.approx((0.5 - others / 2, 0.5 + others / 2))
    assert share_of("gives in", [(0, 3), (3, 3)] * 8).low < 0.4


def test_of_what_nobody_said_each_part_may_have_said_one() -> None:
    never = rate("worn phrases", [(0, 25)] * 40, 1000)
    assert never.high == pytest.approx(1000 * wilson(0, 40)[1] * 40 / 1000)
    assert rate("worn phrases", [(1, 25), (0, 75)], 1000).value == 10


def test_a_mean_of_equal_values_has_a_width_only_where_their_bounds_are_known() -> None:
    bounded = mean("turn", [4.0] * 10, bounds=(1.0, 4.0))
    assert bounded.high == pytest.approx(4.0)
    assert bounded.low == pytest.approx(1 + 3 * wilson(10, 10)[0])
    amid = mean("broken", [1.0] * 40, bounds=(0.0, 5.0))
    assert (amid.low, amid.high) == pytest.approx((1 - wilson(0, 40)[1], 1 + 4 * wilson(0, 40)[1]))
    free = mean("reward", [0.0] * 10)
    assert (free.low, free.high) == (0.0, 0.0)
    assert str(free) == "0.000 (all 10 alike)"


def test_what_each_item_got_is_at_hand_but_not_written_down() -> None:
    figure = share("right", [True, False])
    assert figure.each == (1.0, 0.0)
    assert "each" not in figure.model_dump()
    assert Figure.model_validate_json(figure.model_dump_json()).each == ()
    assert share_of("right", [(1, 2), (2, 2)]).each == (0.5, 1.0)
    assert share_of("right", [(1, 2), (2, 3)]).each == ()


def test_a_part_of_nothing_is_left_out_of_a_share() -> None:
    few, with_nothing = (share_of("right", [(1, 2), (2, 2), *more]) for more in ((), [(0, 0)] * 9))
    assert with_nothing == few.model_copy(update={"each": ()})


def test_where_a_reward_does_not_apply_items_have_lost_their_places(
    post_house: House, make_post: MakePost, tmp_path: Path
) -> None:
    def first_only(completions: list[str], **_: Any) -> list[float | None]:
        return [1.0, *(None for _ in completions[1:])]

    def all_of_them(completions: list[str], **_: Any) -> list[float | None]:
        return [1.0 for _ in completions]

    recipe = make_post("grpo")
    base = models.open_base(recipe, find_age(post_house.checkpoints, BASE), tmp_path / "base")
    model, rows = models.placed(models.load(base, 0)), prepare(recipe).test[:2]
    some, every = (
        measure(recipe, model, base.tokenizer, base.ends, base.form, rows, [reward])[-1]
        for reward in (first_only, all_of_them)
    )
    assert (some.n, some.each) == (1, ())
    assert (every.n, every.each) == (2, (1.0, 1.0))
