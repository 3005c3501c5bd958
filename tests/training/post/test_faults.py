"""What goes wrong ends in one sentence or is made good: kills, full disks, numbers that are none."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from selves.__main__ import main
from selves.errors import AgeError, ConfigError, DiskError, SelvesError, TrainingError
from selves.lineage import find_age, list_ages
from selves.settings import House
from tests.training.post.parts import MakePost
from training.post import resume
from training.post.recipe import PostRecipe
from training.post.run import fresh_start, train

SITTINGS = """
import json, os, resource, signal, sys
from pathlib import Path
import torch, trl
from peft import LoraConfig
from selves.errors import SelvesError
from selves.settings import House
from training.post import models, run
from training.post.recipe import PostRecipe

torch.set_num_threads(1)
recipes = [PostRecipe.model_validate(recipe) for recipe in json.loads(sys.argv[1])]
house = House(home=Path(sys.argv[2]), cast_path=Path(sys.argv[2]) / "none.toml")

def dying(function, left, whole):
    def call(*args, **kwargs):
        left[0] -= 1
        if left[0] == 0:
            if not whole and isinstance(args[1], (str, os.PathLike)):
                Path(args[1]).write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return call

def sitting(recipe, fault):
    kind, _, number = fault.partition(" ")
    left = [int(number or 0)]
    if kind == "fsync":
        os.fsync = dying(os.fsync, left, True)
    if kind == "save":
        torch.save = dying(torch.save, left, False)
    if kind == "full":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (left[0], left[0]))
    try:
        run.train(recipe, house, threads=1, state_every_s=0.0)
    except SelvesError as error:
        print(type(error).__name__, error.problem, flush=True)
        os._exit(error.exit_code)
    os._exit(0)

for recipe, fault in ((recipe, fault) for recipe in recipes for fault in sys.argv[3:]):
    child = os.fork()
    if child == 0:
        sitting(recipe, fault)
    print(fault, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def sit(recipes: Sequence[PostRecipe], house: House, *faults: str) -> list[str]:
    """Run each recipe once for each fault, in a process of its own that dies of it; return what was said."""
    told = json.dumps([recipe.model_dump(mode="json") for recipe in recipes])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SITTINGS, told, str(house.home), *faults],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def essence(house: House, lineage: str = "quill") -> list[tuple[Any, ...]]:
    """All of a lineage's ages that does not tell the time."""
    return [
        (
            age.card.model_copy(update={"created_at": None, "files": {}}),
            [writing.utterance.token_ids for writing in age.writings()],
            age.read_json("figures.json"),
        )
        for age in list_ages(house.checkpoints, lineage)
    ]


MANY = ("fsync 3", "save 1", "fsync 12", "save 5", "fsync 34")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("runs", "faults"),
    [
        ({"sft": {"lora": {"rank": 2, "dropout": 0.1}, "steps": 7}}, MANY),
        ({"grpo": {"steps": 7, "trl": {"num_iterations": 2}}}, MANY),
        ({"distill": {"steps": 7, "distill": {"teacher": "tiny@base-000016", "max_tokens": 4}}}, MANY),
        ({"sdft": {"steps": 7, "distill": {"max_tokens": 4}, "micro_batch": 4}}, MANY),
        (
            {
                "dpo": {"lora": {"rank": 2}, "keep": "merged", "steps": 3},
                "kto": {"steps": 3},
                "reward": {"lora": {"rank": 2}, "steps": 3},
            },
            ("save 3",),
        ),
    ],
    ids=["sft", "grpo", "distill", "sdft", "dpo, kto and reward"],
)
def test_killed_again_and_again_it_comes_to_the_same_self(
    post_house: House,
    make_post: MakePost,
    tmp_path: Path,
    runs: dict[str, dict[str, Any]],
    faults: Sequence[str],
) -> None:
    recipes = [make_post(method, lineage=method, ages=2, **changes) for method, changes in runs.items()]
    straight = House(home=tmp_path / "straight", cast_path=tmp_path / "none.toml")
    straight.checkpoints.parent.mkdir()
    straight.checkpoints.symlink_to(tmp_path / "ages")
    (tmp_path / "ages").mkdir()
    (tmp_path / "ages" / "tiny").symlink_to(post_house.checkpoints / "tiny")
    said = sit(recipes, post_house, *faults)
    assert said == [f"{fault} -9" for _ in recipes for fault in faults]
    for recipe in recipes:
        train(recipe, post_house, threads=1)
        train(recipe, straight, threads=1)
        assert essence(post_house, recipe.lineage) == essence(straight, recipe.lineage)
        folders = [house.checkpoints / recipe.lineage for house in (post_house, straight)]
        logged = [
            [(line["step"], line["figures"]["loss"]) for line in map(json.loads, text.splitlines())]
            for text in ((folder / "metrics.jsonl").read_text("utf-8") for folder in folders)
        ]
        assert logged[0] == logged[1]
        assert not list(folders[0].glob(".partial*"))


