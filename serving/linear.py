"""Matrix products: one age's, or many ages' at once, with the same bits for a row in any company.

Products with small weights are made by `kernel.py`, in one call for all ages: with these the calls are most
of the cost. Large weights are laid out as oneDNN likes them, where it gives each row the same bits in any
company; that is tried out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from serving.kernel import PANEL, multiply, multiply_int8

Linear = Callable[[Tensor], Tensor]
"""(rows, in) -> (rows, out)."""

PACKED_FROM = {torch.float32: 2**20, torch.bfloat16: 2**16}
"""Weights with fewer numbers are small. Fewer are in bfloat16, which the compiled product does not know."""
PACKED_FOR = 8
"""The number of rows that packed weights are laid out for; others work too."""
MOST_INT8 = 127
TRIED_ROWS = 64
"""As many as ever speak at the same time."""


class Packed:
    """x W^T + b, for a weight (out, in) and a bias (out,), in oneDNN's layout."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), PACKED_FOR)
        self._bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")
        return out


class Dense:
    """The same in float32, in panels that `kernel.py` reads from end to end."""

    scale: Tensor | None = None

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.panels = _in_panels(weight.float())
        self.bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        return Many([self], [x.shape[0]])(x)


class Int8(Dense):
    """The same with weights rounded to int8: 127 steps either way to the largest number of each output."""

    scale: Tensor

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        largest = weight.float().abs().amax(1)
        self.scale = torch.where(largest > 0, largest / MOST_INT8, 1)
        self.panels = _in_panels((weight.float() / self.scale[:, None]).round().to(torch.int8))
        self.bias = bias


class Many:
    """Several maps of one size at once, `sizes` rows for each."""

    def __init__(self, members: Sequence[Dense], sizes: Sequence[int]) -> None:
        first = members[0]
        for member in members:  # what is at the addresses is not looked at again
            alike = (member.panels.shape, member.panels.dtype) == (first.panels.shape, first.panels.dtype)
            if not alike or (member.bias is None) != (first.bias is None):
                raise RuntimeError("matrices of different kinds cannot be multiplied together")
        repeats = torch.tensor(sizes)
        self._members = members  # what lies at the addresses must stay
        self._addresses = _repeated([member.panels for member in members], repeats)
        scales = [member.scale for member in members if member.scale is not None]
        self._scales = _repeated(scales, repeats) if scales else None
        self._panels, self._inputs, self._width = first.panels.shape
        biases = [member.bias for member in members if member.bias is not None]
        self._bias = torch.stack(biases).repeat_interleave(repeats, 0) if biases else None

    def __call__(self, x: Tensor) -> Tensor:
        if x.shape != (len(self._addresses), self._inputs):
            raise RuntimeError(f"{tuple(x.shape)} numbers for {len(self._addresses)} rows of {self._inputs}")
        out = torch.empty(x.shape[0], self._panels * self._width)
        given = x.float().contiguous().numpy()
        if self._scales is None:
            multiply(self._addresses, self._panels, given, out.numpy())
        else:
            multiply_int8(self._addresses, self._scales, self._panels, given, out.numpy())
        out = out.to(x.dtype)
        return out if self._bias is None else out + self._bias


def make_linear(weight: Tensor, bias: Tensor | None, *, int8: bool = False) -> Linear:
    """Return what multiplies by a weight (out, in), which is copied, or rounded to int8."""
    if int8:
        return Int8(weight, bias)
    if weight.numel() >= PACKED_FROM[weight.dtype] and packs_safely(*weight.shape, weight.dtype):
        return Packed(weight, bias)
    return Dense(weight, bias)


def together(linears: Sequence[Linear], sizes: Sequence[int]) -> Linear:
    """Return the map in which each of `linears`, all of one size, has its own rows, `sizes` of them."""
    dense = [linear for linear in linears if isinstance(linear, Dense)]
    if len(dense) == len(linears):
        return Many(dense, sizes)
    if len(linears) == 1:
        return linears[0]
    return lambda x: torch.cat([one(own) for one, own in zip(linears, x.split(list(sizes)), strict=True)])


def _in_panels(weight: Tensor) -> Tensor:
    out, width = weight.shape
    panels = _panels(out)
    turned = weight.view(panels, out // panels, width).transpose(1, 2)
    return turned.clone(memory_format=torch.contiguous_format)


def _repeated(tensors: Sequence[Tensor], repeats: Tensor) -> NDArray[np.int64]:
    """Return where each tensor lies, so many times."""
    addresses: NDArray[np.int64] = (
        torch.tensor([tensor.data_ptr() for tensor in tensors]).repeat_interleave(repeats).numpy()
    )
    return addresses


def _panels(out: int) -> int:
    """Return into how many equal panels, neither wide nor narrow, a weight can be cut; else 1."""
    numbers = range(-(-out // PANEL), out // (PANEL // 4) + 1)
    return next((number for number in numbers if number and out % number == 0), 1)


@cache
def packs_safely(out: int, width: int, dtype: torch.dtype) -> bool:
    """Whether this machine has oneDNN, and it gives a row the same bits in any place and company.

    Tried with random weights of this size and numbers of rows up to TRIED_ROWS.
    """
    if not torch.backends.mkldnn.is_available():
        return False
    chance = torch.Generator().manual_seed(1)
    x = torch.randn(TRIED_ROWS, width, generator=chance).to(dtype)
    linear = Packed(torch.randn(out, width, generator=chance).to(dtype), None)
    whole = linear(x)
    numbers = (*range(1, 10), 12, 13, 15, 16, 17, 24, 31, 32, 33, 47, 48, 49, 63)
    # the last rows, in the first places
    return all(torch.equal(linear(x[-n:].clone()), whole[-n:]) for n in numbers)
