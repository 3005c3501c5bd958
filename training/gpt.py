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


Cache = list[tuple[Tensor, Tensor]]
"""Keys and values of what was read so far, one pair of (B, H, T, D) per layer."""


class RMSNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + NORM_EPSILON)
        return self.weight * (wide * scale).to(x.dtype)


class Attention(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads, self.head_dim = shape.heads, shape.head_dim
        inner = shape.heads * shape.head_dim
        self.q_proj = nn.Linear(shape.width, inner, bias=False)
        self.k_proj = nn.Linear(shape.width, inner, bias=False)
        self.v_proj = nn.Linear(shape.width, inner, bias=False)
        self.o_proj = nn.Linear(inner, shape.width, bias=False)
        self.q_norm = RMSNorm(shape.head_dim)
        self.k_norm = RMSNorm(shape.head_dim)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        batch, length, _ = x.shape
        split = (batch, length, self.heads, self.head_dim)
        q = rotate(self.q_norm(self.q_proj(x).view(split)), cos, sin).transpose(1, 2)  # (B, H, T, D)
        k = rotate(self.k_norm(self.k_proj(x).view(split)), cos, sin).transpose(1, 2)
        v = self.v_proj(x).view(split).transpose(1, 2)
        if past is not None:
            k, v = torch.cat((past[0], k), 2), torch.cat((past[1], v), 2)
        # With a cache the new tokens come one at a time and may look at everything there is.
        y = F.scaled_dot_product_attention(q, k, v, is_causal=past is None)
        return self.o_proj(y.transpose(1, 2).reshape(batch, length, -1)), (k, v)


class MLP(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.width, shape.hidden, bias=False)
        self.up_proj = nn.Linear(shape.width, shape.hidden, bias=False)
        self.down_proj = nn.Linear(shape.hidden, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(shape.width)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = RMSNorm(shape.width)
        self.mlp = MLP(shape)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        attended, present = self.self_attn(self.input_layernorm(x), cos, sin, past)
        x = x + attended
        return x + self.mlp(self.post_attention_layernorm(x)), present


class Decoder(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.layers = nn.ModuleList(Block(shape) for _ in range(shape.depth))
        self.norm = RMSNorm(shape.width)


class GPT(nn.Module):
    """The model: `forward` for logits, `loss` for training, `step` for generation with a cache."""

    cos: Tensor
    sin: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.model = Decoder(shape)
        self.lm_head = nn.Linear(shape.width, shape.vocabulary, bias=False)
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

    def _hidden(self, ids: Tensor, start: int, cache: Cache | None) -> tuple[Tensor, Cache]:
        x = self.model.embed_tokens(ids)  # (B, T, C)
        cos = self.cos[start : start + ids.shape[1], None]  # (T, 1, D)
        sin = self.sin[start : start + ids.shape[1], None]
        presents: Cache = []
        for number, layer in enumerate(self.model.layers):
            x, present = layer(x, cos, sin, None if cache is None else cache[number])
            presents.append(present)
        return self.model.norm(x), presents

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits (B, T, V) for token ids (B, T), T at most the context."""
        return self.lm_head(self._hidden(ids, 0, None)[0])

    def loss(self, ids: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy in nats over targets (B, T) that are not -100."""
        logits = self.forward(ids)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]).float(), targets.reshape(-1))

    def losses(self, ids: Tensor, targets: Tensor) -> Tensor:
        """Return the cross-entropy in nats of every target, (B, T); 0 where the target is -100."""
        logits = self.forward(ids)
        flat = F.cross_entropy(
            logits.view(-1, logits.shape[-1]).float(), targets.reshape(-1), reduction="none"
        )
        return flat.view(targets.shape)

    def step(self, ids: Tensor, cache: Cache | None) -> tuple[Tensor, Cache]:
        """Read ids (1, T) after what `cache` holds; return logits (V,) for the next token, and the new cache.

        With a cache, T must be 1.
        """
        start = 0 if cache is None else cache[0][0].shape[2]
        hidden, cache = self._hidden(ids, start, cache)
        return self.lm_head(hidden[0, -1]).float(), cache


def rotary_tables(context: int, head_dim: int) -> tuple[Tensor, Tensor]:
    """Return cos and sin (context, head_dim) of rotary positions (Su et al. 2021), halves repeated."""
    frequencies = ROPE_THETA ** -(torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    angles = torch.outer(torch.arange(context, dtype=torch.float32), frequencies)
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn (B, T, H, D) by the tables (T, 1, D)."""
    first, second = x.chunk(2, dim=-1)
    return x * cos.to(x.dtype) + torch.cat((-second, first), dim=-1) * sin.to(x.dtype)


def count_parameters(shape: Shape) -> int:
    """Return the number of parameters without building the model."""
    inner = shape.heads * shape.head_dim
    block = 4 * shape.width * inner + 3 * shape.width * shape.hidden + 2 * shape.width + 2 * shape.head_dim
    return 2 * shape.vocabulary * shape.width + shape.depth * block + shape.width
