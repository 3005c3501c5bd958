"""A diary in anybody's training, transformers' or TRL's: it is written, and nobody becomes another by it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from selves.lineage import read_diary
from selves.speech import Writing
from training.diary_callback import DiaryCallback
from training.recipe import Diary

SHORT = {"kinds": (), "max_tokens": 4}
Train = Callable[..., tuple[dict[str, torch.Tensor], list[Writing]]]


pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")  # TRL's own


class Killed(TrainerCallback):  # type: ignore[misc]
    """Ends a run in the step after one that was saved, as Ctrl-C does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.step:
            raise KeyboardInterrupt


@pytest.fixture
def train(request: pytest.FixtureRequest, checkpoints: Path, tmp_path: Path) -> Train:
    """Train a tiny model with dropout for eight steps; return its weights and its diary."""
    import datasets
    from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments, set_seed

    source = str(checkpoints / "tiny" / "chat-000008")
    tokenizer = AutoTokenizer.from_pretrained(source)
    tokenizer.pad_token = tokenizer.eos_token
    texts = [f"Number {n} is a fine number, and so is {n * n}." for n in range(32)]

    def run(
        callback: DiaryCallback | None,
        name: str = "out",
        *,
        stop_after: int = 0,
        resume: bool = False,
        **changes: Any,
    ) -> tuple[dict[str, torch.Tensor], list[Writing]]:
        set_seed(3)
        model = AutoModelForCausalLM.from_pretrained(source, attention_dropout=0.2)
        settings: dict[str, Any] = {
            "output_dir": str(tmp_path / name),
            "max_steps": 8,
            "per_device_train_batch_size": 2,
            "learning_rate": 1e-3,
            "logging_steps": 1,
            "save_strategy": "steps",
            "save_steps": 3,
            "report_to": "none",
            "disable_tqdm": True,
            "use_cpu": True,
        } | changes
        callbacks: list[Any] = [callback] if callback else []
        callbacks += [Killed(stop_after)] if stop_after else []
        trainer: Any
        if getattr(request, "param", "") == "trl":
            from trl import SFTConfig, SFTTrainer

            trainer = SFTTrainer(
                model=model,
                args=SFTConfig(**settings),
                train_dataset=datasets.Dataset.from_dict({"text": texts}),
                processing_class=tokenizer,
                callbacks=callbacks,
            )
        else:
            rows = [{"input_ids": tokenizer(t)["input_ids"][:24]} for t in texts]
            trainer = Trainer(
                model=model,
                args=TrainingArguments(**settings),
                train_dataset=datasets.Dataset.from_list([{**r, "labels": r["input_ids"]} for r in rows]),
                eval_dataset=datasets.Dataset.from_list([{**r, "labels": r["input_ids"]} for r in rows[:4]]),
                data_collator=_padded(tokenizer.pad_token_id),
                processing_class=tokenizer,
                callbacks=callbacks,
            )
        with contextlib.suppress(KeyboardInterrupt):
            trainer.train(resume_from_checkpoint=resume)
        weights = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
        return weights, read_diary(tmp_path / name / "diary.jsonl")

    return run


