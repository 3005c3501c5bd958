"""Data sets to copy: sums, own texts, and a self that corrects itself by principles."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from selves.errors import CorpusError
from selves.lineage import find_age
from selves.settings import House
from tests.training.post.parts import BASE, MakePost, trained
from training.datasets import constitution, own_files, sums
from training.post import asking, models
from training.post.data import prepare
from training.post.rows import Row, hold_out, read_rows


def test_every_sum_is_there_once_with_its_answer_and_a_wrong_one() -> None:
    rows = list(sums.rows(seed=3))
    assert len({row["prompt"] for row in rows}) == len(rows) == 100
    for row in rows:
        a, b = (int(word) for word in row["prompt"].removesuffix("?").split() if word.isdigit())
        assert (row["answer"], row["completion"]) == (str(a + b), str(a + b))
        assert row["rejected"] != row["chosen"] == row["answer"]


def test_no_sum_is_held_out_whose_mirror_is_learned() -> None:
    rows = [row for raw in sums.rows() for row in read_rows("grpo", raw, "sums")]
    learned, held = hold_out(rows, 0.4, 1)

    def pairs(rows: Sequence[Row]) -> set[frozenset[str]]:
        return {frozenset(re.findall(r"\d", row["prompt"][0]["content"])) for row in rows}

    assert held
    assert not pairs(learned) & pairs(held)


def test_passages_of_own_texts_are_answers(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(
        "# Title\n\nA passage that goes on for long enough\nto be one, it seems.\n"
    )
    (row,) = own_files.rows(str(tmp_path), ask="Well?")
    passage = "A passage that goes on for long enough to be one, it seems."
    assert row == {"prompt": "Well?", "completion": passage, "group": passage}
    with pytest.raises(CorpusError, match=r"no \.txt"):
        list(own_files.rows(str(tmp_path / "nowhere")))


def test_what_comes_of_a_second_thought_is_preferred_to_the_first(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("Be short.\n")
    (tmp_path / "p.txt").write_text("Who are you?\n\nAnd I?\n")
    heard: list[list[dict[str, str]]] = []

    def say(messages: list[dict[str, str]]) -> str:
        heard.append(messages)
        return "I." if messages[-1]["content"] == constitution.REVISION else "I am the one who is asked."

    rows = list(constitution.rows(say, str(tmp_path / "c.txt"), str(tmp_path / "p.txt")))
    assert [(row["prompt"], row["chosen"], row["rejected"]) for row in rows] == [
        ("Who are you?", "I.", "I am the one who is asked."),
        ("And I?", "I.", "I am the one who is asked."),
    ]
    assert "Be short." in heard[2][-1]["content"]


def test_a_self_learns_from_its_own_second_thoughts_and_is_asked_once(
    post_house: House, make_post: MakePost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "MAX_TOKENS", 8)
    (tmp_path / "c.txt").write_text("Be short.\nBe kind.\n")
    (tmp_path / "p.txt").write_text("".join(f"Who is number {n}?\n" for n in range(4)))
    options: dict[str, Any] = {"constitution": "c.txt", "prompts": "p.txt"}
    source = {"function": "training.datasets.constitution:rows", "options": options}
    recipe = make_post("dpo", data=[source], steps=2, held_out=0.0)
    base = models.open_base(recipe, find_age(post_house.checkpoints, BASE), tmp_path)
    ask = asking.Asking._ask
    monkeypatch.setattr(asking.Asking, "_ask", lambda self, some: [f"{said}." for said in ask(self, some)])
    first = prepare(recipe, (), asking.Asking(base, 1, tmp_path / "said.jsonl"))
    assert len(first.train) == 4
    again = asking.Asking(base, 1, tmp_path / "said.jsonl")
    monkeypatch.setattr(again, "_ask", None)
    assert prepare(recipe, (), again).train == first.train
    assert trained(recipe, post_house).card.sources[0]["options"] == options


def test_many_are_answered_at_once_as_each_alone_and_asked_once(
    post_house: House, make_post: MakePost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "MAX_TOKENS", 6)
    monkeypatch.setattr(asking, "TOGETHER", 3)
    base = models.open_base(make_post("sft"), find_age(post_house.checkpoints, BASE), tmp_path)
    talks = [[{"role": "user", "content": text}] for text in ("Hm?", "Who are you, and who was here?")]
    say = asking.Asking(base, 1, tmp_path / "many.jsonl")
    said = say.many(talks, 4)
    assert [len(set(texts)) > 1 for texts in said] == [True, True]
    alone = asking.Asking(base, 1, tmp_path / "alone.jsonl")
    assert [alone(talk) for talk in talks] == [texts[0] for texts in said]
    assert alone.many(talks, 4) == said
    # killed in the middle: what is known is not asked again, and the rest comes as it would have
    kept = (tmp_path / "many.jsonl").read_text("utf-8").splitlines()
    assert len(kept) == 8
    (tmp_path / "killed.jsonl").write_text("\n".join([*kept[:3], kept[3][:20]]) + "\n", "utf-8")
    again = asking.Asking(base, 1, tmp_path / "killed.jsonl")
    asked: list[int] = []
    ask = asking.Asking._ask
    monkeypatch.setattr(again, "_ask", lambda some: (asked.append(len(some)), ask(again, some))[1])
    assert again.many(talks, 4) == said
    assert again.many(talks, 2) == [texts[:2] for texts in said]
    assert asked == [3, 2]
