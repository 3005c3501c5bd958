"""The sizes of a model, and what follows from them without building it: parameters and operations.

A form is the stock transformers class whose parameter names and mathematics a model has:

    qwen3   Qwen3ForCausalLM: attention with normed queries and keys, SwiGLU
    arcee   ArceeForCausalLM: plain attention, squared ReLU (So et al. 2021, arXiv:2109.08668)
    lfm2    Lfm2ForCausalLM: gated short convolutions (Liquid AI 2025, arXiv:2511.23404), with attention in
            every third layer and the last
"""

from __future__ import annotations

from typing import Literal, NamedTuple

ModelForm = Literal["qwen3", "arcee", "lfm2"]
CONVOLUTION = 3
"""Tokens that a short convolution sees: the present one and two before it."""


class Shape(NamedTuple):
    """All sizes of one model."""

    vocabulary: int
    width: int
    depth: int
    heads: int
    head_dim: int
    hidden: int
    """Width inside an MLP of three matrices; one of two (arcee) is half as wide again, so that they weigh the
    same."""
    context: int
    form: ModelForm = "qwen3"

    @property
    def attends(self) -> tuple[bool, ...]:
        """Which layers attend; the others convolve."""
        if self.form != "lfm2":
            return (True,) * self.depth
        return tuple(layer % 3 == 2 or layer == self.depth - 1 for layer in range(self.depth))

    @property
    def mlp_hidden(self) -> int:
        """Width inside the MLP of this form."""
        return self.hidden * 3 // 2 if self.form == "arcee" else self.hidden


def count_matrices(shape: Shape) -> int:
    """Return the number of parameters that multiply every token: all but embeddings, norms and kernels."""
    attending, inner = sum(shape.attends), shape.heads * shape.head_dim
    mixers = attending * 4 * shape.width * inner + (shape.depth - attending) * 4 * shape.width**2
    mlps = shape.depth * (2 if shape.form == "arcee" else 3) * shape.width * shape.mlp_hidden
    return mixers + mlps + shape.vocabulary * shape.width


def count_parameters(shape: Shape) -> int:
    """Return the number of parameters without building the model."""
    attending = sum(shape.attends)
    norms = 2 * shape.width * shape.depth + shape.width
    if shape.form != "arcee":
        norms += attending * 2 * shape.head_dim
    kernels = (shape.depth - attending) * CONVOLUTION * shape.width
    return count_matrices(shape) + shape.vocabulary * shape.width + norms + kernels


def flops_per_token(shape: Shape, window: int) -> int:
    """Return the floating-point operations that one token costs in training, forward and backward.

    Counted are the matrix products: two operations per weight forward and four backward, and the attention
    scores over the whole window, as Chowdhery et al. 2022 do (PaLM, arXiv:2204.02311, appendix B), so that
    shares of the peak compare with those that others state. A causal kernel may do half of the scores.
    """
    scores = 12 * sum(shape.attends) * shape.heads * shape.head_dim * window
    return 6 * count_matrices(shape) + scores
