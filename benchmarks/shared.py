"""What all systems share: a job, the documents, windows of them, and one measure for all.

A system is a program of its own (benchmarks/peers/) that reads a job as JSON from stdin, trains, and writes
its result as JSON to stdout, so that none can disturb another and each may have its own environment. This
file needs only torch and numpy, because a peer's environment need not have ours.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

ROWS = 32
"""Windows that are scored at once."""
IGNORED = -100
"""A target that does not count."""

Score = Callable[[Tensor, Tensor], float]
"""Inputs and targets (B, T) -> nats, summed over the targets that are not IGNORED."""


@dataclass(frozen=True)
class Job:
    """What a system is to do. `settings` are its own."""

    text: str
    """Folder with train.jsonl and heldout.jsonl, a document a line, and our tokenizers."""
    work: str
    """Folder for what the systems keep from run to run: tokens, tokenizers, ages."""
    seed: int
    threads: int
    settings: dict[str, Any]
    minutes: float = 0.0
    """Wall-clock of training, from which the number of steps follows; 0: `steps` says."""
    steps: int = 0
    measured: bool = True
    """Whether held-out bits per byte are wanted."""


@dataclass(frozen=True)
class Result:
    """What came of a job."""

    seconds: float
    """Wall-clock of training with compiling, without preparing data and without measuring."""
    starting_s: float
    """The part of it before the steps: compiling, choosing how to compute."""
    steps: int
    tokens: int
    tokens_per_s: float
    """While steps were made."""
    parameters: int
    how: str
    """What was computed in, and whether it was compiled."""
    bits_per_byte: float | None = None
    bytes_per_token: float | None = None
    """Of the held-out text: how much a token says in this system's alphabet."""
    flops_per_token: int | None = None
    curve: tuple[tuple[float, int, float], ...] = ()
    """(seconds, step, bits per byte) on the way."""


def serve(train: Callable[[Job], Result]) -> None:
    """Be a system: a job from stdin, its result to stdout. What training prints goes to stderr."""
    job = Job(**json.load(sys.stdin))
    torch.set_num_threads(job.threads)
    with redirect_stdout(sys.stderr):
        result = train(job)
    print(json.dumps(asdict(result)))


def documents(text: str, split: str) -> list[str]:
    """Return the documents of `train` or `heldout`."""
    with (Path(text) / f"{split}.jsonl").open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def windows(
    tokens: npt.NDArray[Any], rows: int, context: int, seed: int
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Yield inputs and targets (rows, context) without end: each epoch all windows, in another order."""
    count = (len(tokens) - 1) // context
    epoch = 0
    picked = np.empty((0,), np.int64)
    while True:
        while len(picked) < rows:
            order = np.random.default_rng([seed, epoch]).permutation(count)
            picked, epoch = np.concatenate([picked, order]), epoch + 1
        batch = np.stack([tokens[n * context : n * context + context + 1] for n in picked[:rows]])
        picked = picked[rows:]
        yield batch[:, :-1].astype(np.int64), batch[:, 1:].astype(np.int64)


def bits_per_byte(encoded: Sequence[Sequence[int]], size: int, context: int, score: Score) -> float:
    """Return bits per byte over documents of `size` bytes in all, given as token ids from their BOS.

    Each document is read in windows of the training context that do not overlap; every token but the BOS is
    predicted once. Bits per byte compare systems with different alphabets.
    """
    cut = [ids[at : at + context + 1] for ids in encoded for at in range(0, len(ids) - 1, context)]
    cut.sort(key=len)  # so that short windows are read with short ones
    nats = 0.0
    with torch.inference_mode():
        for at in range(0, len(cut), ROWS):
            some = cut[at : at + ROWS]
            length = max(2, len(some[-1]) - 1)
            ids = torch.zeros(len(some), length, dtype=torch.long)
            targets = torch.full((len(some), length), IGNORED)
            for row, window in enumerate(some):
                ids[row, : len(window) - 1] = torch.tensor(window[:-1])
                targets[row, : len(window) - 1] = torch.tensor(window[1:])
            nats += score(ids, targets)
    return nats / math.log(2) / size


def steps_within(seconds: float, starting_s: float, step_s: float) -> int:
    """Return how many steps fill the wall-clock after what comes before them."""
    return max(10, round((seconds - starting_s) / step_s))


def byte_count(texts: Sequence[str]) -> int:
    return sum(len(text.encode()) for text in texts)
