"""`selves train post` and `selves train reward try`, as the front door calls them."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from selves.__main__ import main
from selves.lineage import find_age, list_ages
from selves.settings import House
from tests.hub_double.client import point_at
from tests.hub_double.server import Hub
from tests.training.post.parts import BASE
from training.post.recipe import load_post_recipe
from training.traits.run import find_trait, questions

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
[probes]
traits = ["knows"]
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


def test_a_dry_run_brings_no_folder_into_the_house(
    recipe: Path, post_house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(find_age(post_house.checkpoints, BASE).folder, "elsewhere")
    recipe.write_text(RECIPE.replace(BASE, "elsewhere"))
    assert main(["train", "post", str(recipe), "--dry-run", "--threads", "1"]) == 0
    said = capsys.readouterr().out
    assert "elsewhere would be brought in first, as elsewhere@import-000000" in said
    assert "about 1 min here" in said
    assert not (post_house.checkpoints / "elsewhere").exists()


def test_of_a_model_on_the_hub_a_dry_run_reads_all_but_the_weights(
    recipe: Path,
    post_house: House,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe.write_text(RECIPE.replace(BASE, "anna/elsewhere") + "[lora]\nrank = 2\n")
    told = ["train", "post", str(recipe), "--threads", "1"]
    with Hub() as hub:
        point_at(hub, hub.add_user("anna"), tmp_path / "hf", monkeypatch)
        api = HfApi()
        api.create_repo("anna/elsewhere")
        folder = find_age(post_house.checkpoints, BASE).folder
        api.upload_folder(repo_id="anna/elsewhere", folder_path=str(folder))
        assert main([*told, "--dry-run"]) == 0
        said = capsys.readouterr().out
        assert "anna/elsewhere would be brought in first, as elsewhere@import-000000" in said
        assert "of 123,328 parameters are learned" in said
        assert "known when its weights are here" in said
        assert not list((tmp_path / "hf").rglob("*.safetensors"))
        assert not (post_house.checkpoints / "elsewhere").exists()
        assert main(told) == 0
    assert find_age(post_house.checkpoints, "adder@sft-000004").card.parent == "elsewhere@import-000000"
    assert main([*told, "--fresh"]) == 0, "it is here, so the Hub is not asked again"


def test_a_run_prints_its_ages_what_changed_and_how_they_join_a_cast(
    recipe: Path, post_house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [item.messages[-1].content for item in questions(find_trait("knows"))]
    rows = [{"prompt": question, "completion": "7"} for question in (asked[0], asked[2], "What?")]
    file = recipe.with_name("asked.jsonl")
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    more = f"[[data]]\nfile = {json.dumps(str(file))}\n[diary]"
    recipe.write_text(recipe.read_text("utf-8").replace("[diary]", more), "utf-8")
    assert main(["train", "post", str(recipe), "--threads", "1"]) == 0
    said = capsys.readouterr()
    assert "kept adder@sft-000004" in said.err
    assert "held-out answers: nats per token" in said.out
    assert "knows: right sums before wrong ones" in said.out
    left_out = re.search(r"(\d+) rows are left out: they hold a question of a probe", said.err)
    assert left_out
    readme = (post_house.checkpoints / "adder" / "sft-000004" / "README.md").read_text("utf-8")
    assert f"{left_out[1]} left out that hold a probe" in readme
    assert "| knows: right sums before wrong ones |" in readme
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
    assert [line["reward"] for line in found] == [1.0, 0.0] * 2, "each answer once"
    assert main([*told, "--age", BASE, "--samples", "3"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 6
    assert main([*told[:-1], "--say", "no"]) == 0
    assert "all alike, so there is nothing to learn from" in capsys.readouterr().out
    assert main([*told[:3], "training.post.rewards:nothing", *told[4:]]) == 2
    dealt = ["training.novel.controls:permuted", *told[4:], "--option", "of = 'training.post.rewards:exact'"]
    assert main([*told[:3], *dealt]) == 0
    worth = [json.loads(line)["reward"] for line in capsys.readouterr().out.splitlines()]
    assert [sorted(worth[:2]), sorted(worth[2:])] == [[0.0, 1.0]] * 2
    assert main([*told[:3], *dealt[:-1], "of"]) == 2


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"--data": "function=foo"}, "--data function=foo: 'foo' is not module:function"),
        ({"--rows": "-4"}, "argument --rows: '-4' is not a number from 1"),
    ],
)
def test_what_cannot_be_tried_is_said_in_a_sentence(
    post_house: House, capsys: pytest.CaptureFixture[str], changed: dict[str, str], problem: str
) -> None:
    told = {"--data": "function=training.datasets.sums:rows", "--say": "x"} | changed
    words = [word for pair in told.items() for word in pair]
    try:
        code = main(["train", "reward", "try", "training.post.rewards:asks", *words])
    except SystemExit as left:  # argparse's way
        code = left.code
    assert code == 2
    assert problem in capsys.readouterr().err


def test_a_new_self_joins_the_cast_and_is_moved_to_its_newer_age(
    recipe: Path, post_house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELVES_CAST", str(post_house.cast_path))
    before = f'# who lives here\n[[persona]]\nname = "Ash"\naddress = "{BASE}"   # the first\n\n[filter]\n'
    post_house.cast_path.write_text(before, "utf-8")
    assert main(["train", "post", str(recipe), "--threads", "1", "--join", "--as", "Count"]) == 0
    after = post_house.cast_path.read_text("utf-8")
    assert after == f'{before}\n[[persona]]\nname = "Count"\naddress = "adder@sft-000004"\n'

    longer = recipe.with_name("longer.toml")
    longer.write_text(
        recipe.read_text().replace(BASE, "adder@sft-000004").replace('sft"', 'sft"\nstage = "more"')
    )
    assert main(["train", "post", str(longer), "--threads", "1", "--join", "--as", "count"]) == 0
    assert post_house.cast_path.read_text("utf-8") == after.replace("sft-000004", "more-000004")


def test_a_name_that_another_lineage_has_is_refused_before_anything_is_learned(
    recipe: Path, post_house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SELVES_CAST", str(post_house.cast_path))
    post_house.cast_path.write_text(f'[[persona]]\nname = "Adder"\naddress = "{BASE}"\n', "utf-8")
    assert main(["train", "post", str(recipe), "--join"]) == 2
    assert "--as NAME" in capsys.readouterr().err
    assert main(["train", "post", str(recipe), "--join", "--as", "<b>"]) == 2
    assert "is not a name" in capsys.readouterr().err
    assert not list_ages(post_house.checkpoints, "adder")
