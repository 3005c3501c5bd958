"""Two selves answer the same: a judge that may be trusted, or a person, says which does it better."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from selves.files import sha256_file
from selves.lineage import WEIGHTS_FILE, find_age, read_age
from selves.settings import House
from training.datasets import jokes
from training.post.judging import open_judge
from training.post.recipe import PostRecipe
from training.post.rows import read_rows
from training.post.run import train
from training.traits.asking import Asked
from training.traits.duels import (
    LETTERS,
    QUESTION,
    Duel,
    Verdict,
    age_judge,
    answers,
    blind_judge,
    examined,
    figures,
    fought,
    in_both_orders,
    kinship,
    number_judge,
    passed,
)
from training.traits.items import Pick, Picked, user
from training.traits.votes import Votes

BASE, OTHER = "tiny@chat-000008", "tiny@base-000016"
CTRL_C = "\x03"
SETUPS = "What did the sea say?\nWhy is it dark?\nWho rang?\n"


def test_an_age_s_verdict_that_turns_with_the_order_is_none() -> None:
    assert in_both_orders(2.0, -1.0) == Verdict(1.5, True)
    assert in_both_orders(-2.0, 1.0) == Verdict(-1.5, True)
    for first, second in ((2.0, 1.0), (-2.0, -1.0), (0.0, 1.0)):
        assert in_both_orders(first, second) == Verdict(0.0, False)
    turned = Duel("Well?", "a", "b", in_both_orders(2.0, 1.0))
    assert turned.row("elder", "funnier") is None
    kept = turned._replace(verdict=in_both_orders(2.0, -1.0))
    wins, decided, alike = figures([turned, kept])[:3]
    assert (wins.value, wins.n, decided.value, alike.value) == (1.0, 1, 0.5, 0.5)


def test_an_age_is_asked_in_both_orders(traits_house: House) -> None:
    asked = Asked(find_age(traits_house.checkpoints, BASE))
    judge = age_judge(asked, "funnier")
    leads = []
    for first, second in (("a b", "no no"), ("no no", "a b")):
        question = QUESTION.format(prompt="Well?", first=first, second=second, better="funnier")
        (found,) = asked.answer([Pick(user(question), LETTERS)])
        assert isinstance(found, Picked)
        leads.append(found.sums[0] - found.sums[1])
    lead, steady = judge("Well?", "a b", "no no")
    assert lead == pytest.approx(in_both_orders(*leads).lead, abs=1e-4)
    assert steady == (leads[0] * leads[1] < 0)


def test_a_person_is_not_told_whose_answer_is_whose() -> None:
    shown: list[tuple[str, str]] = []

    def choose(_: str, first: str, second: str) -> int:
        shown.append((first, second))
        return (first, second).index("good") if "good" in (first, second) else -1

    prompts = [str(number) for number in range(20)]
    duels = list(fought(prompts, [("good", "bad")] * 19 + [("dull", "bad")], blind_judge(choose, 1)))
    assert {("good", "bad"), ("bad", "good")} <= set(shown)
    assert [duel.verdict.lead for duel in duels] == [1.0] * 19 + [0.0]
    found = {figure.name: figure for figure in figures(duels)}
    assert (found["wins"].value, found["wins"].n, found["decided"].value) == (1.0, 19, 0.95)
    assert "judged alike in both orders" not in found  # who saw one order only


def test_who_answers_alike_is_not_judged_and_makes_no_row() -> None:
    duel = Duel("Well?", "so", "so", Verdict(1.0))
    assert duel.row("me", "kinder") is None
    (alike,) = fought(["Well?"], [("so", "so")], lambda *_: Verdict(1.0))
    assert alike.verdict.lead == 0
    assert duel._replace(other="").row("me", "kinder") is None
    row = duel._replace(other="and so", verdict=Verdict(-2.0)).row("me", "kinder")
    assert row == {
        "prompt": "Well?",
        "chosen": "and so",
        "rejected": "so",
        "judge": "me",
        "better": "kinder",
    }


def test_one_self_says_two_things(traits_house: House) -> None:
    one = Asked(find_age(traits_house.checkpoints, BASE))
    both = answers(one, one, ["Hello?", "And?"], 6)
    assert all(first != second for first, second in both)


class Keyboard:
    """Whoever sits at it types these lines, and presses Ctrl-C where that stands."""

    def __init__(self, typed: str) -> None:
        self._lines = io.StringIO(typed)

    def readline(self) -> str:
        line = self._lines.readline()
        if line == f"{CTRL_C}\n":
            raise KeyboardInterrupt
        return line


BRIEFLY = ("--prompts", "setups.txt", "--most", "6", "--threads", "1")


@pytest.fixture
def judged(
    run_traits: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], int]:
    """Somebody at the keyboard types this; what they prefer goes to pairs.jsonl."""
    (tmp_path / "setups.txt").write_text(SETUPS, "utf-8")
    options = (*BRIEFLY, "-o", "pairs.jsonl", "--json")

    def judge(typed: str) -> int:
        monkeypatch.setattr(sys, "stdin", Keyboard(typed))
        return run_traits("duel", BASE, OTHER, *options)

    return judge


def test_what_a_person_prefers_becomes_rows_and_is_not_asked_again(
    judged: Callable[[str], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = tmp_path / "pairs.jsonl"
    assert judged("q\n") == 2
    assert not pairs.exists()
    assert judged(f"1\nboth\n2\n{CTRL_C}\n") == 0
    first = pairs.read_text("utf-8")
    rows = [json.loads(line) for line in first.splitlines()]
    assert [row["prompt"] for row in rows] == SETUPS.splitlines()[:2]
    assert all(read_rows("dpo", row, "pairs.jsonl") for row in rows)
    capsys.readouterr()
    assert judged("2\n") == 0
    whole = capsys.readouterr()
    assert "Who rang?" in whole.err
    assert "What did the sea say?" not in whole.err
    assert pairs.read_text("utf-8").startswith(first)
    assert len(pairs.read_text("utf-8").splitlines()) == 3
    found = json.loads(whole.out)
    assert found["selves"] == [BASE, OTHER]
    assert [found["figures"][at]["n"] for at in (0, 1)] == [3, 3]
    assert judged("") == 0
    only_seen = json.loads(capsys.readouterr().out)
    assert only_seen == found


def test_a_file_of_something_else_is_not_added_to(
    judged: Callable[[str], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = tmp_path / "pairs.jsonl"
    for other, problem in (
        ("my notes\n", "line 1 is no row of a duel"),
        ('{"prompt": "Well?", "completion": "so"}\n', "line 1 is no row of a duel"),
        ('{"prompt": "Well?"', "ends in the middle of a line"),
    ):
        pairs.write_text(other, "utf-8")
        assert judged("1\n") == 2
        assert problem in capsys.readouterr().err
        assert pairs.read_text("utf-8") == other


def test_whoever_is_killed_leaves_every_row_that_was_decided(tmp_path: Path) -> None:
    pairs, code = tmp_path / "pairs.jsonl", """
