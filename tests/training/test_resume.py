"""A run that is killed at any moment and started again comes to the same self, bit for bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from selves.files import PARTIAL_PREFIX
from selves.lineage import Age, list_ages
from selves.settings import House
from training.recipe import Recipe

MakeRecipe = Callable[..., Recipe]

CHILD = """
import os, signal, sys
kind, number, every = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
import torch
from training import cli, loop, optim, shards
loop.STATE_EVERY_S = every
left = number
def at(module, name, when, signal_number=signal.SIGKILL):
    plain = getattr(module, name)
    def called(*args, **kwargs):
        global left
        left -= 1
        if left == 0 and when == "before":
            os.kill(os.getpid(), signal_number)
        result = plain(*args, **kwargs)
        if left == 0 and when == "after":
            os.kill(os.getpid(), signal_number)
        return result
    setattr(module, name, called)
if kind == "step":
    at(optim.Optimizer, "step", "after")
elif kind == "fsync":
    at(os, "fsync", "before")
elif kind == "interrupt":
    at(optim.Optimizer, "step", "before", signal.SIGINT)
elif kind == "nan":
    at_step = number
    plain = optim.Optimizer.step
    def poisoned(self, *args):
        plain(self, *args)
        if self.steps == at_step:
            with torch.no_grad():
                for _, parameter, _ in self._rest:
                    parameter.fill_(float("nan"))
    optim.Optimizer.step = poisoned
