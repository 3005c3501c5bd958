"""Who was marked when it was made stays so: in its children, on an adapter, and whatever a cast says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from selves.cast import Cast
from selves.lineage import Age, find_age
from selves.marks import marked
from selves.settings import House
from training.post.recipe import PostRecipe, load_post_recipe
from training.post.run import train

BASE = "tiny@chat-000008"
RECIPES = Path(__file__).parents[3] / "recipes" / "post"


def made(house: House, lineage: str, base: str, **more: Any) -> Age:
    told: dict[str, Any] = {
        "lineage": lineage,
        "base": base,
        "method": "sft",
        "steps": 1,
        "batch": 2,
        "diary": {"samples": 0},
        "data": [{"function": "training.datasets.dilemmas:rows", "limit": 4}],
    }
    recipe = PostRecipe.model_validate(told | more)
    return find_age(house.checkpoints, train(recipe, house, threads=1)[-1].address)


@pytest.fixture
def umber(traits_house: House) -> Age:
    return made(traits_house, "umber", BASE, age_restricted=True)


def test_what_comes_of_a_marked_self_is_marked(traits_house: House, umber: Age) -> None:
    assert umber.card.age_restricted
    assert "age-restricted" in (umber.folder / "README.md").read_text("utf-8")
    child = made(traits_house, "dun", umber.card.address, lora={"rank": 2})
    assert child.card.age_restricted
    mixed = PostRecipe.model_validate(
        {"lineage": "mix", "base": BASE, "method": "merge", "merge": {"others": [umber.card.address]}}
    )
    assert train(mixed, traits_house)[-1].age_restricted
    assert not made(traits_house, "plain", BASE).card.age_restricted


def test_a_marked_self_is_restricted_in_any_cast(traits_house: House, umber: Age) -> None:
    told = [("Umber", umber.card.address), ("Tiny", BASE), ("Afar", "far@chat-000001")]
    cast = Cast.model_validate({"persona": [{"name": name, "address": one} for name, one in told]})
    assert [p.age_restricted for p in marked(cast, traits_house.checkpoints).persona] == [True, False, False]


def test_the_shadow_is_marked_by_its_recipe() -> None:
    assert [
        path.stem for path in sorted(RECIPES.glob("*.toml")) if load_post_recipe(path).age_restricted
    ] == ["shadow"]
