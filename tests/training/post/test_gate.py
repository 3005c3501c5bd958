"""A new self stays only if what was asked of those before was asked of it, and is not worse."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from selves.errors import TrainingError
from selves.lineage import find_age
from selves.settings import House
from tests.training.post.parts import BASE, MakePost
from training import figure
from training.figure import Figure, mean
from training.post import gate
from training.post.data import prepare
from training.post.gate import compare, is_broken


def share(name: str, value: float, spread: float = 0.05, each: Sequence[float] = ()) -> Figure:
    return Figure(
        name=name, value=value, low=value - spread, high=value + spread, n=100, share=True, each=tuple(each)
    )


def right(*parts: tuple[int, float]) -> Figure:
    """How many of a hundred are right, by so many of each."""
    each = [got for count, got in parts for _ in range(count)]
    return share("a", sum(each) / 100, 0.09, each)


def test_a_share_may_fall_within_its_interval_or_the_margin_but_be_a_number() -> None:
    before = [share("a", 0.8), share("b", 0.8), share("c", 0.8), share("d", 0.8)]
    after = [share("d", math.nan), share("c", 0.7), share("b", 0.76), share("a", 0.9)]
    assert [one.broken for one in compare({BASE: before}, after, 0.05)] == [False, False, True, True]


def test_what_could_not_be_asked_again_lets_nobody_stay() -> None:
    with pytest.raises(TrainingError, match="b could be measured of both"):
        compare({BASE: [share("a", 1.0), share("b", 1.0)]}, [share("a", 1.0)], 0.05)
    with pytest.raises(TrainingError, match="a could be measured of both"):
        compare({BASE: [share("a", math.nan), share("b", 1.0)]}, [share("a", 1.0), share("b", 1.0)], 0.05)
    with pytest.raises(TrainingError, match="nothing could be measured"):
        compare({BASE: []}, [share("a", 1.0)], 0.05)


def test_it_is_held_to_the_best_of_all_before() -> None:
    falling = {f"tiny@dpo{n}-000001": [share("a", value)] for n, value in enumerate((0.7, 0.9, 0.83, 0.76))}
    (one,) = compare(falling, [share("a", 0.72)], 0.05)
    assert (one.than, one.before.value, one.broken) == ("tiny@dpo1-000001", 0.9, True)
    assert not compare({"last": falling["tiny@dpo3-000001"]}, [share("a", 0.72)], 0.05)[0].broken


def test_what_was_asked_alike_is_compared_item_by_item() -> None:
    before = right((80, 1.0), (20, 0.0))
    lost, swapped = right((72, 1.0), (28, 0.0)), right((12, 0.0), (70, 1.0), (10, 0.0), (8, 1.0))
    assert before.low < lost.value, "which lies in the interval that it had"
    assert is_broken(before, lost, 0.05)
    assert not is_broken(before, lost, 0.1)
    assert before.value - swapped.value < 0.05
    assert not is_broken(before, swapped, 0.01)


def test_any_other_figure_may_fall_by_a_part_of_how_its_items_differ() -> None:
    each = [n / 10 for n in range(40)]
    before, worse, hardly = (mean("nats", [n + more for n in each], better=False) for more in (0, 0.1, 0.01))
    assert worse.low < before.high
    assert is_broken(before, worse, 0.05)
    assert not is_broken(before, hardly, 0.05)
    assert not is_broken(worse, before, 0.05)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7])
def test_of_few_items_chance_alone_breaks_nothing(count: int) -> None:
    source = random.Random(count)

    def broken(is_share: bool) -> bool:
        def drawn() -> Figure:
            if is_share:
                return figure.share("a", [source.random() < 0.5 for _ in range(count)])
            return mean("a", [source.gauss(0, 1) for _ in range(count)])

        return is_broken(drawn(), drawn(), 0.05)

    for is_share in (True, False):
        assert sum(broken(is_share) for _ in range(200)) <= 10


def test_a_few_items_that_all_got_worse_are_a_loss_from_six_on() -> None:
    for count in range(1, 9):
        before, after = (mean("a", [more + n / 10 for n in range(count)]) for more in (1.0, 0.0))
        assert is_broken(before, after, 0.05) is (count >= 6)


def test_later_turns_of_a_conversation_that_is_learned_now_are_not_measured(
    make_post: MakePost, tmp_path: Path
) -> None:
    def exported(name: str, **parts: list[tuple[str, str]]) -> Path:
        (tmp_path / name / "data").mkdir(parents=True)
        for part, rows in parts.items():
            told = [{"prompt": p, "completion": "so", "group": group} for p, group in rows]
            text = "".join(json.dumps(row) + "\n" for row in told)
            (tmp_path / name / "data" / f"{part}.jsonl").write_text(text, "utf-8")
        return tmp_path / name

    old = exported("old", train=[("who?", "a")], test=[("why?", "b"), ("where?", "c")])
    new = exported("new", train=[("when?", "b")], test=[("what?", "d")])
    learned = prepare(make_post(data=[{"folder": str(new)}])).learned
    rows = gate.held_out(make_post(), old, learned)
    assert [row["prompt"][-1]["content"] for row in rows] == ["where?"]


def test_what_is_known_is_not_asked_again(post_house: House, make_post: MakePost, tmp_path: Path) -> None:
    age, recipe = find_age(post_house.checkpoints, BASE), make_post(probes={"suites": ["agreement"]})
    rows, known = prepare(recipe).test, tmp_path / "measured.json"
    found = gate.measure(age, recipe, [("round 1", rows)], known)
    assert [one.name for one in found][-1] == "round 1: held-out answers: nats per token"
    nowhere = age._replace(folder=tmp_path / "gone")
    assert gate.measure(nowhere, recipe, [("round 2", rows)], known)[-1].each == found[-1].each
    known.write_text("{")
    with pytest.raises(TrainingError, match=r"measured\.json is damaged"):
        gate.measure(age, recipe, [], known)
