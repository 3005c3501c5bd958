"""How well an age predicts text it never read, in bits per byte: comparable across tokenizers."""

from __future__ import annotations

import math

import numpy as np
import torch

from training.gpt import GPT, IGNORED
from training.shards import Corpus, heldout_documents

ROWS = 16
"""Windows that are read at once."""


def bits_per_byte(model: GPT, corpus: Corpus, limit: int) -> float:
    """Return bits per byte over about the first `limit` tokens of the held-out documents.

    Each document is read from its <|bos|> in windows of the model's context that do not overlap, so tokens
    early in a window are predicted with little to go by.
    """
    context = model.shape.context
    device = model.lm_head.weight.device
    windows: list[np.ndarray] = []
    size = 0
    for tokens, document_bytes in heldout_documents(corpus, limit):
        size += document_bytes
        windows += [tokens[at : at + context + 1] for at in range(0, len(tokens) - 1, context)]
    nats = 0.0
    with torch.no_grad():
        for at in range(0, len(windows), ROWS):
            some = windows[at : at + ROWS]
            ids = torch.zeros(len(some), context, dtype=torch.long)
            targets = torch.full((len(some), context), IGNORED)
            for row, window in enumerate(some):
                ids[row, : len(window) - 1] = torch.from_numpy(window[:-1])
                targets[row, : len(window) - 1] = torch.from_numpy(window[1:])
            nats += float(model.losses(ids.to(device), targets.to(device)).double().sum())
    return nats / math.log(2) / size
