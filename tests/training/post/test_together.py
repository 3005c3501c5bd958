"""Two processes make the self that one makes, and go on where they were killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from selves.errors import TrainingError
from selves.lineage import find_age
from selves.settings import House
from tests.training.post.parts import MakePost
from training.parallel import World
from training.post.recipe import PostRecipe
from training.post.run import train
from training.stage import Machine

Launch = Callable[..., str]
LIMIT = 37
"""Of so many rows 32 are learned, a multiple of the batch: the last of a pass is as long as the others."""
DYING = """
import os, signal
from pathlib import Path

def third_time(completions):
    with Path("calls").open("a") as file:
        file.write("called\\n")
    if len(Path("calls").read_text().splitlines()) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return [1.0] * len(completions)
"""


@pytest.fixture
def launch(post_house: House, write_recipe: Callable[[Any], Path]) -> Launch:
    """Run `selves train post` in two processes, as a user does; return what it said."""

    def call(recipe: PostRecipe, how: str, *, dies: bool = False) -> str:
        told = ["train", "post", str(write_recipe(recipe)), "--processes", "2", "--parallel", how]
        done = subprocess.run(
            [sys.executable, "-m", "selves", *told, "--threads", "1"],
            env=os.environ | {"SELVES_HOME": str(post_house.home), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode != 0) is dies, done.stdout + done.stderr
        return done.stdout + done.stderr

    return call


def assert_same_self(house: House, one: str, two: str) -> None:
    """The same steps with the same losses, and the same weights; sums in another order round differently."""
    logged = [
        [(line["step"], line["tokens"], line["loss"]) for line in map(json.loads, text.splitlines())]
        for text in ((house.checkpoints / name / "metrics.jsonl").read_text("utf-8") for name in (one, two))
    ]
    assert [line[:2] for line in logged[0]] == [line[:2] for line in logged[1]]
    assert [line[2] for line in logged[0]] == pytest.approx([line[2] for line in logged[1]], abs=1e-3)
    first, second = (find_age(house.checkpoints, f"{name}@sft-000008") for name in (one, two))
    second.verify()
    weights = load_file(second.folder / second.weights_file)
    for name, tensor in load_file(first.folder / first.weights_file).items():
        assert torch.allclose(tensor, weights[name], atol=1e-2), name


@pytest.mark.slow
def test_two_processes_that_were_killed_come_to_the_self_that_one_comes_to(
    post_house: House, make_post: MakePost, launch: Launch
) -> None:
    Path("dying.py").write_text(DYING)
    changes = {"ages": 2, "data": [{"file": "answers.jsonl", "limit": LIMIT}]}
    dying = {"rewards": ["dying:third_time"], "at_ages": True, "items": 2}
    said = launch(make_post(lineage="both", probes=dying, **changes), "ddp", dies=True)
    assert said.count("kept both@sft-000004") == 1
    said = launch(make_post(lineage="both", **changes), "ddp")
    assert "going on from checkpoint 4 of 8" in said
    assert said.count("kept both@sft-000008") == 1
    train(make_post(lineage="alone", **changes), post_house, threads=1)
    assert_same_self(post_house, "alone", "both")


@pytest.mark.slow
def test_two_processes_that_hold_half_a_model_each_come_to_the_same_self(
    post_house: House, make_post: MakePost, launch: Launch
) -> None:
    changes = {"ages": 2, "lora": {"rank": 4}, "data": [{"file": "answers.jsonl", "limit": LIMIT}]}
    said = launch(make_post(lineage="halves", **changes), "fsdp")
    assert said.count("kept halves@sft-000008") == 1
    train(make_post(lineage="alone", **changes), post_house, threads=1)
    assert_same_self(post_house, "alone", "halves")


def test_rows_that_cannot_be_shared_are_named(post_house: House, make_post: MakePost) -> None:
    three = Machine(World(rank=0, size=3))
    with pytest.raises(TrainingError, match="8 rows cannot be shared evenly by 3 processes"):
        train(make_post(), post_house, machine=three)
