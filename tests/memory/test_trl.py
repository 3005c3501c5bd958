"""TRL's own trainers take the files of an export as they are: one step each of a tiny random model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memory import feedback
from memory.export import export
from memory.store import open_store
from memory.wanted import Wanted
from selves.speech import ChatMessage, Form, Prompt
from tests.memory.parts import SPEC, utterance
from training import tokenizer as alphabet

CONTEXT = 64

# TRL 1.16 asks transformers 5.23 for things by their older names
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::FutureWarning:transformers")]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Form, str, bool], dict[str, str]]:
    """Exports both forms of prompts in every format; gives the data files of one."""
    home = tmp_path_factory.mktemp("exports")

    async def make(form: Form) -> None:
        async with open_store(f"sqlite:///{home}/{form}.db") as store:
            for number in range(8):
                scene = await store.begin_scene(SPEC, place="terminal")
                asked = f"Hi, number {number}!"
                prompt = (
                    Prompt(form=form, text=f"They meet.\n<Ash> {asked}\n<Ember>")
                    if form == "transcript"
                    else Prompt(form=form, messages=(ChatMessage(role="user", content=asked),))
                )
                said = [utterance(text, prompt=prompt) for text in (f" Hello {number}.", " hm")]
                await store.keep_turn(scene.id, speaker="Ember", utterances=said, chosen=0)
                good, bad = await store.generations(scene.id)
                await feedback.keep(store, "vote", good.id, other_id=bad.id, value="first", via="cli")
            for parquet in (False, True):
                for format_ in ("dpo", "kto", "sft", "grpo-prompts"):
                    wanted = Wanted(format=format_, test_share=0.5, parquet=parquet)  # type: ignore[arg-type]
                    await export(store, wanted, home / form / f"{format_} {parquet}")

    for form in ("transcript", "chat"):
        asyncio.run(make(form))  # type: ignore[arg-type]

    def files(form: Form, format_: str, parquet: bool) -> dict[str, str]:
        folder = home / form / f"{format_} {parquet}" / "data"
        return {path.stem: str(path) for path in folder.iterdir()}

    return files


@pytest.fixture(scope="module")
def newborn(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Form], Any]:
    """A random model of two layers with the house's tokenizer, in a folder as transformers has it."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("newborn")
    letters = alphabet.learn(["<Ash> Hi!\n<Ember> Hello."], 320)
    config = LlamaConfig(
        vocab_size=letters.get_vocab_size(),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=4 * CONTEXT,
    )
    for form in ("transcript", "chat"):
        (folder / form).mkdir()
        alphabet.save(letters, folder / form, form, "ember", CONTEXT)  # type: ignore[arg-type]
        LlamaForCausalLM(config).save_pretrained(folder / form)
    return lambda form: str(folder / form)


def settings(folder: Path) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        "max_steps": 1,
        "per_device_train_batch_size": 2,
        "report_to": "none",
        "use_cpu": True,
        "bf16": False,
        "save_strategy": "no",
        "disable_tqdm": True,
        "activation_checkpointing": False,
    }


@pytest.mark.parametrize(
    ("format_", "form", "parquet"),
    [
        ("dpo", "transcript", False),
        ("dpo", "chat", True),
        ("kto", "transcript", True),
        ("kto", "chat", False),
        ("sft", "transcript", False),
        ("sft", "chat", True),
        ("grpo-prompts", "transcript", True),
        ("grpo-prompts", "chat", False),
    ],
)
def test_a_trainer_takes_a_step(
    exported: Callable[[Form, str, bool], dict[str, str]],
    newborn: Callable[[Form], str],
    form: Form,
    parquet: bool,
    format_: str,
    tmp_path: Path,
) -> None:
    import trl
    from datasets import load_dataset

    files = exported(form, format_, parquet)
    assert set(files) == {"train", "test"}
    rows = load_dataset("parquet" if parquet else "json", data_files=files, cache_dir=str(tmp_path / "cache"))
    common = settings(tmp_path)
    trainer: Any
    match format_:
        case "dpo":
            trainer = trl.DPOTrainer(newborn(form), args=trl.DPOConfig(**common), train_dataset=rows["train"])
        case "kto":
            trainer = trl.KTOTrainer(newborn(form), args=trl.KTOConfig(**common), train_dataset=rows["train"])
        case "sft":
            trainer = trl.SFTTrainer(newborn(form), args=trl.SFTConfig(**common), train_dataset=rows["train"])
        case _:
            trainer = trl.GRPOTrainer(
                newborn(form),
                reward_funcs=lambda completions, **_: [
                    float(len(said[0]["content"])) for said in completions
                ],
                args=trl.GRPOConfig(**common, num_generations=2, max_completion_length=4),
                train_dataset=rows["train"],
            )
    trainer.train()
    assert trainer.state.global_step == 1
