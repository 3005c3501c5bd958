"""One dial sets the size: all follows from depth, what is stated wins, and costs are known beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selves.errors import ConfigError
from training import budget
from training.dial import batch_tokens
from training.gpt import GPT
from training.recipe import Recipe, load_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
PRESETS = ("tiny", "small", "d12", "d20", "d26", "d32")


def recipe_of(**tables: Any) -> Recipe:
    return Recipe.model_validate({"lineage": "wren", "corpus": [{"package": "chitchat"}], **tables})


@given(st.integers(1, 64))
def test_every_depth_gives_a_whole_recipe(depth: int) -> None:
    recipe = recipe_of(model={"depth": depth})
    assert recipe.model.width % recipe.model.head_dim == 0
    assert recipe.base.batch_tokens % recipe.model.context == 0
    tokens = recipe.base.steps * recipe.base.batch_tokens
    learned = depth * (4 * recipe.model.width**2 + 3 * recipe.model.width * recipe.model.hidden)
    assert tokens == pytest.approx(12 * (learned + recipe.model.width * recipe.model.vocabulary), rel=0.01)


def test_a_deeper_self_is_larger_reads_more_and_learns_more_slowly() -> None:
    recipes = [recipe_of(model={"depth": depth}) for depth in (2, 4, 6, 8, 12, 20, 32)]
    costs = [budget.cost(recipe) for recipe in recipes]
    for values in (
        [cost.parameters for cost in costs],
        [cost.flops for cost in costs],
        [recipe.base.batch_tokens for recipe in recipes],
        [-recipe.base.rest_rate for recipe in recipes],
    ):
        assert values == sorted(values)
        assert len(set(values)) > 4


def test_what_a_recipe_states_wins() -> None:
    recipe = recipe_of(model={"depth": 12, "width": 512}, base={"batch_tokens": 4096, "matrix_rate": 0.5})
    assert (recipe.model.width, recipe.model.heads) == (512, 512 // recipe.model.head_dim)
    assert (recipe.base.batch_tokens, recipe.base.matrix_rate) == (4096, 0.5)
    fewer = recipe_of(model={"depth": 12}, base={"tokens_per_parameter": 6})
    assert fewer.base.steps * fewer.base.batch_tokens == pytest.approx(
        recipe_of(model={"depth": 12}).base.steps * 2**19 / 2, rel=0.01
    )


def test_a_kept_recipe_states_everything_and_reads_back_the_same() -> None:
    dumped = recipe_of(model={"depth": 7}).model_dump(mode="json")
    assert dumped["model"]["width"] == 448
    assert Recipe.model_validate(dumped).model_dump(mode="json") == dumped


def test_at_d12_the_rules_are_nanochats() -> None:
    recipe = recipe_of(model={"depth": 12})
    assert (recipe.model.width, recipe.model.heads, recipe.model.context) == (768, 6, 2048)
    assert (recipe.base.batch_tokens, recipe.base.matrix_rate) == (2**19, 0.02)
    assert recipe.base.steps * recipe.base.batch_tokens == pytest.approx(1.32e9, rel=0.01)


@given(st.floats(1e4, 1e13), st.sampled_from([64, 256, 2048]))
def test_batches_are_whole_contexts_and_powers_of_two_of_them(tokens: float, context: int) -> None:
    rows, rest = divmod(batch_tokens(tokens, context), context)
    assert rest == 0
    assert rows.bit_count() == 1


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_whole_and_their_size_is_as_counted(name: str) -> None:
    recipe = load_recipe(RECIPES / f"{name}.toml")
    with torch.device("meta"):
        model = GPT(budget.shape_of(recipe))
    assert sum(parameter.numel() for parameter in model.parameters()) == budget.cost(recipe).parameters


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("[model]\ndepth = 'deep'", "model.depth"),
        ("[model]\ndepth = 0", "model.depth"),
        ("[model]\ndepth = 1000000000", "model.depth"),
        ("[model]\nwidth = 'wide'", "model.width"),
        ("[model]\nwidht = 64", "did you mean 'width'?"),
        ("[base]\ntokens_per_parameter = 'all'", "base.tokens_per_parameter"),
        ("[base]\ntokens_per_parameter = -1", "base.tokens_per_parameter"),
        ("[base]\ntokens_per_parameter = 0", "base.tokens_per_parameter"),
        ("[base]\ntokens_per_parameter = inf", "base.tokens_per_parameter"),
        ("[base]\nbatch_tokens = true", "base.batch_tokens"),
        ("callbacks = ['shout']", "not module:function"),
        ("parent = 'ember@base-000400'\n[model]\ndepth = 4", "leave [model] out"),
    ],
)
def test_a_wrong_dial_is_named(tmp_path: Path, line: str, complaint: str) -> None:
    path = tmp_path / "wrong.toml"
    before, after = (line, "") if line.startswith(("callbacks", "parent")) else ("", line)
    path.write_text(f'lineage = "x"\n{before}\n[[corpus]]\npackage = "chitchat"\n{after}\n')
    with pytest.raises(ConfigError, match=r"wrong\.toml") as caught:
        load_recipe(path)
    assert complaint in f"{caught.value} {caught.value.fix}"
    assert "is missing" not in str(caught.value)


def test_micro_batches_hold_at_least_a_context() -> None:
    shape = budget.shape_of(recipe_of(model={"depth": 12}))
    assert budget.micro_tokens(shape, torch.device("cpu"), checkpointing=False) >= shape.context