@pytest.mark.slow
def test_a_full_disk_is_said_and_made_good(post_house: House, make_post: MakePost) -> None:
    recipe = make_post(steps=2)
    said = sit([recipe], post_house, "full 100", "full 500000", "none")
    errors = [line for line in said if line.startswith("DiskError")]
    assert len(errors) == 2
    assert all("could not be written" in line for line in errors)
    assert said[-1] == "none 0"
    find_age(post_house.checkpoints, "quill@sft-000002").verify()


def test_weights_that_are_no_numbers_are_not_kept(post_house: House, make_post: MakePost) -> None:
    recipe = make_post(
        rate=1.0, schedule="constant", warmup=0.0, ages=3, trl={"max_grad_norm": 0.0, "optim": "sgd"}
    )
    recipe = recipe.model_copy(update={"rate": 1e38})
    with pytest.raises(TrainingError, match=r"loss is nan|no longer a number"):
        train(recipe, post_house, threads=1)
    assert list_ages(post_house.checkpoints, "quill") == []
    assert fresh_start(recipe, post_house) == []
    assert train(make_post(steps=1), post_house, threads=1)


@pytest.mark.parametrize(
    ("reward", "problem"),
    [
        ("raise ValueError('seven')", r"worth:of failed: ValueError\('seven'\)"),
        ("return [float('nan')] * len(completions)", "worth:of gave nan"),
        ("return [1.0]", "worth:of gave 1 numbers for 8 answers"),
        ("return ['good'] * len(completions)", "worth:of gave 'good'"),
    ],
)
def test_a_reward_that_is_none_is_named(
    post_house: House, make_post: MakePost, monkeypatch: pytest.MonkeyPatch, reward: str, problem: str
) -> None:
    monkeypatch.delitem(sys.modules, "worth", raising=False)
    monkeypatch.syspath_prepend(str(post_house.home.parent))
    Path("worth.py").write_text(f"def of(completions, **_):\n    {reward}\n")
    told = {"functions": ["worth:of"], "group": 4, "max_tokens": 2}
    with pytest.raises(TrainingError, match=problem):
        train(make_post("grpo", reward=told, held_out=0.0), post_house, threads=1)
    assert list_ages(post_house.checkpoints, "quill") == []


def test_a_template_that_hides_where_the_answer_begins_is_refused(
    post_house: House, make_post: MakePost
) -> None:
    Path("odd.jinja").write_text("{{ messages | length }}{% for m in messages %} {{ m.content }}{% endfor %}")
    with pytest.raises(ConfigError, match="renders a prompt otherwise when its answer follows"):
        train(make_post(template="odd.jinja"), post_house, threads=1)


