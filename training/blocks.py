"""The layers of a model, in each form; parameters bear the names that transformers gives them.

Weights are kept in float32 and computed with in the dtype of what they are given.
Shapes in comments: B sequences, T tokens, C width, H heads, D head_dim.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.shape import CONVOLUTION, Shape

NORM_EPSILON = 1e-6

Memory = list[Tensor]
"""What one layer keeps of the tokens it read: keys and values (B, H, T, D), or the last inputs of a
convolution (B, T, C). Empty when it has read none; a layer puts its new memory in place of the old."""


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
    """Of qwen3, and of arcee without the norms."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads, self.head_dim = shape.heads, shape.head_dim
        inner = shape.heads * shape.head_dim
        self.q_proj = Linear(shape.width, inner)
        self.k_proj = Linear(shape.width, inner)
        self.v_proj = Linear(shape.width, inner)
        self.o_proj = Linear(inner, shape.width)
        normed = shape.form != "arcee"
        self.q_norm = RMSNorm(shape.head_dim) if normed else nn.Identity()
        self.k_norm = RMSNorm(shape.head_dim) if normed else nn.Identity()

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, memory: Memory | None) -> Tensor:
        split = (*x.shape[:2], self.heads, self.head_dim)
        q = self.q_norm(self.q_proj(x).view(split))
        k = self.k_norm(self.k_proj(x).view(split))
        return self.o_proj(look(q, k, self.v_proj(x).view(split), cos, sin, memory))


class Lfm2Attention(nn.Module):
    """Qwen3's, by other names."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads, self.head_dim = shape.heads, shape.head_dim
        inner = shape.heads * shape.head_dim
        self.q_proj = Linear(shape.width, inner)
        self.k_proj = Linear(shape.width, inner)
        self.v_proj = Linear(shape.width, inner)
        self.out_proj = Linear(inner, shape.width)
        self.q_layernorm = RMSNorm(shape.head_dim)
        self.k_layernorm = RMSNorm(shape.head_dim)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, memory: Memory | None) -> Tensor:
        split = (*x.shape[:2], self.heads, self.head_dim)
        q = self.q_layernorm(self.q_proj(x).view(split))
        k = self.k_layernorm(self.k_proj(x).view(split))
        return self.out_proj(look(q, k, self.v_proj(x).view(split), cos, sin, memory))


class Kernel(nn.Module):
    """The weights of a convolution along the tokens, one kernel per entry of the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width, 1, CONVOLUTION))

    def forward(self, x: Tensor, length: int) -> Tensor:
        """Return the last `length` tokens of x (B, T, C), each the weighted sum of itself and those before.

        Sums of shifted copies: with so few taps faster than a convolution, and one loop when compiled.
        """
        x = F.pad(x, (0, 0, length + CONVOLUTION - 1 - x.shape[1], 0))
        taps = self.weight.to(x.dtype)
        parts = [x[:, tap : tap + length] * taps[:, 0, tap] for tap in range(CONVOLUTION)]
        return sum(parts[1:], parts[0])


class ShortConvolution(nn.Module):
    """A convolution over three tokens between two gates; it knows no positions."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.in_proj = Linear(shape.width, 3 * shape.width)
        self.conv = Kernel(shape.width)
        self.out_proj = Linear(shape.width, shape.width)

    def forward(self, x: Tensor, memory: Memory | None) -> Tensor:
        before, after, value = self.in_proj(x).chunk(3, -1)
        gated = before * value
        if memory is not None:
            gated = torch.cat((*memory, gated), 1)
            memory[:] = (gated[:, 1 - CONVOLUTION :],)
        return self.out_proj(after * self.conv(gated, x.shape[1]))


class MLP(nn.Module):
    """SwiGLU (Shazeer 2020, arXiv:2002.05202)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = Linear(shape.width, shape.mlp_hidden)
        self.up_proj = Linear(shape.width, shape.mlp_hidden)
        self.down_proj = Linear(shape.mlp_hidden, shape.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class ArceeMLP(nn.Module):
    """Squared ReLU between two matrices."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.up_proj = Linear(shape.width, shape.mlp_hidden)
        self.down_proj = Linear(shape.mlp_hidden, shape.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.relu(self.up_proj(x)).square())


class Lfm2MLP(nn.Module):
    """SwiGLU by other names."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.w1 = Linear(shape.width, shape.mlp_hidden)
        self.w3 = Linear(shape.width, shape.mlp_hidden)
        self.w2 = Linear(shape.mlp_hidden, shape.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class Block(nn.Module):
    """A layer of qwen3 or arcee."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(shape.width)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = RMSNorm(shape.width)
        self.mlp = ArceeMLP(shape) if shape.form == "arcee" else MLP(shape)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, memory: Memory | None) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, memory)
        return x + self.mlp(self.post_attention_layernorm(x))


class Lfm2Block(nn.Module):
    """A layer of lfm2."""

    def __init__(self, shape: Shape, *, attends: bool) -> None:
        super().__init__()
        if attends:
            self.self_attn = Lfm2Attention(shape)
        else:
            self.conv = ShortConvolution(shape)
        self.attends = attends
        self.operator_norm = RMSNorm(shape.width)
        self.ffn_norm = RMSNorm(shape.width)
        self.feed_forward = Lfm2MLP(shape)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, memory: Memory | None) -> Tensor:
        normed = self.operator_norm(x)
        x = x + (self.self_attn(normed, cos, sin, memory) if self.attends else self.conv(normed, memory))
        return x + self.feed_forward(self.ffn_norm(x))


def make_blocks(shape: Shape) -> nn.ModuleList:
    """Return the layers of a shape's form, in order; each maps (x, cos, sin, memory) to x (B, T, C)."""
    if shape.form == "lfm2":
        return nn.ModuleList(Lfm2Block(shape, attends=attends) for attends in shape.attends)
    return nn.ModuleList(Block(shape) for _ in range(shape.depth))


def look(q: Tensor, k: Tensor, v: Tensor, cos: Tensor, sin: Tensor, memory: Memory | None) -> Tensor:
    """Return what attention sees, (B, T, H * D), for q, k, v (B, T, H, D) at positions `cos` and `sin`.

    Tokens see themselves and those before. After a memory they come one at a time and see all there is.
    """
    q, k, v = rotate(q, cos, sin).transpose(1, 2), rotate(k, cos, sin).transpose(1, 2), v.transpose(1, 2)
    causal = not memory
    if memory:
        k, v = torch.cat((memory[0], k), 2), torch.cat((memory[1], v), 2)
    if memory is not None:
        memory[:] = k, v
    return attend(q, k, v, causal=causal).transpose(1, 2).flatten(2)


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


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn (B, T, H, D) by tables (T, 1, D); a pair is an entry of the first half and one of the second.

    The halves of a table are the same but for the sign of the first half of sin (Su et al. 2021,
    arXiv:2104.09864).
    """
    swapped = x.unflatten(-1, (2, -1)).flip(-2).flatten(-2)
    return x * cos + swapped * sin
