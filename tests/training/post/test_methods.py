"""Each method makes ages that are whole, say where they come from, and are better at what was held out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from selves.errors import AgeError, UsageError
from selves.lineage import CARD_FILE, DIARY_FILE, find_age, list_ages, read_age
from selves.settings import House
from tests.training.post.parts import BASE, MakePost, figures, trained
from training.post.data import prepare
from training.post.judging import liked, open_judge
from training.post.run import train


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("sft", {"ages": 2}),
        ("sft", {"lora": {"rank": 4}, "rate": 1e-2}),
        ("dpo", {"rate": 1e-3}),
        ("dpo", {"lora": {"rank": 4}, "keep": "merged", "rate": 1e-2}),
        ("kto", {"lora": {"rank": 4}, "rate": 1e-2}),
        ("reward", {"rate": 1e-3}),
        ("reward", {"lora": {"rank": 4}, "rate": 1e-2}),
        ("reward", {"lora": {"rank": 4}, "keep": "merged", "rate": 1e-2, "steps": 4}),
        ("rloo", {"steps": 4}),
        ("distill", {"distill": {"teacher": "tiny@base-000016", "max_tokens": 8}, "steps": 12}),
        ("sdft", {"distill": {"max_tokens": 8}, "rate": 3e-4}),
        ("sdft", {"distill": {"max_tokens": 8}, "lora": {"rank": 4}, "rate": 1e-3, "micro_batch": 4}),
    ],
    ids=[
        "sft",
        "sft lora",
        "dpo",
        "dpo lora merged",
        "kto lora",
        "reward",
        "reward lora",
        "reward lora merged",
        "rloo",
        "distill",
        "sdft",
        "sdft lora",
    ],
)
def test_a_method_moves_what_it_is_meant_to_move(
    post_house: House, make_post: MakePost, method: str, changes: dict[str, Any]
) -> None:
    recipe = make_post(method, **changes)
    age = trained(recipe, post_house)
    age.verify()
    base = find_age(post_house.checkpoints, BASE)
    assert age.card.recipe == recipe.model_dump(mode="json")
    assert age.card.sources[0]["rows"] + age.card.sources[0]["held_out"] == 40
    assert {writing.kind for writing in age.writings()} == {"diary", "letter", "continuation"}
    assert (age.folder / "tokenizer.json").read_bytes() == (base.folder / "tokenizer.json").read_bytes()
    assert age.card.adapter_of == (BASE if recipe.lora and recipe.keep == "adapter" else None)
    if recipe.lora is None or recipe.keep == "merged":
        assert (age.folder / "config.json").read_bytes() == (base.folder / "config.json").read_bytes()
    found = figures(age)
    readme = (age.folder / "README.md").read_text("utf-8")
    assert all(name in readme for name in found)
    match method:
        case "sft":
            before, after = found["held-out answers: nats per token"]
            assert after.high < before.low
        case "dpo":
            before, after = found["held-out pairs: log p chosen - rejected"]
            assert after.low > before.high
        case "kto":
            wanted, unwanted = (
                found[f"held-out {kind} answers: log p per token"] for kind in ("wanted", "unwanted")
            )
            assert wanted[1].value - unwanted[1].value > wanted[0].value - unwanted[0].value
        case "distill":
            before, after = found["held-out prompts: nats from the teacher, per token"]
            assert after.high < before.low
        case "reward":
            before, after = found["held-out pairs: chosen - rejected"]
            assert after.value > before.value
        case "sdft":
            before, after = found["held-out prompts: nats from the base that reads, per token"]
            assert after.high < before.low
        case "rloo":
            assert "held-out greedy answers: vowels" in found


def test_rewards_make_the_rewarded_likelier(post_house: House, make_post: MakePost) -> None:
    reward = {"functions": ["tests.training.post.parts:vowels"], "group": 8, "max_tokens": 2}
    recipe = make_post("grpo", steps=12, batch=16, rate=1e-2, beta=0.0, reward=reward)
    before, after = figures(trained(recipe, post_house))["held-out greedy answers: vowels"]
    assert after.value == 1.0 > before.high


def test_what_a_judge_says_of_answers_is_a_reward_for_others(post_house: House, make_post: MakePost) -> None:
    learned = make_post("reward", lineage="critic", lora={"rank": 4}, rate=1e-2)
    critic = trained(learned, post_house)
    measured = figures(critic)["held-out pairs: chosen - rejected"][1].value
    rows = prepare(learned).test
    said = [
        liked([row["prompt"] for row in rows], [row[which][0]["content"] for row in rows], post_house,
              critic.card.address)
        for which in ("chosen", "rejected")
    ]  # fmt: skip
    margins = [one - other for one, other in zip(*said, strict=True)]
    assert sum(margins) / len(margins) == pytest.approx(measured, abs=1e-4)
    assert not any("score" in name for name in load_file(critic.folder / critic.weights_file))
    reward = {
        "functions": ["training.post.judging:liked"],
        "options": {"judge": critic.card.address},
        "group": 4,
        "max_tokens": 4,
    }
    found = figures(trained(make_post("grpo", steps=2, reward=reward), post_house))
    assert "held-out greedy answers: liked" in found
    with pytest.raises(AgeError, match="is no judge"):
        open_judge(post_house, BASE)


def test_what_answers_are_worth_is_measured_whatever_the_method(
    post_house: House, make_post: MakePost
) -> None:
    probes = {"rewards": ["tests.training.post.parts:vowels"]}
    age = trained(make_post(probes=probes, rate=1e-2, steps=12), post_house)
    before, after = figures(age)["held-out greedy answers: vowels"]
    assert before.n == after.n > 0
    assert set(age.card.sources[0]) >= {"rows", "held_out"}


def test_ages_on_the_ladder_come_from_each_other(post_house: House, make_post: MakePost) -> None:
    cards = train(make_post(ages=3, held_out=0.0), post_house, threads=1)
    assert [(card.address, card.parent) for card in cards] == [
        ("quill@sft-000002", BASE),
        ("quill@sft-000004", "quill@sft-000002"),
        ("quill@sft-000008", "quill@sft-000004"),
    ]
    assert cards[0].tokens_seen < cards[1].tokens_seen < cards[2].tokens_seen
    lines = (post_house.checkpoints / "quill" / "metrics.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, 9))
    assert not (post_house.checkpoints / "quill" / ".state" / "sft").exists()
    again = train(make_post(ages=3, held_out=0.0), post_house, threads=1)
    assert again == cards


@pytest.mark.parametrize("method", ["sft", "grpo"])
def test_nothing_that_is_written_or_measured_meanwhile_enters_the_weights(
    post_house: House, make_post: MakePost, method: str
) -> None:
    observed = {"ages": 3, "diary": {"samples": 2, "max_tokens": 6, "temperature": 2.0}}
    probes = {"suites": ["agreement", "dialogue"], "traits": ["remembers"], "items": 4, "at_ages": True}
    plain = make_post(method, steps=4, lineage="alone", diary={"samples": 0}, lora={"dropout": 0.1})
    watched = make_post(method, steps=4, lineage="seen", probes=probes, lora={"dropout": 0.1}, **observed)
    alone, seen = trained(plain, post_house), trained(watched, post_house)
    assert len(list_ages(post_house.checkpoints, "seen")) == 3
    assert alone.card.weights_sha256 == seen.card.weights_sha256


def test_an_adapter_folded_into_its_base_says_the_same(post_house: House, make_post: MakePost) -> None:
    adapter = trained(make_post(lora={"rank": 4}), post_house)
    folded = trained(make_post("merge", base=adapter.card.address), post_house)
    assert folded.card.adapter_of is None
    base = load_file(find_age(post_house.checkpoints, BASE).folder / "model.safetensors")
    pairs, whole = (
        load_file(adapter.folder / adapter.weights_file),
        load_file(folded.folder / "model.safetensors"),
    )
    name = "model.layers.0.self_attn.q_proj"
    down, up = (pairs[f"base_model.model.{name}.lora_{part}.weight"] for part in "AB")
    expected = base[f"{name}.weight"] + 32 / 4 * up @ down
    assert torch.allclose(whole[f"{name}.weight"], expected, atol=1e-6)
    mean = trained(
        make_post("merge", stage="mean", merge={"others": [folded.card.address], "weights": [3, 1]}),
        post_house,
    )
    mixed = load_file(mean.folder / "model.safetensors")[f"{name}.weight"]
    assert torch.allclose(mixed, 0.75 * base[f"{name}.weight"] + 0.25 * expected, atol=1e-6)


def test_a_run_may_go_on_from_an_adapter_if_whole_models_are_kept(
    post_house: House, make_post: MakePost
) -> None:
    adapter = trained(make_post(lora={"rank": 4}), post_house)
    changes = {"base": adapter.card.address, "lora": {"rank": 4}, "keep": "merged", "steps": 2}
    age = trained(make_post("dpo", **changes), post_house)
    assert (age.card.parent, age.card.adapter_of) == (adapter.card.address, None)


def test_a_model_in_a_folder_becomes_an_age_first(post_house: House, make_post: MakePost) -> None:
    folder = find_age(post_house.checkpoints, BASE).folder
    age = trained(make_post(base=str(folder), steps=1), post_house)
    assert age.card.parent == "chat-000008@import-000000"


def test_what_a_model_in_half_precision_learned_is_kept_as_it_was_measured(
    post_house: House, make_post: MakePost, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    source = find_age(post_house.checkpoints, BASE).folder
    shutil.copytree(source, tmp_path / "half")
    AutoModelForCausalLM.from_pretrained(str(source), dtype=torch.bfloat16).save_pretrained(tmp_path / "half")
    age = trained(make_post(base=str(tmp_path / "half"), rate=1e-5, steps=2), post_house)
    base = find_age(post_house.checkpoints, "half@import-000000")
    before, after = (load_file(one.folder / "model.safetensors") for one in (base, age))
    moved = [float((after[name] - before[name].float()).abs().max()) for name in before]
    assert all(tensor.dtype == torch.float32 for tensor in after.values())
    assert 0 < max(moved) < 3e-5
    assert AutoModelForCausalLM.from_pretrained(str(age.folder)).dtype == torch.float32


def test_a_folder_of_the_same_name_is_not_taken_for_another(
    post_house: House, make_post: MakePost, tmp_path: Path
) -> None:
    source = find_age(post_house.checkpoints, BASE).folder
    for place in ("a", "b"):
        shutil.copytree(source, tmp_path / place / "run")
    train(make_post(base=str(tmp_path / "a" / "run"), steps=1), post_house, threads=1)
    with pytest.raises(UsageError, match=r"run@import-000000 is here already, and it came from .*/a/run"):
        train(make_post(base=str(tmp_path / "b" / "run"), steps=1, lineage="other"), post_house, threads=1)
    assert not list_ages(post_house.checkpoints, "other")


def letters_of(letters: str) -> Iterator[dict[str, Any]]:
    """What somebody's own function reads, whatever it makes of it."""
    assert Path(letters).exists()
    for n in range(16):
        yield {"prompt": f"What is your number {n}?", "completion": "I am fine"}


@pytest.mark.parametrize(
    "inside", ["", "import-000000", f"import-000000/{DIARY_FILE}"], ids=["lineage", "age", "diary"]
)
def test_whose_diary_is_read_has_a_part_in_who_reads_it(
    inside: str, post_house: House, make_post: MakePost
) -> None:
    folder = post_house.checkpoints / "elder" / "import-000000"
    shutil.copytree(find_age(post_house.checkpoints, BASE).folder, folder)
    card = read_age(folder).card
    changed = {"address": "elder@import-000000", "age_restricted": True}
    (folder / CARD_FILE).write_text(card.model_copy(update=changed).model_dump_json(), "utf-8")
    (folder / DIARY_FILE).touch()
    source = {
        "function": "tests.training.post.test_methods:letters_of",
        "options": {"letters": str(post_house.checkpoints / "elder" / inside)},
    }
    pupil = trained(make_post(data=[source], steps=1, diary={"samples": 0}), post_house).card
    assert pupil.others == ("elder@import-000000",)
    assert pupil.age_restricted
