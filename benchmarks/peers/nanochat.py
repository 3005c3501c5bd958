"""nanochat as a peer: its model, optimizer, tokenizer and loader from a checkout, driven by its schedule.

The loop below follows the checkout's scripts/base_train.py: learning rates scaled by its rules, its warm-up
and warm-down, its momentum and weight decay over time, its compiling, its quiet garbage collector. The
checkout must be importable (PYTHONPATH). None of its code is copied here; it is Andrej Karpathy's, MIT.

`packing` is `bestfit`, its own loader, or `windows`, the shuffled windows that the other systems get: with
a short context its loader throws most of each document away, which small text does not forgive.
"""

from __future__ import annotations

import gc
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.shared import IGNORED, Job, Result, bits_per_byte, byte_count, documents, serve, steps_within
from benchmarks.shared import windows as shuffled_windows

REFERENCE_BATCH = 2**19
TOKENS_PER_PARAMETER = 12
WEIGHT_DECAY, SCALAR_RATE = 0.28, 0.5
WARMUP_STEPS, WARMDOWN, LAST_RATE = 40, 0.65, 0.05
CALIBRATION_STEPS = 25


def train(job: Job) -> Result:
    settings = job.settings
    work = Path(job.work) / "nanochat"
    work.mkdir(parents=True, exist_ok=True)
    os.environ["NANOCHAT_BASE_DIR"] = str(work)
    os.environ["NANOCHAT_DTYPE"] = settings["dtype"]
    tokenizer = _tokenizer(job, work)
    batches = _batches(job, work, tokenizer)
    torch.manual_seed(job.seed)
    model = _model(settings["depth"], settings["width"], settings["head_dim"], settings, tokenizer)
    model.to_empty(device="cpu")
    model.init_weights()
    compiled = torch.compile(model, dynamic=False)

    begun = time.perf_counter()
    trial = _Loop(model, compiled, settings, steps=10**6, batches=batches)
    trial.step(0)
    starting_s = time.perf_counter() - begun
    steps = job.steps
    if not steps:
        times = [_timed(trial, step) for step in range(1, CALIBRATION_STEPS)]
        steps = steps_within(job.minutes * 60, starting_s, float(np.median(times)))

    torch.manual_seed(job.seed)
    model.init_weights()
    loop = _Loop(model, compiled, settings, steps, batches)
    gc.collect()
    gc.freeze()
    gc.disable()
    begun = time.perf_counter()
    for step in range(steps):
        loop.step(step)
    seconds = time.perf_counter() - begun
    gc.enable()
    measured, bytes_per_token = _measure(job, model, tokenizer) if job.measured else (None, None)
    tokens = steps * settings["batch_tokens"]
    return Result(
        seconds=seconds + starting_s,
        starting_s=starting_s,
        steps=steps,
        tokens=tokens,
        tokens_per_s=tokens / seconds,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        how=f"{settings['dtype']}, compiled, {tokenizer.name}",
        bits_per_byte=measured,
        bytes_per_token=bytes_per_token,
        flops_per_token=model.estimate_flops(),
    )


class _Loop:
    """One training run: a step computes, then sets rates by its place in the run, as base_train does."""

    def __init__(
        self, model: Any, compiled: Any, settings: dict[str, Any], steps: int, batches: Iterator[Any]
    ) -> None:
        self.compiled, self.steps, self.batches = compiled, steps, batches
        batch_scale = math.sqrt(settings["batch_tokens"] / REFERENCE_BATCH)
        reference = _model(12, 12 * 64, 128, settings, None, vocabulary=model.config.vocab_size)
        horizons = _scaling_parameters(reference) / _scaling_parameters(model)  # tokens follow parameters
        self.weight_decay = WEIGHT_DECAY * batch_scale * horizons * settings["weight_decay"]
        self.model = model
        self.optimizer = model.setup_optimizer(
            unembedding_lr=settings["unembedding_rate"] * batch_scale,
            embedding_lr=settings["embedding_rate"] * batch_scale,
            scalar_lr=SCALAR_RATE * batch_scale,
            matrix_lr=settings["matrix_rate"] * batch_scale,
            weight_decay=self.weight_decay,
        )
        self.batch = next(batches)

    def step(self, step: int) -> None:
        loss = self.compiled(*self.batch)
        loss.backward()
        self.batch = next(self.batches)
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * self._rate(step)
            if group["kind"] == "muon":
                group["momentum"] = self._momentum(step)
                group["weight_decay"] = self.weight_decay * 0.5 * (1 + math.cos(math.pi * step / self.steps))
        self.optimizer.step()
        self.model.zero_grad(set_to_none=True)
        if not math.isfinite(loss.item()):
            raise SystemExit(f"nanochat: the loss is {loss.item()} at step {step}")

    def _rate(self, step: int) -> float:
        warmdown = round(WARMDOWN * self.steps)
        if step < WARMUP_STEPS:
            return (step + 1) / WARMUP_STEPS
        if step <= self.steps - warmdown:
            return 1.0
        left = (self.steps - step) / warmdown
        return left + (1 - left) * LAST_RATE

    def _momentum(self, step: int) -> float:
        warmdown = round(WARMDOWN * self.steps)
        if step < 400:
            return 0.85 + 0.12 * step / 400
        if step >= self.steps - warmdown:
            return 0.97 - 0.07 * (step - (self.steps - warmdown)) / warmdown
        return 0.97


