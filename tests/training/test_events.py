"""Callbacks hear of everything, can have an age kept, and change nothing of what is learned."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from selves.errors import TrainingError, UsageError
from selves.lineage import list_ages
from selves.settings import House
from training import base, events
from training.events import Moment
from training.recipe import Recipe

MakeRecipe = Callable[..., Recipe]

heard: list[Moment] = []


def listen(moment: Moment) -> bool:
    heard.append(moment)
    return moment.kind == "step" and moment.step == 13


class Counter:
    def __init__(self) -> None:
        self.steps = 0

    def __call__(self, moment: Moment) -> None:
        self.steps += moment.kind == "step"
        if moment.kind == "end":
            heard.append(replace(moment, step=self.steps))


def stumble(moment: Moment) -> None:
    if moment.kind == "age":
        raise ValueError("a stone")


@pytest.fixture(autouse=True)
def this_module(monkeypatch: pytest.MonkeyPatch) -> None:
    heard.clear()
    monkeypatch.setitem(sys.modules, "my_callbacks", sys.modules[__name__])


def test_a_callback_hears_of_every_step_and_age_and_may_have_one_kept(
    raised: House, house: House, make_recipe: MakeRecipe
) -> None:
    recipe = make_recipe(callbacks=["my_callbacks:listen"])
    cards = base.train(recipe, house, threads=1)
    kept = [age.card for age in list_ages(house.checkpoints)]
    assert [card.address for card in kept] == [f"wren@base-{step:06d}" for step in (0, 10, 13, 20, 40)]
    assert kept[3].parent == "wren@base-000013"
    assert [m.step for m in heard if m.kind == "step"] == list(range(1, 41))
    assert [m.address for m in heard if m.kind == "age"] == [card.address for card in kept]
    assert [m.bits_per_byte for m in heard if m.kind == "age"] == [card.bits_per_byte for card in kept]
    assert [m.kind for m in heard][0 :: len(heard) - 1] == ["begin", "end"]
    assert all(0 < m.mfu < 1 for m in heard if m.kind == "log" and m.mfu is not None and m.step > 1)
    without = {a.card.address: a.card.weights_sha256 for a in list_ages(raised.checkpoints)}
    assert all(without[card.address] == card.weights_sha256 for card in cards)


def test_a_class_is_made_once_and_then_called(house: House, make_recipe: MakeRecipe) -> None:
    base.train(make_recipe(callbacks=["my_callbacks:Counter"], base={"steps": 4}), house, threads=1)
    assert [moment.step for moment in heard] == [4]


def test_a_callback_that_raises_is_named_and_the_run_goes_on_without_it(
    house: House, make_recipe: MakeRecipe
) -> None:
    failing = make_recipe(callbacks=["my_callbacks:stumble"], base={"steps": 4})
    with pytest.raises(
        TrainingError, match=r"my_callbacks:stumble failed at base 0: ValueError\('a stone'\)"
    ):
        base.train(failing, house, threads=1)
    assert [card.address for card in base.train(make_recipe(base={"steps": 4}), house, threads=1)][-1] == (
        "wren@base-000004"
    )


@pytest.mark.parametrize("name", ["no_such_module:f", "json:no_such_function", "not_python:f"])
def test_a_callback_that_is_not_there_is_named(
    house: House, make_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "not_python.py").write_text("this is prose")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=f"{name} cannot be imported"):
        base.train(make_recipe(callbacks=[name]), house, threads=1)


def test_a_jump_of_the_loss_is_worth_an_age_but_not_twice() -> None:
    calm = Moment(
        kind="step", lineage="wren", stage="base", step=100, steps=200, tokens=0, elapsed_s=0, loss=3.1,
        smooth_loss=3.0, tokens_per_s=0, mfu=None, folder=Path(), last_age_step=50,
    )  # fmt: skip
    assert not events.spike(calm)
    assert events.spike(replace(calm, loss=4.2))
    assert not events.spike(replace(calm, loss=4.2, last_age_step=90))
    assert not events.spike(replace(calm, loss=4.2, kind="log"))


def test_the_example_of_the_page_runs(
    house: House, make_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    lines = (events.__doc__ or "").splitlines()
    code = [line[4:] for line in lines if line.startswith("    ") and "callbacks =" not in line]
    (tmp_path / "mine.py").write_text("\n".join(code))
    monkeypatch.chdir(tmp_path)
    base.train(make_recipe(callbacks=["mine:shout"], base={"steps": 4}), house, threads=1)
    assert "wren@base-000004 has " in capsys.readouterr().out
