"""A compact GPT in plain PyTorch whose parameters bear the names of a stock transformers class.

Pre-norm decoder: RMSNorm, rotary positions, SwiGLU, untied head; `training/shape.py` says which forms there
are. Because names and mathematics are transformers' own, `state_dict()` of any age is a servable folder as it
stands; tests hold the logits equal.

Shapes in comments: B sequences, T tokens, C width, D head_dim, V vocabulary.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from training.blocks import NORM_EPSILON, Linear, Memory, RMSNorm, make_blocks
from training.shape import Shape, count_parameters, flops_per_token

__all__ = ["GPT", "IGNORED", "NORM_EPSILON", "Cache", "Shape", "count_parameters", "flops_per_token"]

ROPE_THETA = 10_000.0
EMBEDDING_STD = 0.5
"""Large on purpose: with it and a high learning rate, embeddings move far in few steps."""
IGNORED = -100
"""A target that is not learned, as torch's cross_entropy has it."""
FINAL_NORM = {"qwen3": "norm", "arcee": "norm", "lfm2": "embedding_norm"}
"""What transformers calls the norm after the last layer."""
INTO_RESIDUAL = ("o_proj.weight", "down_proj.weight", "out_proj.weight", "w2.weight")
LOGITS_AT_ONCE = 2**28
"""Logits that may exist at one time in training: 1 GiB of float32."""


class Cache(NamedTuple):
    """What the model keeps of the tokens it read. `GPT.step` replaces what is in `layers`."""

    length: int
    layers: list[Memory]


class Decoder(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.layers = make_blocks(shape)
        self.add_module(FINAL_NORM[shape.form], RMSNorm(shape.width))


class GPT(nn.Module):
    """The model: called for logits or for the loss, `step` for generation with a cache.

    Whatever computes goes through `__call__`, where DDP and FSDP2 have their hooks.
    """

    cos: Tensor
    sin: Tensor
    checkpointing = False
    """Whether blocks are computed anew for the backward pass: a third more arithmetic, far less memory."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.model = Decoder(shape)
        self.lm_head = Linear(shape.width, shape.vocabulary)
        cos, sin = rotary_tables(shape.context, shape.head_dim)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def initialise(self, seed: int) -> None:
        """Draw all weights anew from `seed`; the same seed gives the same weights on every machine.

        Matrices that write into the residual stream begin at zero, so each block begins as the identity.
        """
        source = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.endswith("norm.weight"):
                    parameter.fill_(1.0)
                elif name.endswith(INTO_RESIDUAL):
                    parameter.zero_()
                else:
                    std = EMBEDDING_STD if "embed_tokens" in name else parameter[0].numel() ** -0.5
                    if name == "lm_head.weight":
                        std = 0.001
                    drawn = torch.randn(parameter.shape, generator=source) * std
                    parameter.copy_(drawn)

    def _hidden(self, ids: Tensor, dtype: torch.dtype, cache: Cache | None) -> Tensor:
        """Return what the last layer gives for ids (B, T), normed, (B, T, C); reads and fills the cache."""
        start = cache.length if cache else 0
        x = self.model.embed_tokens(ids).to(dtype)
        cos = self.cos[start : start + ids.shape[1], None].to(dtype)  # (T, 1, D)
        sin = self.sin[start : start + ids.shape[1], None].to(dtype)
        for number, layer in enumerate(self.model.layers):
            if self.checkpointing and torch.is_grad_enabled():
                x = checkpoint(layer, x, cos, sin, None, use_reentrant=False)
            else:
                x = layer(x, cos, sin, cache.layers[number] if cache else None)
        hidden: Tensor = self.model.get_submodule(FINAL_NORM[self.shape.form])(x)
        return hidden

    def forward(
        self, ids: Tensor, targets: Tensor | None = None, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Return logits (B, T, V) for ids (B, T), T at most the context; or with targets, `loss_sum`.

        Everything is computed in `dtype`, softmax and sums in float32; the result is float32.
        """
        hidden = self._hidden(ids, dtype, None)
        if targets is None:
            return self.lm_head(hidden).float()
        rows = hidden.flatten(0, 1)
        chunk = max(1, LOGITS_AT_ONCE // self.shape.vocabulary)
        if len(rows) <= chunk:
            return self._nats(rows, targets.flatten())
        parts = zip(rows.split(chunk), targets.flatten().split(chunk), strict=True)
        return torch.stack([checkpoint(self._nats, *part, use_reentrant=False) for part in parts]).sum()

    def _nats(self, rows: Tensor, targets: Tensor) -> Tensor:
        """Return the summed cross-entropy of hidden rows (N, C) and targets (N,)."""
        return F.cross_entropy(self.lm_head(rows).float(), targets, ignore_index=IGNORED, reduction="sum")

    def loss_sum(self, ids: Tensor, targets: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return the summed cross-entropy in nats over targets (B, T) that are not IGNORED."""
        total: Tensor = self(ids, targets, dtype)
        return total

    def loss(self, ids: Tensor, targets: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return the mean cross-entropy in nats over targets (B, T) that are not IGNORED."""
        return self.loss_sum(ids, targets, dtype) / (targets != IGNORED).sum()

    def losses(self, ids: Tensor, targets: Tensor) -> Tensor:
        """Return the cross-entropy in nats of every target, (B, T); 0 where the target is IGNORED."""
        flat = F.cross_entropy(
            self(ids).flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none"
        )
        return flat.view(targets.shape)

    def step(self, ids: Tensor, cache: Cache | None) -> tuple[Tensor, Cache]:
        """Read ids (B, T) after what `cache` holds; return the next token's logits (B, V), and the new cache.

        With a cache, T must be 1. The old cache is used up.
        """
        cache = cache or Cache(0, [[] for _ in self.model.layers])
        hidden = self._hidden(ids, torch.float32, cache)
        return self.lm_head(hidden[:, -1]), cache._replace(length=cache.length + ids.shape[1])


def rotary_tables(context: int, head_dim: int) -> tuple[Tensor, Tensor]:
    """Return cos and sin (context, head_dim) of rotary positions (Su et al. 2021, arXiv:2104.09864).

    The halves are the same but for the sign of the first half of sin, as `rotate` wants it.
    """
    frequencies = ROPE_THETA ** -(torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    angles = torch.outer(torch.arange(context, dtype=torch.float32), frequencies)
    return torch.cat((angles.cos(), angles.cos()), -1), torch.cat((-angles.sin(), angles.sin()), -1)
