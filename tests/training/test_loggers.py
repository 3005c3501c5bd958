"""What TensorBoard and Trackio show is what metrics.jsonl holds."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from selves.settings import House
from training import base
from training.recipe import Recipe

MakeRecipe = Callable[..., Recipe]


def logged(house: House) -> list[tuple[int, float]]:
    lines = (house.checkpoints / "wren" / "metrics.jsonl").read_text("utf-8").splitlines()
    return [(line["step"], line["loss"]) for line in map(json.loads, lines)]


def test_tensorboard_reads_every_logged_step_and_the_words_of_each_age(
    house: House, make_recipe: MakeRecipe
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recipe = make_recipe(callbacks=["training.loggers:TensorBoard"], base={"steps": 8})
    base.train(recipe, house, threads=1)
    events = EventAccumulator(str(house.checkpoints / "wren" / "tensorboard" / "base")).Reload()
    # At birth nothing has been trained on, so there is no loss to draw.
    drawn = events.Scalars("loss")
    expected = [(step, loss) for step, loss in logged(house) if step]
    assert [point.step for point in drawn] == [step for step, _ in expected]
    assert [point.value for point in drawn] == pytest.approx([loss for _, loss in expected], abs=1e-4)
    assert [point.step for point in events.Scalars("bits_per_byte")] == [0, 2, 4, 8]
    shown = events.Tensors("words/text_summary")
    assert [point.step for point in shown] == [0, 2, 4, 8]
    assert b"wren@base-000008" in shown[-1].tensor_proto.string_val[0]


def test_trackio_keeps_every_logged_step(
    house: House,
    make_recipe: MakeRecipe,
    write_recipe: Callable[[Recipe], Path],
    tmp_path: Path,
) -> None:
    recipe = make_recipe(callbacks=["training.loggers:Trackio"], base={"steps": 8}, chat={"steps": 0})
    subprocess.run(
        [sys.executable, "-m", "selves", "train", "run", str(write_recipe(recipe)), "--threads", "1"],
        env=os.environ | {"SELVES_HOME": str(house.home), "TRACKIO_DIR": str(tmp_path / "trackio")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )
    with sqlite3.connect(tmp_path / "trackio" / "wren.db") as database:
        rows = database.execute("select step, metrics from metrics order by id").fetchall()
    drawn = [(step, round(json.loads(text)["loss"], 5)) for step, text in rows if "loss" in json.loads(text)]
    assert drawn == [(step, loss) for step, loss in logged(house) if step]
