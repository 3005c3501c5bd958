"""Whatever stands in a file, it becomes rows or one clear error; what is held out is never learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selves.errors import CorpusError
from selves.files import sha256_file
from tests.training.post.parts import MakePost
from training.post.data import prepare
from training.post.rows import decontaminated, hold_out, read_rows, said, without_doubles

SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {}, optional={"role": st.sampled_from(["user", "assistant", "x"]), "content": SCALARS}
    ),
    max_size=3,
)
VALUES = SCALARS | MESSAGES
COLUMNS = st.sampled_from(
    ["prompt", "completion", "chosen", "rejected", "label", "messages", "turns", "answer"]
)


@given(
    st.sampled_from(["sft", "dpo", "kto", "grpo"]),
    st.dictionaries(COLUMNS, VALUES) | SCALARS | st.lists(SCALARS, max_size=2),
)
def test_anything_becomes_rows_or_one_error_that_says_where(method: Any, raw: Any) -> None:
    try:
        rows = read_rows(method, raw, "some.jsonl:7")
    except CorpusError as error:
        problem, rows = error.problem, []
    else:
        problem = ""
    assert bool(rows) != problem.startswith("some.jsonl:7: ")
    assert all(row["prompt"][-1]["role"] != "assistant" for row in rows)


def test_a_conversation_is_a_row_for_each_turn_of_the_self() -> None:
    said_in_turn = [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    rows = read_rows("sft", {"messages": [{"role": r, "content": c} for r, c in said_in_turn]}, "x:1")
    assert [(said(row["prompt"]), said(row["completion"])) for row in rows] == [("a", "b"), ("a\nb\nc", "d")]


@given(st.lists(st.text(min_size=1, max_size=3), max_size=60), st.integers(0, 5))
def test_no_prompt_is_both_learned_and_held_out(prompts: list[str], seed: int) -> None:
    rows = [{"prompt": [{"role": "user", "content": text}]} for text in prompts]
    learned, held = hold_out(rows, 0.5, seed)
    assert len(learned) + len(held) == len(rows)
    assert not {said(row["prompt"]) for row in learned} & {said(row["prompt"]) for row in held}
    more, _ = hold_out([*rows, {"prompt": [{"role": "user", "content": "one more"}]}], 0.5, seed)
    assert more[: len(learned)] == learned


@given(st.lists(st.sampled_from("abcdefghij"), max_size=40), st.integers(0, 5))
def test_rows_of_one_group_are_on_one_side(groups: list[str], seed: int) -> None:
    rows = [
        {"prompt": [{"role": "user", "content": f"{n}"}], "group": group} for n, group in enumerate(groups)
    ]
    learned, held = hold_out(rows, 0.5, seed)
    assert len(learned) + len(held) == len(rows)
    assert not {row["group"] for row in learned} & {row["group"] for row in held}


def test_turns_of_one_conversation_are_on_one_side() -> None:
    turns = [("user", "{n}"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    rows = [
        row
        for n in range(30)
        for row in read_rows(
            "sft", {"messages": [{"role": role, "content": text.format(n=n)} for role, text in turns]}, "x:1"
        )
    ]
    learned, held = ({row["prompt"][0]["content"] for row in part} for part in hold_out(rows, 0.5, 1))
    assert learned
    assert held
    assert not learned & held


def test_doubles_and_questions_of_probes_are_left_out() -> None:
    rows = read_rows("sft", {"prompt": "The keys to the old door", "completion": "are"}, "x:1")
    others = read_rows("sft", {"prompt": "Who goes there?", "completion": "I"}, "x:2")
    assert without_doubles([*rows, *others, *rows]) == [*rows, *others]
    read = read_rows("grpo", {"prompt": "Which?", "hint": "the KEYS to\nthe old  door"}, "x:3")
    assert decontaminated([*rows, *others, *read], ["The keys to the old door"]) == others


def test_what_a_function_reads_stands_in_the_card(
    tmp_path: Path, make_post: MakePost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    for name in ("a.txt", "b.md", "c.safetensors"):
        Path("mine", name).write_text(f"A passage of {name} that is long enough to be one.")
    source = {"function": "training.datasets.own_files:rows", "options": {"folder": "mine"}}
    (described,) = prepare(make_post(data=[source], held_out=0.0)).sources
    prepared = prepare(make_post(data=[source], held_out=0.5, seed=3))
    assert (len(prepared.train), len(prepared.test)) == (1, 1), "though both are answers to the same"
    assert described["read"] == {
        f"mine/{name}": sha256_file(Path("mine", name)) for name in ("a.txt", "b.md")
    }


def test_an_export_of_memory_brings_its_own_held_out_rows(tmp_path: Path, make_post: MakePost) -> None:
    folder = tmp_path / "pairs" / "data"
    folder.mkdir(parents=True)
    row = '{"prompt": [{"role": "user", "content": "%s"}], "chosen": "yes", "rejected": "no"}\n'
    (folder / "train.jsonl").write_text(row % "a" + row % "b")
    (folder / "test.jsonl").write_text(row % "c" + row % "a")
    prepared = prepare(make_post("dpo", data=[{"folder": str(tmp_path / "pairs")}]))
    assert [said(r["prompt"]) for r in prepared.train] == ["a", "b"]
    assert [said(r["prompt"]) for r in prepared.test] == ["c"]
    assert set(prepared.sources[0]["files"]) == {"data/test.jsonl", "data/train.jsonl"}


def test_rows_stand_in_a_card_only_where_the_recipe_says_so(make_post: MakePost, answers: Path) -> None:
    hidden = prepare(make_post(data=[{"file": str(answers)}])).sources
    shown = prepare(make_post(data=[{"file": str(answers), "license": "CC0-1.0", "show": 2}])).sources
    assert "sample" not in hidden[0]
    assert shown[0]["license"] == "CC0-1.0"
    assert len(shown[0]["sample"]) == 2
    assert shown[0]["sample"][0].startswith("What is your number 0? / ")


@pytest.mark.parametrize("name", ["gone.jsonl", "gone.parquet"])
def test_of_a_file_that_is_not_there_the_path_is_to_be_checked(make_post: MakePost, name: str) -> None:
    with pytest.raises(CorpusError, match=f"{name} does not exist") as caught:
        prepare(make_post(data=[{"file": name}]))
    assert "check its path" in caught.value.fix


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "nothing to learn"),
        ('{"prompt": "a"', ":1: not JSON"),
        ('{"prompt": "a", "completion": "b"}\n{"prompt": "a"}', ":2: 'completion' is missing"),
        ('{"messages": [{"role": "user", "content": "a"}]}', "nobody answers"),
    ],
)
def test_a_data_set_that_is_none_is_named_with_its_line(
    tmp_path: Path, make_post: MakePost, text: str, problem: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(text)
    with pytest.raises(CorpusError) as caught:
        prepare(make_post(data=[{"file": str(path)}]))
    assert problem in caught.value.problem
