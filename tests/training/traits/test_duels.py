"""Two selves answer the same: a judge that may be trusted, or a person, says which does it better."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from selves.lineage import find_age
from selves.settings import House
from training.post.rows import read_rows
from training.traits.asking import Asked
from training.traits.duels import Duel, Verdict, age_judge, answers, blind_judge, figures, fought

BASE, OTHER = "tiny@chat-000008", "tiny@base-000016"
SETUPS = "What did the sea say?\nWhy is it dark?\nWho rang?\n"


def test_where_an_answer_stands_decides_nothing(traits_house: House) -> None:
    judge = age_judge(Asked(find_age(traits_house.checkpoints, BASE)), "funnier")
    one, other = judge("Well?", "a b", "no no"), judge("Well?", "no no", "a b")
    assert one.lead == pytest.approx(-other.lead, abs=1e-6)
    assert one.steady == other.steady


def test_a_person_is_not_told_whose_answer_is_whose() -> None:
    shown: list[tuple[str, str]] = []

    def choose(_: str, first: str, second: str) -> int:
        shown.append((first, second))
        return (first, second).index("good") if "good" in (first, second) else -1

    prompts = [str(number) for number in range(20)]
    duels = fought(prompts, [("good", "bad")] * 19 + [("dull", "bad")], blind_judge(choose, 1))
    assert {("good", "bad"), ("bad", "good")} <= set(shown)
    assert [duel.verdict.lead for duel in duels] == [1.0] * 19 + [0.0]
    wins = figures(duels)[0]
    assert (wins.value, wins.n) == (1.0, 19)


def test_who_answers_alike_is_not_judged_and_makes_no_row() -> None:
    duel = Duel("Well?", "so", "so", Verdict(1.0))
    assert duel.row("me") is None
    assert fought(["Well?"], [("so", "so")], lambda *_: Verdict(1.0))[0].verdict.lead == 0
    assert duel._replace(other="").row("me") is None
    row = duel._replace(other="and so", verdict=Verdict(-2.0)).row("me")
    assert row == {"prompt": "Well?", "chosen": "and so", "rejected": "so", "judge": "me"}


def test_one_self_says_two_things(traits_house: House) -> None:
    one = Asked(find_age(traits_house.checkpoints, BASE))
    both = answers(one, one, ["Hello?", "And?"], 6)
    assert all(first != second for first, second in both)


def test_what_a_person_prefers_becomes_rows_to_learn(
    run_traits: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "setups.txt").write_text(SETUPS, "utf-8")
    monkeypatch.setattr(sys, "stdin", io.StringIO("1\nboth\n2\nq\n"))
    options = ("--prompts", "setups.txt", "-o", "pairs.jsonl", "--most", "6", "--json", "--threads", "1")
    assert run_traits("duel", BASE, OTHER, *options) == 0
    rows = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text("utf-8").splitlines()]
    assert [row["prompt"] for row in rows] == SETUPS.splitlines()[:2]
    assert all(read_rows("dpo", row, "pairs.jsonl") for row in rows)
    found = json.loads(capsys.readouterr().out)
    assert found["selves"] == [BASE, OTHER]
    assert found["figures"][0]["n"] == 2


def test_a_judge_that_finds_no_punch_line_is_refused(
    run_traits: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_traits("duel", BASE, OTHER, "--judge", BASE, "--threads", "1") == 2
    assert "no more than chance" in capsys.readouterr().err
    (tmp_path / "setups.txt").write_text(SETUPS, "utf-8")
    kind = ("--judge", BASE, "--better", "kinder", "--prompts", "setups.txt", "--most", "6")
    assert run_traits("duel", BASE, OTHER, *kind) == 0
    assert "judged alike in both orders" in capsys.readouterr().out
    assert run_traits("duel", BASE, OTHER, "-o", "pairs.jsonl") == 2
    assert "prompts of your own" in capsys.readouterr().err
