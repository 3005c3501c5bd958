"""A recipe states everything, and says which of its lines is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from selves.cast import load_cast
from selves.errors import ConfigError
from selves.lineage import Address, age_name
from training.recipe import Recipe, differences, load_recipe

ROOT = Path(__file__).parents[2]


def test_the_demo_keeps_the_ages_that_the_cast_file_plays() -> None:
    recipe = load_recipe(ROOT / "recipes" / "demo.toml")
    kept = {f"{recipe.lineage}@{age_name('base', step)}" for step in recipe.base.age_steps}
    kept |= {f"{recipe.lineage}@{age_name('chat', step)}" for step in recipe.chat.age_steps}
    played = {persona.address for persona in load_cast(ROOT / "selves.toml").persona}
    assert {address for address in played if Address.parse(address).lineage == recipe.lineage} <= kept


def test_ages_are_the_newborn_the_last_and_each_time_half_of_the_next(
    make_recipe: Callable[..., Recipe],
) -> None:
    recipe = make_recipe(base={"steps": 800, "ages": 8})
    assert recipe.base.age_steps == (0, 12, 25, 50, 100, 200, 400, 800)
    assert make_recipe(base={"steps": 3, "ages": 20}).base.age_steps == (0, 1, 3)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("[base]\nstep = 5", "did you mean 'steps'?"),
        ("[base]\nsteps = 0", "'base.steps' is 0"),
        ("[model]\nwidth = 100\nhead_dim = 64", "not a multiple of head_dim"),
        ("[model]\nvocabulary = 1000", "not a multiple of 64"),
        ("[model]\ncontext = 100", "not a multiple of model.context"),
        ("[diary]\nsamples = 'one'", "diary.samples"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, complaint: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(f'lineage = "x"\n[[corpus]]\npackage = "chitchat"\n{line}\n')
    with pytest.raises(ConfigError, match=r"wrong\.toml:\d+: ") as caught:
        load_recipe(path)
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("", "exactly one of"),
        ('package = "chitchat"\nfolder = "x"', "exactly one of"),
        ('package = "chitchat"\nrevision = "main"', "only a hub source"),
        ('function = "just_a_name"', "is not module:function"),
    ],
)
def test_a_source_is_one_thing(tmp_path: Path, source: str, complaint: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(f'lineage = "x"\n[[corpus]]\n{source}\n')
    with pytest.raises(ConfigError, match=complaint):
        load_recipe(path)


def test_two_recipes_differ_by_key(make_recipe: Callable[..., Recipe]) -> None:
    one = make_recipe().model_dump(mode="json")
    two = make_recipe(seed=2, base={"steps": 41}).model_dump(mode="json")
    assert differences(one, two) == ["base.steps: 40 -> 41", "seed: 1 -> 2"]
    assert differences(one, one) == []
