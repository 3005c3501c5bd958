"""`selves train post` and `selves train reward try`, as the front door calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from selves.__main__ import main
from selves.lineage import list_ages
from selves.settings import House
from tests.training.post.parts import BASE
from training.post.recipe import load_post_recipe

RECIPE = f"""
lineage = "adder"
base = "{BASE}"
method = "sft"
steps = 4
batch = 4
rate = 3e-3
held_out = 0.2
[[data]]
function = "training.datasets.sums:rows"
[diary]
max_tokens = 4
"""


@pytest.fixture
def recipe(post_house: House, tmp_path: Path) -> Path:
    path = tmp_path / "adder.toml"
    path.write_text(RECIPE)
    return path


def test_a_dry_run_shows_rows_tokens_memory_and_time_and_makes_nothing(
    recipe: Path, post_house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "post", str(recipe), "--dry-run", "--threads", "1"]) == 0
    said = capsys.readouterr().out
    assert "<|user|>What is " in said
    assert "<|assistant|>»" in said
    for part in ("rows to learn", "held out", "tokens,", "parameters are learned", "about 1 min here"):
        assert part in said
    assert not list_ages(post_house.checkpoints, "adder")


def test_a_run_prints_its_ages_what_changed_and_how_they_join_a_cast(
    recipe: Path, post_house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "post", str(recipe), "--threads", "1"]) == 0
    said = capsys.readouterr()
    assert "kept adder@sft-000004" in said.err
    assert "held-out answers: nats per token" in said.out
    assert 'name = "Adder"\naddress = "adder@sft-000004"' in said.out
    assert main(["train", "post", str(recipe), "--threads", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [age["address"] for age in found["ages"]] == ["adder@sft-000004"]
    assert list(found["figures"]) == [BASE, "adder@sft-000004"]
    assert main(["train", "post", str(recipe), "--threads", "1", "--fresh"]) == 0
    assert "deleted adder@sft-000004" in capsys.readouterr().err


def test_a_mistake_in_a_recipe_is_named_with_its_line(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe.write_text(RECIPE.replace("steps", "stepps"))
    assert main(["train", "post", str(recipe)]) == 2
    assert f"{recipe}:5: unknown key 'stepps'; did you mean 'steps'?" in capsys.readouterr().err


@pytest.mark.parametrize("path", sorted(Path("recipes/post").glob("*.toml")), ids=lambda path: path.stem)
def test_the_recipes_of_this_repository_are_read(path: Path) -> None:
    assert load_post_recipe(path).age_steps


def test_a_reward_is_tried_on_the_rows_own_answers_and_on_an_ages(
    post_house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    told = ["train", "reward", "try", "training.post.rewards:exact"]
    told += ["--data", "function=training.datasets.sums:rows", "--rows", "2", "--json"]
    assert main(told) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["reward"] for line in found] == [1.0, 1.0, 0.0] * 2
    assert main([*told, "--age", BASE, "--samples", "3"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 6
    assert main([*told[:-1], "--say", "no"]) == 0
    assert "all alike, so there is nothing to learn from" in capsys.readouterr().out
    assert main([*told[:3], "training.post.rewards:nothing", *told[4:]]) == 2
    dealt = ["training.novel.controls:permuted", *told[4:], "--option", "of = 'training.post.rewards:exact'"]
    assert main([*told[:3], *dealt]) == 0
    worth = [json.loads(line)["reward"] for line in capsys.readouterr().out.splitlines()]
    assert [sorted(worth[:3]), sorted(worth[3:])] == [[0.0, 1.0, 1.0]] * 2
    assert main([*told[:3], *dealt[:-1], "of"]) == 2