def _padded(pad: int) -> Callable[[list[dict[str, list[int]]]], dict[str, torch.Tensor]]:
    def collate(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        longest = max(len(row["input_ids"]) for row in rows)
        ids = [row["input_ids"] + [pad] * (longest - len(row["input_ids"])) for row in rows]
        labels = [row["labels"] + [-100] * (longest - len(row["labels"])) for row in rows]
        return {"input_ids": torch.tensor(ids), "labels": torch.tensor(labels)}

    return collate


@pytest.mark.parametrize("train", ["transformers", "trl"], indirect=True)
def test_whoever_writes_becomes_nobody_else(train: Train) -> None:
    alone, nothing = train(None, "alone")
    watched, said = train(DiaryCallback("ember", diary=Diary(**SHORT, samples=2)), "watched")
    assert not nothing
    assert said
    assert alone.keys() == watched.keys()
    assert all(torch.equal(alone[name], watched[name]) for name in alone)
    entangled, _ = train(DiaryCallback("ember", diary=Diary(**SHORT, entangled=True)), "entangled")
    assert not all(torch.equal(alone[name], entangled[name]) for name in alone)


def test_it_writes_before_on_its_way_and_after(train: Train, tmp_path: Path) -> None:
    from selves.files import sha256_file

    _, said = train(DiaryCallback("ember", diary=Diary(**SHORT)))
    moments = list(dict.fromkeys((w.utterance.address.partition("-")[2], w.occasion) for w in said))
    assert moments == [
        ("000000", "before"),
        *((f"{step:06d}", "age") for step in (1, 2, 3, 4, 6)),
        ("000008", "after"),
    ]
    after = {w.kind: w for w in said if w.occasion == "after"}
    assert after.keys() == {"diary", "letter", "continuation", "letter-past", "portrait", "poem"}
    assert after["letter-past"].to == "ember@import-000006"
    assert after["letter"].to == "future"
    kept = next(w for w in said if w.utterance.address == "ember@import-000003")
    assert kept.utterance.weights_sha256 == sha256_file(
        tmp_path / "out" / "checkpoint-3" / "model.safetensors"
    )


def test_a_run_that_is_done_again_writes_nothing_twice(train: Train) -> None:
    _, said = train(DiaryCallback("ember", diary=Diary(**SHORT)))
    _, again = train(DiaryCallback("ember", diary=Diary(**SHORT)))
    assert again == said


def test_a_run_that_goes_on_from_a_checkpoint_knows_whom_it_was_before(train: Train) -> None:
    _, whole = train(DiaryCallback("ember", diary=Diary(**SHORT)), "whole")
    train(DiaryCallback("ember", diary=Diary(**SHORT)), "cut", stop_after=3)
    _, resumed = train(DiaryCallback("ember", diary=Diary(**SHORT)), "cut", resume=True)

    def told(written: list[Writing]) -> list[tuple[str, str, str | None]]:
        return [(w.utterance.address, w.kind, w.to) for w in written]

    assert told(resumed) == told(whole)


def test_another_run_in_the_same_folder_writes_of_its_own_weights(train: Train, tmp_path: Path) -> None:
    from selves.files import sha256_file

    _, first = train(DiaryCallback("ember", diary=Diary(**SHORT)))
    kept = {n: sha256_file(tmp_path / "out" / f"checkpoint-{n}" / "model.safetensors") for n in (3, 6)}
    _, both = train(DiaryCallback("ember", diary=Diary(**SHORT)), save_steps=4, learning_rate=2e-3)
    second = both[len(first) :]
    assert {w.occasion for w in second} == {"age", "after"}  # it began as the same weights
    assert not {w.utterance.weights_sha256 for w in second} & set(kept.values())


def test_the_last_words_of_the_best_model_are_those_of_its_age(train: Train, tmp_path: Path) -> None:
    from selves.files import sha256_file

    _, said = train(
        DiaryCallback("ember", diary=Diary(**SHORT)),
        eval_strategy="steps",
        eval_steps=3,
        load_best_model_at_end=True,
        metric_for_best_model="loss",
        greater_is_better=True,
    )
    (address,) = {w.utterance.address for w in said if w.occasion == "after"}
    step = int(address[-6:])
    kept = tmp_path / "out" / f"checkpoint-{step}" / "model.safetensors"
    assert {w.utterance.weights_sha256 for w in said if w.occasion == "after"} == {sha256_file(kept)}


def test_a_rate_that_is_far_too_high_is_written_about(train: Train) -> None:
    _, said = train(
        DiaryCallback("ember", diary=Diary(kinds=("dream",), max_tokens=3), rise=0.5, steps=()),
        max_steps=60,
        learning_rate=1e-3,
        lr_scheduler_type="constant",
        save_strategy="no",
    )
    assert {w.occasion for w in said} == {"before"}
    _, said = train(
        DiaryCallback("ember", diary=Diary(kinds=("dream",), max_tokens=3), rise=0.5, steps=()),
        "wild",
        max_steps=60,
        learning_rate=30.0,
        lr_scheduler_type="linear",
        warmup_steps=59,
        max_grad_norm=0,
        save_strategy="no",
    )
    assert "divergence" in {w.occasion for w in said}
