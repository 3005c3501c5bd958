"""What the benchmarks of post-training reckon from what they measured."""

from __future__ import annotations

import pytest

from benchmarks import methods, novel, posttrain


def test_a_step_is_what_lies_between_few_and_many() -> None:
    rows = [
        {
            "system": system,
            "steps": steps,
            "round": number,
            "cpu_s": start + each * steps,
            "wall_s": 2 * steps,
            "peak_mb": 100 + steps,
        }
        for system, start, each in (("ours", 9.0, 0.2), ("trl", 4.0, 0.1))
        for number in range(2)
        for steps in (10, 110)
    ]
    found = posttrain.summarize([*rows, rows[0] | {"round": 7}], few=10, many=110, tokens=50.0)
    assert found["step_to_trl"] == 2.0
    ours = found["systems"]["ours"]
    assert (ours["step_cpu_s"], ours["rest_cpu_s"], ours["rounds"]) == (0.2, 9.0, 2)
    assert (ours["tokens_per_cpu_s"], ours["tokens_per_s"], ours["peak_mb"]) == (250, 25, 210)
    assert "a step of ours to one of TRL's: 2.0" in posttrain.table(found)


def test_changes_are_averaged_over_seeds_and_tricks_are_shown() -> None:
    found = novel.summary([(0.0, 1.0), (1.0, 4.0), (0.0, 2.0)])
    assert (found["before"], found["after"], found["change"]) == pytest.approx((1 / 3, 7 / 3, 2.0))
    assert (found["low"], found["high"]) == pytest.approx((-0.484, 4.484), abs=1e-3)  # by Student's t
    assert "**+2.000** (-0.484 to +4.484)" in novel.table(
        [{"condition": "reward", "figure": "gain", **found}]
    )
    alone = {"condition": "reward", "figure": "gain", **novel.summary([(0.0, 1.0)])}
    assert "**+1.000** |" in novel.table([alone])
    assert novel.common(["how are you today", "And how are you?", "how are you"], most=1) == "how are you (2)"


def test_every_method_is_a_recipe() -> None:
    from training.post.recipe import PostRecipe

    for parameters in (1_000_000, 135_000_000):
        for method, changes in methods.recipes(parameters).items():
            told = {"lineage": "some", "base": "some@base-000001", "method": method}
            assert PostRecipe.model_validate(told | changes).age_steps
