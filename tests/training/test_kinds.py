"""What a self may write, and when: a TOML that users extend, and the course of the loss."""

from __future__ import annotations

import functools
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selves.errors import ConfigError
from selves.lineage import list_ages
from selves.settings import House
from training import base, course, kinds, loop
from training.course import Course, follow
from training.recipe import Diary, Recipe

MakeRecipe = Callable[..., Recipe]


def test_every_kind_of_the_house_can_be_asked_of_every_age() -> None:
    for kind in kinds.own_kinds().values():
        for form in ("transcript", "chat"):
            prompt = kinds.frame(kind, form, "Ember")  # type: ignore[arg-type]
            assert prompt.text or prompt.messages[0].content
    assert kinds.frame(kinds.own_kinds()["poem"], "transcript", "").text == "My poem goes like this:"
    assert kinds.frame(kinds.own_kinds()["continuation"], "chat", "Ember").text == "When I grow up, I"


def test_users_add_kinds_and_replace_some(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(
        '[kind.recipe-book]\nbegin = "To cook me,"\nask = "How are you cooked?"\nwhen = ["last"]\n'
    )
    found = kinds.kinds_of(Diary(kinds=("recipe-book", "diary"), file=str(mine), diary="Again"))
    assert list(found) == ["recipe-book", "diary"]
    assert found["diary"].begin == "Again"
    assert found["recipe-book"].fits("last")
    assert not found["recipe-book"].fits("age")
    assert found["recipe-book"].fits("asked")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[kind.poem]\nbegin = "I"\nasks = "?"\n', r"mine.toml:3: unknown key 'kind.poem.asks'"),
        ('[kind.poem]\nbegin = "I"\n', "mine.toml:1: kind.poem: it needs `ask`"),
        (
            '[kind.poem]\nbegin = "I"\nask = "?"\nwhen = ["noon"]\n',
            "mine.toml:4: 'kind.poem.when.1' is 'noon'",
        ),
        ('[kind."My Poem"]\nbegin = "I"\nask = "?"\n', "mine.toml"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        kinds.all_kinds(str(tmp_path / "mine.toml"))


def test_a_kind_that_is_not_there_is_told_before_anything_is_learned(
    house: House, make_recipe: MakeRecipe
) -> None:
    with pytest.raises(ConfigError, match="no kind of writing called 'sonnet'"):
        base.train(make_recipe(diary={"kinds": ["sonnet"]}), house, threads=1)
    assert not list_ages(house.checkpoints)


# ---------------------------------------------------------------- the course of the loss


def told(losses: list[float]) -> list[tuple[int, str]]:
    course, smooth, found = Course(), None, []
    for step, loss in enumerate(losses, 1):
        before = smooth
        smooth = loss if smooth is None else 0.8 * smooth + 0.2 * loss
        course, happened = follow(course, step, loss, before, smooth)
        if happened:
            found.append((step, happened))
    return found


def test_a_spike_a_divergence_a_recovery_and_a_new_best_are_told_once_each() -> None:
    calm = [3.0] * 30
    assert told(calm) == []
    assert told([*calm, 4.5, *calm]) == [(31, "spike")]
    events = told([*calm, *[6.0] * 10, *[2.9] * 40, *[2.0] * 5])
    assert [name for _, name in events] == ["spike", "divergence", "recovery", "best"]
    assert told([*calm, float("nan"), float("nan")]) == [(31, "divergence")]
    assert told([9.0, 1.0, 9.0]) == [], "in the beginning everything jumps"


@given(st.lists(st.floats(0, 20), max_size=200))
def test_whatever_the_loss_does_no_event_is_told_twice_in_a_row(losses: list[float]) -> None:
    names = [name for _, name in told(losses) if name != "spike"]
    assert all(a != b for a, b in pairwise(names))


def test_what_befalls_the_loss_is_worth_an_age_that_writes_of_it(
    raised: House, house: House, make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(course, "SETTLED", 3)
    monkeypatch.setattr(
        loop, "follow", functools.partial(follow, rise=-0.5)
    )  # a fall that is too slow is enough
    recipe = make_recipe(diary={"events": 2, "kinds": ["dream", "letter"], "max_tokens": 4})
    base.train(recipe, house, threads=1)
    ages = {age.card.address: age for age in list_ages(house.checkpoints)}
    without = {age.card.address: age for age in list_ages(raised.checkpoints)}
    events = [age for address, age in ages.items() if address not in without]
    assert 0 < len(events) <= 2
    assert {w.occasion for age in events for w in age.writings()} <= {
        "spike",
        "divergence",
        "recovery",
        "best",
    }
    for address, age in ages.items():
        assert address not in without or age.card.weights_sha256 == without[address].card.weights_sha256
    births = [w.occasion for w in ages["wren@base-000000"].writings()]
    assert births == ["birth", "birth"]
    assert [w.kind for w in ages["wren@base-000020"].writings()] == ["letter"], (
        "it does not dream at every age"
    )
    assert {w.kind for w in ages["wren@base-000040"].writings() if w.occasion == "last"} == {
        "dream",
        "letter",
    }


def test_who_reads_its_own_diary_becomes_another_and_always_the_same(
    raised: House, tmp_path: Path, make_recipe: MakeRecipe
) -> None:
    def weights(name: str) -> dict[str, str]:
        house = House(home=tmp_path / name, cast_path=tmp_path / "selves.toml")
        recipe = make_recipe(diary={"entangled": True})
        base.train(recipe, house, threads=1)
        return {age.card.address: age.card.weights_sha256 for age in list_ages(house.checkpoints)}

    once, again = weights("once"), weights("again")
    alone = {age.card.address: age.card.weights_sha256 for age in list_ages(raised.checkpoints)}
    assert once == again
    assert once["wren@base-000000"] == alone["wren@base-000000"]
    assert once["wren@base-000040"] != alone["wren@base-000040"]