elif kind == "full":
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (number, number))
from selves.cli import run_command
sys.exit(run_command(cli.main, ["run", sys.argv[4], "--threads", "1"]))
"""


@pytest.fixture
def train(house: House) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `selves train run` in a process of its own that ends itself at the n-th call of something."""

    def call(
        recipe: Path, kind: str = "", number: int = 0, every: float = 20.0
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", CHILD, kind, str(number), str(every), str(recipe)],
            env=os.environ | {"SELVES_HOME": str(house.home), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )

    return call


def essence(ages: list[Age]) -> list[tuple[object, ...]]:
    """All of the ages that does not tell the time."""
    return [
        (
            age.card.model_copy(update={"created_at": None, "files": {}}),
            [
                (w.kind, w.utterance.token_ids, w.utterance.mean_logprob, w.utterance.text)
                for w in age.writings()
            ],
        )
        for age in ages
    ]


def logged(house: House) -> list[tuple[object, ...]]:
    text = (house.checkpoints / "wren" / "metrics.jsonl").read_text("utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    return [
        (line["stage"], line["step"], line["tokens"], line["loss"], line["bits_per_byte"]) for line in lines
    ]


@pytest.mark.slow
@pytest.mark.parametrize("every", [0.0, 1000.0], ids=["state at every step", "state at ages alone"])
def test_killed_again_and_again_it_comes_to_the_same_self(
    raised: House,
    house: House,
    train: Callable[..., subprocess.CompletedProcess[str]],
    write_recipe: Callable[[Recipe], Path],
    make_recipe: MakeRecipe,
    every: float,
) -> None:
    recipe = write_recipe(make_recipe())
    for kind, number in [
        ("fsync", 16),
        ("fsync", 9),
        ("step", 13),
        ("fsync", 14),
        ("step", 6),
        ("fsync", 20),
    ]:
        killed = train(recipe, kind, number, every)
        assert killed.returncode == -9, killed.stderr
        for age in list_ages(house.checkpoints):
            age.verify()
    done = train(recipe, every=every)
    assert done.returncode == 0, done.stderr
    assert essence(list_ages(house.checkpoints)) == essence(list_ages(raised.checkpoints))
    assert logged(house) == logged(raised)
    assert not list(house.home.rglob(f"{PARTIAL_PREFIX}*"))


def test_after_ctrl_c_it_goes_on_from_the_very_step(
    raised: House,
    house: House,
    train: Callable[..., subprocess.CompletedProcess[str]],
    write_recipe: Callable[[Recipe], Path],
    make_recipe: MakeRecipe,
) -> None:
    recipe = write_recipe(make_recipe())
    stopped = train(recipe, "interrupt", 27)
    assert stopped.returncode == 130
    assert "stopped after step 27 of 40" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    done = train(recipe)
    assert "going on from step 27 of 40" in done.stderr
    assert essence(list_ages(house.checkpoints)) == essence(list_ages(raised.checkpoints))
    assert logged(house) == logged(raised)


def test_a_loss_that_is_not_a_number_ends_the_run_and_leaves_whole_ages(
    house: House,
    train: Callable[..., subprocess.CompletedProcess[str]],
    write_recipe: Callable[[Recipe], Path],
    make_recipe: MakeRecipe,
) -> None:
    failed = train(write_recipe(make_recipe()), "nan", 13)
    assert failed.returncode == 1
    assert "the loss is nan at step 14 of base" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert [age.address.age for age in list_ages(house.checkpoints)] == ["base-000000", "base-000010"]
    assert not list(house.home.rglob(f"{PARTIAL_PREFIX}*"))


def test_weights_that_turn_to_nothing_just_before_an_age_are_not_kept(
    house: House,
    train: Callable[..., subprocess.CompletedProcess[str]],
    write_recipe: Callable[[Recipe], Path],
    make_recipe: MakeRecipe,
) -> None:
    failed = train(write_recipe(make_recipe()), "nan", 10)
    assert failed.returncode == 1
    assert "wren@base-000010 cannot be kept" in failed.stderr
    assert [age.address.age for age in list_ages(house.checkpoints)] == ["base-000000"]


def test_a_full_disk_leaves_nothing_half_written(
    raised: House,
    house: House,
    train: Callable[..., subprocess.CompletedProcess[str]],
    write_recipe: Callable[[Recipe], Path],
    make_recipe: MakeRecipe,
) -> None:
    recipe = write_recipe(make_recipe())
    size = (raised.checkpoints / "wren" / "base-000000" / "model.safetensors").stat().st_size
    for limit in (
        10_000,
        size - 1,
        size + 1000,
    ):  # the corpus, the weights, the state: each too large in turn
        failed = train(recipe, "full", limit)
        assert failed.returncode == 1, failed.stderr
        assert "could not be written" in failed.stderr
        assert "Traceback" not in failed.stderr
        assert not list(house.home.rglob(f"{PARTIAL_PREFIX}*"))
        for age in list_ages(house.checkpoints):
            age.verify()
    done = train(recipe)
    assert done.returncode == 0, done.stderr
    assert essence(list_ages(house.checkpoints)) == essence(list_ages(raised.checkpoints))


def test_nobody_who_writes_changes_what_is_learned(tmp_path: Path, make_recipe: MakeRecipe) -> None:
    from training import base, chat

    def live(samples: int) -> list[Age]:
        house = House(home=tmp_path / f"home-{samples}", cast_path=tmp_path / "selves.toml")
        recipe = make_recipe(base={"steps": 12}, chat={"steps": 4}, diary={"samples": samples})
        base.train(recipe, house, threads=1)
        chat.train(recipe, house, threads=1)
        return list_ages(house.checkpoints)

    silent, writing = live(0), live(3)
    assert [age.card.weights_sha256 for age in silent] == [age.card.weights_sha256 for age in writing]
    assert [len(age.writings()) for age in silent] == [0] * 5
    assert [len(age.writings()) for age in writing] == [9] * 5


def test_a_state_that_is_damaged_is_named(
    raised_copy: House, make_recipe: MakeRecipe, write_recipe: Callable[[Recipe], Path]
) -> None:
    from selves.errors import TrainingError
    from training.plan import make_plan

    state = raised_copy.checkpoints / "wren" / ".state" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:5])
    with pytest.raises(TrainingError, match=r"state\.safetensors cannot be used"):
        make_plan(make_recipe(), raised_copy)