import os, pathlib, signal, sys
from training.traits.duels import Duel, Verdict
from training.traits.votes import Votes
votes = Votes(pathlib.Path(sys.argv[1]), "me", "funnier")
for number in range(50):
    votes.add(Duel(f"Prompt {number}?", "so", "and so", Verdict(1.0)))
os.kill(os.getpid(), signal.SIGKILL)
"""  # fmt: skip
    assert subprocess.run([sys.executable, "-c", code, str(pairs)], check=False).returncode == -9
    assert pairs.read_text("utf-8").count("\n") == 50
    votes = Votes(pairs, "me", "funnier")
    votes.add(Duel("Prompt 3?", "so", "and so", Verdict(1.0)))
    assert votes.added == 0
    asked = votes.remembered(lambda *_: Verdict(0.5))
    assert [asked("Prompt 3?", *pair).lead for pair in (("so", "and so"), ("and so", "so"), ("a", "b"))] == [
        1.0, -1.0, 0.5,
    ]  # fmt: skip
    for judge, better in (("elder@import-000000", "funnier"), ("me", "kinder")):
        another = Votes(pairs, judge, better)  # who is another, or was asked something else
        assert another.remembered(lambda *_: Verdict(0.5))("Prompt 3?", "so", "and so").lead == 0.5
        another.add(Duel("Prompt 3?", "so", "and so", Verdict(1.0)))
        assert another.added == 1


def test_who_knows_a_punch_line_only_from_an_explanation_is_no_judge() -> None:
    ends = {end for _, end in jokes.jokes("probe")}

    def by_length(_: str, one: str, other: str) -> Verdict:
        return Verdict(float(len(other) - len(one)))

    def knows(prompt: str, one: str, _: str) -> Verdict:
        return Verdict(1.0 if (prompt, one) in set(jokes.jokes("probe")) else -1.0)

    def knows_jokes(_: str, one: str, other: str) -> Verdict:
        return Verdict(float((one in ends) - (other in ends)))

    assert passed(examined(knows))
    assert not passed(examined(by_length))
    assert not passed(examined(knows_jokes))
    assert not passed(examined(lambda *_: Verdict(0.0, False)))


def test_nobody_judges_themselves_or_in_whom_they_had_a_part(
    traits_house: House, run_traits: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    card = find_age(traits_house.checkpoints, BASE).card
    child = card.model_copy(update={"address": "jest@dpo-000016", "parent": BASE, "weights_sha256": "1"})
    grandchild = child.model_copy(
        update={"address": "wit@sft-000004", "parent": child.address, "weights_sha256": "2"}
    )
    twin = card.model_copy(update={"address": "twin@import-000000"})
    stranger = card.model_copy(update={"address": "elder@import-000000", "weights_sha256": "3"})
    rewarded = stranger.model_copy(
        update={"address": "pet@grpo-000004", "weights_sha256": "4", "others": (stranger.address,)}
    )
    for judge, other, why in (
        (card, card, "the same weights"),
        (twin, card, "the same weights"),
        (find_age(traits_house.checkpoints, OTHER).card, card, "of the lineage"),
        (card, grandchild, "had a part in"),
        (twin, grandchild, "had a part in"),
        (stranger, rewarded, "had a part in"),
        (stranger, grandchild, ""),
        (child, card, ""),
    ):
        found = kinship(judge, other, (card, child, grandchild))
        assert why in found
        assert bool(found) == bool(why)
    assert run_traits("duel", BASE, OTHER, "--judge", BASE, "--threads", "1") == 2
    assert "so it is no judge of it" in capsys.readouterr().err


@pytest.fixture
def elder(traits_house: House) -> str:
    """A stranger in the house, of other weights."""
    from safetensors.torch import load_file, save_file

    folder = traits_house.checkpoints / "elder" / "import-000000"
    shutil.copytree(traits_house.checkpoints / "tiny" / "chat-000008", folder)
    weights = {name: tensor.neg() for name, tensor in load_file(folder / WEIGHTS_FILE).items()}
    save_file(weights, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    card = read_age(folder).card
    changed = {"address": "elder@import-000000", "weights_sha256": sha256_file(folder / WEIGHTS_FILE)}
    (folder / "age.json").write_text(card.model_copy(update=changed).model_dump_json(), "utf-8")
    return "elder@import-000000"


def test_a_judge_that_finds_no_punch_line_is_refused(
    elder: str, run_traits: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_traits("duel", BASE, OTHER, "--judge", elder, "--threads", "1") == 2
    assert "is no judge of what is funny" in capsys.readouterr().err
    (tmp_path / "setups.txt").write_text(SETUPS, "utf-8")
    kind = (
        "--judge",
        elder,
        "--better",
        "kinder",
        *BRIEFLY,
    )
    assert run_traits("duel", BASE, OTHER, *kind) == 2  # no exam, but to it the first is always kinder
    assert "nothing was decided" in capsys.readouterr().err
    assert run_traits("duel", BASE, OTHER, "-o", "pairs.jsonl") == 2
    assert "prompts of your own" in capsys.readouterr().err


def test_an_age_that_gives_numbers_judges_whatever_the_order(
    elder: str,
    traits_house: House,
    run_traits: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = PostRecipe.model_validate(
        {
            "lineage": "critic",
            "base": elder,
            "method": "reward",
            "steps": 2,
            "batch": 4,
            "rate": 1e-2,
            "held_out": 0.0,
            "diary": {"samples": 0},
            "data": [{"function": "training.datasets.jokes:rows", "limit": 8}],
        }
    )
    critic = train(recipe, traits_house, threads=1)[-1].address
    judge = number_judge(open_judge(traits_house, critic).scores)
    one, other = judge("Well?", "a b", "no no"), judge("Well?", "no no", "a b")
    assert one.lead == pytest.approx(-other.lead, abs=1e-5)
    assert one.lead
    (tmp_path / "setups.txt").write_text(SETUPS, "utf-8")
    asked = (
        "--judge",
        critic,
        *BRIEFLY,
        "-o",
        "pairs.jsonl",
    )
    assert run_traits("duel", BASE, OTHER, *asked, "--better", "kinder") == 0
    said = capsys.readouterr()
    assert "judged alike" not in said.out
    rows = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text("utf-8").splitlines()]
    assert {row["judge"] for row in rows} == {critic}
    assert run_traits("duel", BASE, OTHER, *asked) == 2
    assert "is no judge of what is funny" in capsys.readouterr().err
    assert run_traits("duel", elder, OTHER, *asked, "--better", "kinder") == 0
