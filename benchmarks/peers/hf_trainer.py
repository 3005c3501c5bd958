"""Hugging Face's Trainer as a peer: transformers' own Qwen3 from random weights, AdamW, a cosine schedule.

The same shape, alphabet and windows of text as ours.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor
from torch.utils.data import Dataset
from transformers import (
    Qwen3Config,
    Qwen3ForCausalLM,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from benchmarks.shared import IGNORED, Job, Result, bits_per_byte, byte_count, documents, serve, steps_within

CALIBRATION_STEPS = 30


def train(job: Job) -> Result:
    settings = job.settings
    steps = job.steps
    if not steps:
        trial = _train(job, CALIBRATION_STEPS)[1]
        step_s = float(np.median(np.diff(trial.ended)))
        steps = steps_within(job.minutes * 60, trial.ended[0], step_s)
    model, clock = _train(job, steps)
    starting_s = clock.ended[0]  # the first step compiles
    measured, bytes_per_token = _measure(job, model) if job.measured else (None, None)
    return Result(
        seconds=clock.seconds,
        starting_s=starting_s,
        steps=steps,
        tokens=steps * settings["batch_tokens"],
        tokens_per_s=(steps - 1) * settings["batch_tokens"] / (clock.seconds - starting_s),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        how=f"{settings['dtype']}, {'compiled' if settings['compile'] else 'eager'}",
        bits_per_byte=measured,
        bytes_per_token=bytes_per_token,
    )


class _Clock(TrainerCallback):
    """When each step ended, in seconds since training began."""

    def __init__(self) -> None:
        self.begun = time.perf_counter()
        self.ended: list[float] = []
        self.seconds = 0.0

    def on_step_end(self, *_args: Any, **_kwargs: Any) -> None:
        self.ended.append(time.perf_counter() - self.begun)


class _Windows(Dataset):
    """The text in windows of the context; the model itself shifts labels by one."""

    def __init__(self, tokens: Any, context: int) -> None:
        self.tokens, self.context = tokens, context

    def __len__(self) -> int:
        return len(self.tokens) // self.context

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        at = number * self.context
        ids = torch.from_numpy(self.tokens[at : at + self.context].astype(np.int64))
        return {"input_ids": ids, "labels": ids}


def _train(job: Job, steps: int) -> tuple[Qwen3ForCausalLM, _Clock]:
    settings = job.settings
    set_seed(job.seed)
    tokens = np.load(Path(job.text) / f"train-{settings['vocabulary']}.npy", mmap_mode="r")
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=settings["vocabulary"],
            hidden_size=settings["width"],
            intermediate_size=settings["hidden"],
            num_hidden_layers=settings["depth"],
            num_attention_heads=settings["width"] // settings["head_dim"],
            num_key_value_heads=settings["width"] // settings["head_dim"],
            head_dim=settings["head_dim"],
            max_position_embeddings=settings["context"],
            tie_word_embeddings=False,
            use_cache=False,
        )
    )
    arguments = TrainingArguments(
        output_dir=str(Path(job.work) / "hf"),
        max_steps=steps,
        per_device_train_batch_size=settings["batch_tokens"] // settings["context"],
        learning_rate=settings["rate"],
        lr_scheduler_type="cosine",
        warmup_steps=max(1, round(0.02 * steps)),
        weight_decay=0.1,
        adam_beta2=0.95,
        bf16=settings["dtype"] == "bfloat16",
        torch_compile=settings["compile"],
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
        save_strategy="no",
        report_to="none",
        logging_steps=max(1, steps // 20),
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
        seed=job.seed,
    )
    clock = _Clock()
    trainer = Trainer(
        model, arguments, train_dataset=_Windows(tokens, settings["context"]), callbacks=[clock]
    )
    clock.begun = time.perf_counter()
    trainer.train()
    clock.seconds = time.perf_counter() - clock.begun
    return model, clock


def _measure(job: Job, model: Qwen3ForCausalLM) -> tuple[float, float]:
    texts = documents(job.text, "heldout")
    tokenizer = Tokenizer.from_file(str(Path(job.text) / f"tokenizer-{job.settings['vocabulary']}.json"))
    return measure(model.eval(), tokenizer, texts, job.settings["context"])


def measure(model: Any, tokenizer: Tokenizer, texts: list[str], context: int) -> tuple[float, float]:
    """Return bits per byte of a transformers model on documents, and the bytes that a token says."""
    tokenizer.encode_special_tokens = True
    bos = tokenizer.token_to_id("<|bos|>")
    assert bos is not None
    encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    encoded = [[bos, *encoding.ids] for encoding in encodings]

    def score(ids: Tensor, targets: Tensor) -> float:
        logits = model(input_ids=ids).logits.float()
        return float(
            F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum")
        )

    size = byte_count(texts)
    return bits_per_byte(encoded, size, context, score), size / sum(len(ids) - 1 for ids in encoded)


if __name__ == "__main__":
    serve(train)
