"""Ages that come one by one, each on its day: the same as all at once, and who lives by them moves along."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from selves.__main__ import main
from selves.cast import load_cast
from selves.errors import ConfigError, UsageError
from selves.lineage import find_age, list_ages
from selves.moving import move
from selves.settings import House
from tests.training.post.parts import BASE, MakePost
from training.post.days import come
from training.post.run import train
from training.prune import remove

CAST = f"""# the house
[[persona]]
name = "Ash"
address = "{BASE}"          # stays

[[persona]]
address = "{BASE}"          # moves
name = "Ember"
"""
RECIPE = f"""
lineage = "dusk"
base = "{BASE}"
method = "ageing"
[ageing]
ages = 2
until = 1.0
[diary]
max_tokens = 4
[days]
begins = 2000-01-01
persona = "Ember"
"""


@pytest.fixture
def living(post_house: House, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe whose days are over, and a cast with one who lives by it."""
    monkeypatch.setenv("SELVES_CAST", str(post_house.cast_path))
    post_house.cast_path.write_text(CAST, "utf-8")
    path = Path("dusk.toml")
    path.write_text(RECIPE, "utf-8")
    return path


def test_an_age_comes_each_day_of_the_house(make_post: MakePost) -> None:
    recipe = make_post("ageing", ageing={"ages": 3}, days={"begins": "2027-03-01", "timezone": "Asia/Tokyo"})
    assert recipe.days is not None
    moments = [
        datetime(2027, 2, 28, 14, tzinfo=UTC),
        *(datetime(2027, 3, day, tzinfo=UTC) for day in (1, 2, 9)),
    ]
    assert [come(recipe, recipe.days, moment) for moment in moments] == [0, 1, 2, 3]
    assert come(recipe, recipe.days, datetime(2027, 2, 28, 15, tzinfo=UTC)) == 1


@pytest.mark.parametrize("method", ["ageing", "sft"])
def test_ages_that_come_one_by_one_are_those_that_come_at_once(
    post_house: House, make_post: MakePost, method: str
) -> None:
    changes = {"ageing": {"ages": 3, "until": 1.0}} if method == "ageing" else {"ages": 3, "steps": 4}
    daily = make_post(method, lineage="daily", days={"begins": date(2027, 3, 1)}, **changes)
    for day in (1, 2, 2, 3):
        cards = train(daily, post_house, threads=1, ages=day)
        assert len(cards) == len(list_ages(post_house.checkpoints, "daily")) == day
    at_once = train(make_post(method, lineage="once", **changes), post_house, threads=1)
    assert [card.weights_sha256 for card in cards] == [card.weights_sha256 for card in at_once]


def test_who_lives_by_it_becomes_the_age_of_the_day_and_has_last_words(
    living: Path, post_house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "post", str(living), "--threads", "1", "--json"]) == 0
    said = capsys.readouterr()
    assert [age["address"] for age in json.loads(said.out)["ages"]] == [
        "dusk@ageing-000001",
        "dusk@ageing-000002",
    ]
    assert "day 2 of 2: Ember is dusk@ageing-000002 now" in said.err
    assert "this was the last day of Ember; its last words:" in said.err
    ash, ember = CAST.split("\n\n")
    moved = f"{ash}\n\n{ember.replace(BASE, 'dusk@ageing-000002')}"
    assert post_house.cast_path.read_text("utf-8") == moved
    made = [age.card.created_at for age in list_ages(post_house.checkpoints, "dusk")]
    assert main(["train", "post", str(living), "--threads", "1"]) == 0
    said = capsys.readouterr()
    assert "Ember is" not in said.err
    assert "last day" not in said.err
    assert [age.card.created_at for age in list_ages(post_house.checkpoints, "dusk")] == made
    assert post_house.cast_path.read_text("utf-8") == moved
    living.write_text(RECIPE.replace('persona = "Ember"\n', ""), "utf-8")
    assert main(["train", "post", str(living), "--threads", "1"]) == 0
    assert "last day" not in capsys.readouterr().err, "it was said when that age was made"


def test_nobody_becomes_an_age_that_was_let_go(
    living: Path, post_house: House, make_post: MakePost, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "post", str(living), "--threads", "1"]) == 0
    remove(find_age(post_house.checkpoints, "dusk@ageing-000002"))
    move(post_house.cast_path, "Ember", "dusk@ageing-000001")
    assert main(["train", "post", str(living), "--threads", "1"]) == 0
    assert "dusk@ageing-000002 is not here any more, so Ember stays as it is" in capsys.readouterr().err
    assert load_cast(post_house.cast_path).find_persona("Ember").address == "dusk@ageing-000001"


def test_before_its_first_day_nothing_is_made(
    living: Path, post_house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    living.write_text(RECIPE.replace("2000-01-01", "9999-01-01"), "utf-8")
    assert main(["train", "post", str(living)]) == 0
    assert "nothing to do before 9999-01-01, dusk's first day" in capsys.readouterr().err
    assert not list_ages(post_house.checkpoints, "dusk")


def test_who_is_somebody_else_by_now_is_not_moved(
    living: Path, post_house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    move(post_house.cast_path, "Ember", "tiny@base-000004")
    assert main(["train", "post", str(living)]) == 2
    assert f"Ember is tiny@base-000004, neither {BASE} nor an age that comes of it" in capsys.readouterr().err
    assert not list_ages(post_house.checkpoints, "dusk")


def test_a_dry_run_knows_that_nobody_would_live_by_it(
    living: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    living.write_text(RECIPE.replace("Ember", "Nobody"), "utf-8")
    assert main(["train", "post", str(living), "--dry-run"]) == 2
    assert "Nobody" in capsys.readouterr().err


def test_a_cast_whose_address_cannot_be_told_from_its_line_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "selves.toml"
    text = f'persona = [{{ name = "Ember", address = "{BASE}" }}, {{ name = "Ash", address = "{BASE}" }}]\n'
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError, match="Ash's address does not stand on a line of its own"):
        move(path, "Ash", "tiny@base-000004")
    assert path.read_text("utf-8") == text
    with pytest.raises(UsageError, match="Nobody"):
        move(path, "Nobody", "tiny@base-000004")
    assert load_cast(path).find_persona("Ash").address == BASE


def test_an_age_that_was_let_go_is_not_made_again(post_house: House, make_post: MakePost) -> None:
    recipe = make_post("ageing", ageing={"ages": 2, "until": 1.0})
    train(recipe, post_house, threads=1, ages=1)
    remove(find_age(post_house.checkpoints, "quill@ageing-000001"))
    assert train(recipe, post_house, threads=1, ages=1) == []
    assert [card.address for card in train(recipe, post_house, threads=1)] == ["quill@ageing-000002"]