def _timed(loop: _Loop, step: int) -> float:
    begun = time.perf_counter()
    loop.step(step)
    return time.perf_counter() - begun


def _model(
    depth: int, width: int, head_dim: int, settings: dict[str, Any], tokenizer: Any, vocabulary: int = 0
) -> Any:
    from nanochat.gpt import GPT, GPTConfig  # type: ignore[import-not-found]

    config = GPTConfig(
        sequence_len=settings["context"],
        vocab_size=vocabulary or tokenizer.get_vocab_size(),
        n_layer=depth,
        n_head=width // head_dim,
        n_kv_head=width // head_dim,
        n_embd=width,
        window_pattern="L",  # its short windows are at least 128 tokens, no shorter than contexts here
    )
    with torch.device("meta"):
        return GPT(config)


def _scaling_parameters(model: Any) -> int:
    counts = model.num_scaling_params()
    return int(counts["transformer_matrices"] + counts["lm_head"])


def _tokenizer(job: Job, work: Path) -> Any:
    """Its own tokenizer, learned by its own code; ours where rustbpe or tiktoken is not installed."""
    vocabulary = job.settings["vocabulary"]
    try:
        from nanochat.tokenizer import RustBPETokenizer  # type: ignore[import-not-found]
    except ImportError:
        return _HouseTokenizer(Path(job.text) / f"tokenizer-{vocabulary}.json")
    folder = work / f"{Path(job.text).name}-tokenizer-{vocabulary}"
    if not folder.exists():
        learned = RustBPETokenizer.train_from_iterator(iter(documents(job.text, "train")), vocabulary)
        learned.save(str(folder))
    tokenizer = RustBPETokenizer.from_directory(str(folder))
    tokenizer.name = "its tokenizer"
    return tokenizer


class _HouseTokenizer:
    name = "our tokenizer (rustbpe and tiktoken are not installed)"

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_file(str(path))
        self.tokenizer.encode_special_tokens = True

    def get_vocab_size(self) -> int:
        return int(self.tokenizer.get_vocab_size())

    def get_bos_token_id(self) -> int:
        bos = self.tokenizer.token_to_id("<|bos|>")
        assert bos is not None
        return int(bos)

    def encode(self, texts: list[str], prepend: int, num_threads: int = 0) -> list[list[int]]:  # noqa: ARG002
        encodings = self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [[prepend, *encoding.ids] for encoding in encodings]


def _batches(job: Job, work: Path, tokenizer: Any) -> Iterator[tuple[Tensor, Tensor]]:
    settings = job.settings
    context, rows = settings["context"], settings["batch_tokens"] // settings["context"]
    name = Path(job.text).name
    if settings["packing"] == "windows":
        path = work / f"{name}-{settings['vocabulary']}-{type(tokenizer).__name__}.npy"
        if not path.exists():
            encoded = tokenizer.encode(documents(job.text, "train"), prepend=tokenizer.get_bos_token_id())
            np.save(path, np.concatenate([np.array(ids, np.uint16) for ids in encoded]))
        tokens = np.load(path, mmap_mode="r")
        for ids, targets in shuffled_windows(tokens, rows, context, job.seed):
            yield torch.from_numpy(ids), torch.from_numpy(targets)
    from nanochat import dataset  # type: ignore[import-not-found]
    from nanochat.dataloader import (  # type: ignore[import-not-found]
        tokenizing_distributed_data_loader_bos_bestfit,
    )

    _write_parquet(job, Path(dataset.DATA_DIR))
    yield from tokenizing_distributed_data_loader_bos_bestfit(tokenizer, rows, context, "train", device="cpu")


def _write_parquet(job: Job, folder: Path) -> None:
    """Its loader reads all parquet files but the last, in order; so the order is the seed's."""
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    texts = documents(job.text, "train")
    order = np.random.default_rng(job.seed).permutation(len(texts))
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table({"text": [texts[n] for n in order]})
    pq.write_table(table, folder / "shard_00000.parquet", row_group_size=1024)
    pq.write_table(table.slice(0, 1), folder / "shard_00001.parquet")


def _measure(job: Job, model: Any, tokenizer: Any) -> tuple[float, float]:
    def score(ids: Tensor, targets: Tensor) -> float:
        counted = targets.masked_fill(targets == IGNORED, -1)
        return float(model(ids, counted, loss_reduction="none").double().sum())

    texts = documents(job.text, "heldout")
    encoded = tokenizer.encode(texts, prepend=tokenizer.get_bos_token_id())
    size = byte_count(texts)
    measured = bits_per_byte(encoded, size, job.settings["context"], score)
    return measured, size / sum(len(ids) - 1 for ids in encoded)


if __name__ == "__main__":
    serve(train)
