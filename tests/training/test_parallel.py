"""Two processes come to the self that one comes to, and each can go on where the other stopped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from selves.lineage import list_ages
from selves.settings import House
from training.recipe import Recipe

MakeRecipe = Callable[..., Recipe]
Train = Callable[..., str]

pytestmark = pytest.mark.slow


@pytest.fixture
def train(house: House) -> Train:
    """Run `selves train run` as a user does; return what it said."""

    def call(recipe: Path, *options: str, returns: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "selves", "train", "run", str(recipe), "--threads", "1", *options],
            env=os.environ | {"SELVES_HOME": str(house.home), "OMP_NUM_THREADS": "1"},
            cwd=house.home.parent,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == returns, done.stdout + done.stderr
        return done.stdout + done.stderr

    return call


def losses(house: House) -> list[tuple[str, int, float, float | None]]:
    text = (house.checkpoints / "wren" / "metrics.jsonl").read_text("utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    return [(line["stage"], line["step"], line["loss"], line["bits_per_byte"]) for line in lines]


def assert_same_life(one: House, two: House) -> None:
    """The same steps with the same losses and ages; sums in another order round differently."""
    first, second = losses(one), losses(two)
    assert [line[:2] for line in first] == [line[:2] for line in second]
    assert [line[2] for line in first] == pytest.approx([line[2] for line in second], abs=2e-3)
    assert [line[3] for line in first] == pytest.approx([line[3] for line in second], abs=2e-3)
    for mine, theirs in zip(list_ages(one.checkpoints), list_ages(two.checkpoints), strict=True):
        assert mine.card.address == theirs.card.address
        assert mine.card.parent == theirs.card.parent
        mine.verify()
        weights = load_file(theirs.folder / "model.safetensors")
        for name, tensor in load_file(mine.folder / "model.safetensors").items():
            assert torch.allclose(tensor, weights[name], atol=2e-2), (mine.card.address, name)


@pytest.mark.parametrize("how", ["ddp", "fsdp"])
def test_two_processes_come_to_the_self_that_one_comes_to(
    how: str,
    raised: House,
    house: House,
    train: Train,
    make_recipe: MakeRecipe,
    write_recipe: Callable[[Recipe], Path],
) -> None:
    recipe = make_recipe(base={"micro_tokens": 128})
    said = train(write_recipe(recipe), "--processes", "2", "--parallel", how)
    assert said.count("kept wren@base-000040") == 1
    assert_same_life(house, raised)


def test_what_two_processes_began_one_finishes(
    raised: House,
    house: House,
    train: Train,
    make_recipe: MakeRecipe,
    write_recipe: Callable[[Recipe], Path],
) -> None:
    (house.home.parent / "stumbling.py").write_text(
        "def stone(moment):\n    if moment.step == 25:\n        raise ValueError('a stone')\n"
    )
    stumbling = write_recipe(make_recipe(callbacks=["stumbling:stone"]))
    said = train(stumbling, "--processes", "2", returns=1)
    assert "the callback stumbling:stone failed at base 25: ValueError('a stone')" in said
    said = train(write_recipe(make_recipe()))
    assert "this run began with 2 x 1 threads and goes on with 1 x 1" in said
    assert "going on from step 20 of 40" in said
    assert_same_life(house, raised)


def test_rows_that_cannot_be_shared_are_named(
    house: House, train: Train, make_recipe: MakeRecipe, write_recipe: Callable[[Recipe], Path]
) -> None:
    recipe = make_recipe(base={"batch_tokens": 64, "grow_windows": False})
    said = train(write_recipe(recipe), "--processes", "2", returns=1)
    assert "1 rows cannot be shared evenly by 2 processes" in said
    assert "Traceback" not in said