@pytest.mark.parametrize(
    ("changes", "error", "problem"),
    [
        ({"base": "nobody@chat-000001"}, AgeError, "there is no age nobody@chat-000001"),
        ({"trl": {"colour": 1}}, ConfigError, "has no setting 'colour'"),
        ({"trl": {"seed": 3}}, ConfigError, "seed is what the run itself sets"),
        ({"lora": {"targets": ["q_prj"]}}, ConfigError, "q_prj"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(
    post_house: House, make_post: MakePost, changes: dict[str, Any], error: type[SelvesError], problem: str
) -> None:
    with pytest.raises(error, match=problem):
        train(make_post(**changes), post_house, threads=1)


def test_a_run_does_not_go_on_as_another(post_house: House, make_post: MakePost) -> None:
    train(make_post(steps=2), post_house, threads=1)
    with pytest.raises(TrainingError, match=r"quill@sft-000002 was made otherwise: rate: 0.003 -> 0.1"):
        train(make_post(steps=2, rate=0.1), post_house, threads=1)
    answers = Path("answers.jsonl")
    read = answers.read_text("utf-8")
    answers.write_text(read + read[: read.index("\n") + 1].replace("fine", "well"), "utf-8")
    with pytest.raises(
        TrainingError, match=r"quill@sft-000002 was made otherwise: .*answers.jsonl is not what"
    ):
        train(make_post(steps=2), post_house, threads=1)
    assert fresh_start(make_post(steps=2), post_house) == ["quill@sft-000002"]
    assert train(make_post(steps=2, rate=0.1), post_house, threads=1)


def test_what_was_refused_is_taken_when_it_is_corrected(post_house: House, make_post: MakePost) -> None:
    with pytest.raises(ConfigError, match="nope"):
        train(make_post(steps=1, lora={"targets": ["nope"]}), post_house, threads=1)
    assert train(make_post(steps=1, lora={"targets": ["q_proj"]}), post_house, threads=1)


def test_a_run_of_which_something_was_kept_is_not_begun_otherwise(
    tmp_path: Path, make_post: MakePost
) -> None:
    def begin(state: Path, rate: float) -> dict[str, Any]:
        return resume.begin(state, make_post(steps=1, rate=rate), "rows", "base", False)

    for kept in (Path(".state/sft/checkpoint-1"), Path("sft-000001")):
        state = tmp_path / kept.name / ".state" / "sft"
        state.mkdir(parents=True)
        assert begin(state, 0.1) != begin(state, 0.2)
        folder = tmp_path / kept.name / kept
        folder.mkdir()
        resume.seal(folder)
        assert begin(state, 0.2)
        with pytest.raises(TrainingError, match=r"quill's sft was begun otherwise: rate: 0.2 -> 0.1"):
            begin(state, 0.1)


def test_what_a_run_goes_on_by_stays_until_it_is_finished(
    post_house: House,
    make_post: MakePost,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SELVES_CAST", str(post_house.cast_path))
    Path("broken.py").write_text("def off(completions):\n    raise ValueError\n")
    monkeypatch.syspath_prepend(".")
    teacher = {"teacher": "tiny@base-000004", "max_tokens": 2}
    distill = make_post("distill", distill=teacher, probes={"rewards": ["broken:off"]})
    with pytest.raises(TrainingError, match="broken:off failed"):
        train(distill, post_house, threads=1)
    ageing = make_post("ageing", ageing={"toward": "tiny@base-000000", "ages": 2, "until": 0.5})
    train(ageing, post_house, threads=1, ages=1)
    prune = ["ages", "prune", "tiny@base-000000", "tiny@base-000004", "--yes"]
    assert main(prune) == 2
    said = capsys.readouterr().err
    assert "tiny@base-000004: quill's distill is not finished, and goes on by it" in said
    assert "tiny@base-000000: quill's ageing is not finished, and goes on by it" in said
    train(ageing, post_house, threads=1)
    fresh_start(distill, post_house)
    assert main(prune) == 0


def test_only_what_a_disk_says_is_taken_for_a_full_one(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="disk is full"), resume.writable(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(TrainingError, match="cannot be reached: refused"), resume.writable(tmp_path):
        raise ConnectionRefusedError("refused")
    with pytest.raises(FileNotFoundError), resume.writable(tmp_path):
        raise FileNotFoundError("of a reward of somebody's")
    with pytest.raises(TrainingError, match="no room for this") as caught, resume.writable(tmp_path):
        raise torch.OutOfMemoryError("CUDA out of memory")
    assert "micro_batch" in caught.value.fix
