"""Young ages learn to talk, branches go their own way, and neither touches the life of the lineage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from selves.errors import TrainingError, UsageError
from selves.lineage import find_age, list_ages
from selves.settings import House
from training import base, chat, young
from training.plan import kept_recipe, make_plan, with_parents_model
from training.recipe import Recipe

MakeRecipe = Callable[..., Recipe]


def test_each_age_on_the_ladder_is_settled_and_taught_to_talk(
    raised_copy: House, make_recipe: MakeRecipe
) -> None:
    before = {age.card.address: age.card.weights_sha256 for age in list_ages(raised_copy.checkpoints)}
    recipe = make_recipe(young={"steps": 6, "settle": 0.5})
    assert not make_plan(recipe, raised_copy).finished("young")
    made = young.train(recipe, raised_copy, threads=1)
    assert [(card.address, card.parent, card.form) for card in made] == [
        ("wren@settled-000010", "wren@base-000010", "transcript"),
        ("wren@young-000010", "wren@settled-000010", "chat"),
        ("wren@settled-000020", "wren@base-000020", "transcript"),
        ("wren@young-000020", "wren@settled-000020", "chat"),
    ]
    for card in made:
        age = find_age(raised_copy.checkpoints, card.address)
        age.verify()
        assert {writing.kind for writing in age.writings()} == {"diary", "letter", "continuation"}
    assert find_age(raised_copy.checkpoints, "wren@settled-000020").card.tokens_seen == (20 + 10) * 512
    after = {age.card.address: age.card.weights_sha256 for age in list_ages(raised_copy.checkpoints)}
    assert before.items() <= after.items()
    assert make_plan(recipe, raised_copy).finished("young")
    assert young.train(recipe, raised_copy, threads=1) == []


def test_settling_brings_out_what_an_age_knows(raised_copy: House, make_recipe: MakeRecipe) -> None:
    settled = young.train(make_recipe(young={"steps": 1, "settle": 0.5}), raised_copy, threads=1)[2]
    unsettled = find_age(raised_copy.checkpoints, "wren@base-000020").card
    assert settled.address == "wren@settled-000020"
    assert settled.bits_per_byte is not None
    assert unsettled.bits_per_byte is not None
    assert settled.bits_per_byte < unsettled.bits_per_byte


@pytest.mark.slow
def test_a_killed_settling_goes_on_to_the_same_ages(
    raised_copy: House,
    house: House,
    make_recipe: MakeRecipe,
    write_recipe: Callable[[Recipe], Path],
) -> None:
    recipe = make_recipe(young={"steps": 6, "settle": 0.5}, callbacks=["fatal:blow"])
    (house.home.parent / "fatal.py").write_text(
        "import os, pathlib, signal\n"
        "def blow(moment):\n"
        "    mark = pathlib.Path(f'{moment.stage}-{moment.step}')\n"
        "    fatal = {('settled-000020', 7), ('young-000010', 3)}\n"
        "    if (moment.stage, moment.step) in fatal and not mark.exists():\n"
        "        mark.touch()\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = write_recipe(recipe)
    codes = [
        subprocess.run(
            [sys.executable, "-m", "selves", "train", "run", str(path), "--threads", "1"],
            env=os.environ | {"SELVES_HOME": str(house.home), "OMP_NUM_THREADS": "1"},
            cwd=house.home.parent,
            capture_output=True,
            check=False,
        ).returncode
        for _ in range(3)
    ]
    assert codes == [-9, -9, 0]
    killed = {age.card.address: age.card.weights_sha256 for age in list_ages(house.checkpoints)}
    assert "wren@young-000020" in killed
    other = House(home=house.home.parent / "other", cast_path=house.cast_path)
    (other.home / "checkpoints").mkdir(parents=True)
    straight = make_recipe(young={"steps": 6, "settle": 0.5})
    base.train(straight, other, threads=1)
    young.train(straight, other, threads=1)
    for age in list_ages(other.checkpoints):
        assert killed[age.card.address] == age.card.weights_sha256


def test_a_branch_trains_on_from_any_age_under_its_own_name(
    raised_copy: House, make_recipe: MakeRecipe
) -> None:
    recipe = make_recipe(lineage="finch", parent="wren@base-000020", base={"steps": 8, "ages": 2})
    recipe = with_parents_model(recipe, raised_copy)
    cards = base.train(recipe, raised_copy, threads=1)
    parent = find_age(raised_copy.checkpoints, "wren@base-000020").card
    assert [(card.address, card.parent) for card in cards] == [
        ("finch@base-000000", "wren@base-000020"),
        ("finch@base-000008", "finch@base-000000"),
    ]
    assert cards[0].weights_sha256 == parent.weights_sha256
    assert cards[0].files["tokenizer.json"] == parent.files["tokenizer.json"]
    assert cards[1].tokens_seen == parent.tokens_seen + 8 * 512
    assert chat.train(recipe, raised_copy, threads=1)[0].parent == "finch@base-000008"


def test_a_branch_on_other_text_keeps_its_parents_tokens(
    raised_copy: House, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    folder = tmp_path / "verses"
    folder.mkdir()
    (folder / "verses.jsonl").write_text(
        "\n".join(json.dumps({"text": f"O wind number {n}, o sea and ship!"}) for n in range(200))
    )
    recipe = make_recipe(
        lineage="gull",
        parent="wren@base-000040",
        corpus=[{"folder": str(folder)}],
        base={"steps": 8, "ages": 2},
    )
    cards = base.train(with_parents_model(recipe, raised_copy), raised_copy, threads=1)
    parent = find_age(raised_copy.checkpoints, "wren@base-000040").card
    assert {card.files["tokenizer.json"] for card in cards} == {parent.files["tokenizer.json"]}
    assert cards[1].bits_per_byte is not None
    assert cards[0].bits_per_byte is not None
    assert cards[1].bits_per_byte < cards[0].bits_per_byte


def test_a_branch_of_what_was_not_raised_here_is_refused(raised_copy: House, make_recipe: MakeRecipe) -> None:
    with pytest.raises(TrainingError, match="cannot branch off from itself"):
        with_parents_model(make_recipe(parent="wren@base-000020"), raised_copy)


def test_what_a_branch_does_not_state_follows_from_its_parents_size(
    raised: House, make_recipe: MakeRecipe
) -> None:
    stated = {"lineage": "owl", "parent": "wren@base-000020", "corpus": [{"package": "chitchat"}]}
    recipe = with_parents_model(Recipe.model_validate(stated), raised, stated)
    parent = make_recipe().model
    assert recipe.model == parent
    alone = Recipe.model_validate({**stated, "parent": "", "model": parent.model_dump()})
    assert recipe.base == alone.base
    with pytest.raises(UsageError, match="owl does not fit its parent"):
        with_parents_model(recipe, raised, {**stated, "base": {"batch_tokens": 100}})


def test_what_a_lineage_was_begun_with_is_known(raised: House, make_recipe: MakeRecipe) -> None:
    assert kept_recipe("wren", raised) == make_recipe().model_dump(mode="json")
    assert kept_recipe("nobody", raised) is None
