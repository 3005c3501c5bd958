"""A compact GPT in plain PyTorch whose parameters bear the names of transformers' Qwen3.

Pre-norm decoder: RMSNorm, rotary positions, a norm on queries and keys, SwiGLU, untied head. Because names
and mathematics are Qwen3's (github.com/huggingface/transformers, models/qwen3), `state_dict()` of any age is
a servable `Qwen3ForCausalLM` folder as it stands; a test holds the logits equal.

Shapes in comments: B sequences, T tokens, C width, H heads, D head_dim, V vocabulary.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

ROPE_THETA = 10_000.0
NORM_EPSILON = 1e-6
EMBEDDING_STD = 0.5
"""Large on purpose: with it and a high learning rate, embeddings move far in few steps."""


class Shape(NamedTuple):
    """All sizes of one model."""

    vocabulary: int
    width: int
    depth: int
    heads: int
    head_dim: int
    hidden: int
    """Width inside the SwiGLU."""
    context: int


IGNORED = -100
"""A target that is not learned, as torch's cross_entropy has it."""

LOGITS_AT_ONCE = 2**28
"""Logits that may exist at one time in training: 1 GiB of float32."""

Memory = list[Tensor]
"""What one layer keeps of the tokens it read: keys and values (B, H, T, D); empty when it has read none."""


class Cache(NamedTuple):
    """What the model keeps of the tokens it read. `GPT.step` replaces what is in `layers`."""

    length: int
    layers: list[Memory]


class Linear(nn.Linear):
    """A matrix kept in float32 that computes in the dtype of what it is given."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype))


class RMSNorm(nn.Module):
    """Zhang and Sennrich 2019 (arXiv:1910.07467); the mean is taken in float32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.rsqrt(x.float().square().mean(-1, keepdim=True) + NORM_EPSILON)
        return x * scale.to(x.dtype) * self.weight.to(x.dtype)


class Attention(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads, self.head_dim = shape.heads, shape.head_dim
        inner = shape.heads * shape.head_dim
        self.q_proj = Linear(shape.width, inner)
        self.k_proj = Linear(shape.width, inner)
        self.v_proj = Linear(shape.width, inner)
        self.o_proj = Linear(inner, shape.width)
        self.q_norm = RMSNorm(shape.head_dim)
        self.k_norm = RMSNorm(shape.head_dim)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, memory: Memory | None) -> Tensor:
        batch, length, _ = x.shape
        split = (batch, length, self.heads, self.head_dim)
        q = rotate(self.q_norm(self.q_proj(x).view(split)), cos, sin).transpose(1, 2)  # (B, H, T, D)
        k = rotate(self.k_norm(self.k_proj(x).view(split)), cos, sin).transpose(1, 2)
        v = self.v_proj(x).view(split).transpose(1, 2)
        causal = not memory  # after a memory, tokens come one at a time and may look at everything there is
        if memory:
            k, v = torch.cat((memory[0], k), 2), torch.cat((memory[1], v), 2)
        if memory is not None:
            memory[:] = k, v
        y = attend(q, k, v, causal=causal)
        return self.o_proj(y.transpose(1, 2).reshape(batch, length, -1))


class MLP(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = Linear(shape.width, shape.hidden)
        self.up_proj = Linear(shape.width, shape.hidden)
        self.down_proj = Linear(shape.hidden, shape.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(shape.width)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = RMSNorm(shape.width)
        self.mlp = MLP(shape)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, memory: Memory | None) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, memory)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.layers = nn.ModuleList(Block(shape) for _ in range(shape.depth))
        self.norm = RMSNorm(shape.width)


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
                elif name.endswith(("o_proj.weight", "down_proj.weight")):
                    parameter.zero_()
                else:
                    std = EMBEDDING_STD if "embed_tokens" in name else parameter.shape[1] ** -0.5
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
        hidden: Tensor = self.model.norm(x)
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
        """Read ids (1, T) after what `cache` holds; return logits (V,) for the next token, and the new cache.

        With a cache, T must be 1. The old cache is used up.
        """
        cache = cache or Cache(0, [[] for _ in self.model.layers])
        hidden = self._hidden(ids, torch.float32, cache)
        return self.lm_head(hidden[0, -1]), cache._replace(length=cache.length + ids.shape[1])


def attend(q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> Tensor:
    """Return softmax(q k / sqrt(D)) v for (B, H, T, D).

    On a CPU, plain matrix products are faster at short contexts than torch's fused kernel.
    """
    length = q.shape[2]
    if q.device.type != "cpu" or length > 512:
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    scores = (q * q.shape[-1] ** -0.5) @ k.mT
    if causal:
        scores = scores + torch.full((length, length), float("-inf"), dtype=q.dtype).triu(1)
    return scores.softmax(-1) @ v


def rotary_tables(context: int, head_dim: int) -> tuple[Tensor, Tensor]:
    """Return cos and sin (context, head_dim) of rotary positions (Su et al. 2021, arXiv:2104.09864).

    The halves are the same but for the sign of the first half of sin, as `rotate` wants it.
    """
    frequencies = ROPE_THETA ** -(torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    angles = torch.outer(torch.arange(context, dtype=torch.float32), frequencies)
    return torch.cat((angles.cos(), angles.cos()), -1), torch.cat((-angles.sin(), angles.sin()), -1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn (B, T, H, D) by tables (T, 1, D); a pair is an entry of the first half and one of the second."""
    swapped = x.unflatten(-1, (2, -1)).flip(-2).flatten(-2)
    return x * cos + swapped * sin


def count_parameters(shape: Shape) -> int:
    """Return the number of parameters without building the model."""
    inner = shape.heads * shape.head_dim
    block = 4 * shape.width * inner + 3 * shape.width * shape.hidden + 2 * shape.width + 2 * shape.head_dim
    return 2 * shape.vocabulary * shape.width + shape.depth * block + shape.width


def flops_per_token(shape: Shape, window: int) -> int:
    """Return the floating-point operations that one token costs in training, forward and backward.

    Counted are the matrix products: two operations per weight forward and four backward, and the attention
    scores over the whole window, as Chowdhery et al. 2022 do (PaLM, arXiv:2204.02311, appendix B), so that
    shares of the peak compare with those that others state. A causal kernel may do half of the scores.
    """
    norms = shape.depth * (2 * shape.width + 2 * shape.head_dim) + shape.width
    matrices = count_parameters(shape) - shape.vocabulary * shape.width - norms
    return 6 * matrices + 12 * shape.depth * shape.heads * shape.head_dim * window
