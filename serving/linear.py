"""Matrix products: one age's, or many ages' at once, with the same bits for a row in any company.

Products with small weights are made by `kernel.py`, in one call for all ages: with these the calls are most
of the cost. Large weights are laid out as oneDNN likes them, where it gives each row the same bits in any
company; that is tried out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

from serving.kernel import PANEL, multiply

Linear = Callable[[Tensor], Tensor]
"""(rows, in) -> (rows, out)."""

PACKED_FROM = {torch.float32: 2**20, torch.bfloat16: 2**16}
"""Weights with fewer numbers are small. Fewer are in bfloat16, which the compiled product does not know."""
PACKED_FOR = 8
"""The number of rows that packed weights are laid out for; others work too."""
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

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        out, width = weight.shape
        panels = _panels(out)
        turned = weight.float().view(panels, out // panels, width).transpose(1, 2)
        self.panels = turned.clone(memory_format=torch.contiguous_format)
        self.bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        return Many([self], [x.shape[0]])(x)

    def at_once(self, x: Tensor) -> Tensor:
        """All rows as one product: faster when they are many, with bits that depend on how many."""
        out = torch.cat([torch.mm(x.float(), panel) for panel in self.panels], 1).to(x.dtype)
        return out if self.bias is None else out + self.bias


class Many:
    """Several maps of one size at once, `sizes` rows for each."""

    def __init__(self, members: Sequence[Dense], sizes: Sequence[int]) -> None:
        first = members[0]
        for member in members:  # what is at the addresses is not looked at again
            if member.panels.shape != first.panels.shape or (member.bias is None) != (first.bias is None):
                raise RuntimeError("matrices of different sizes cannot be multiplied together")
        repeats = torch.tensor(sizes)
        self._members = members  # what lies at the addresses must stay
        addresses = torch.tensor([member.panels.data_ptr() for member in members])
        self._addresses = addresses.repeat_interleave(repeats).numpy()
        self._panels, self._inputs, self._width = first.panels.shape
        biases = [member.bias for member in members if member.bias is not None]
        self._bias = torch.stack(biases).repeat_interleave(repeats, 0) if biases else None

    def __call__(self, x: Tensor) -> Tensor:
        if x.shape != (len(self._addresses), self._inputs):
            raise RuntimeError(f"{tuple(x.shape)} numbers for {len(self._addresses)} rows of {self._inputs}")
        out = torch.empty(x.shape[0], self._panels * self._width)
        multiply(self._addresses, self._panels, x.float().contiguous().numpy(), out.numpy())
        out = out.to(x.dtype)
        return out if self._bias is None else out + self._bias


def make_linear(weight: Tensor, bias: Tensor | None) -> Linear:
    """Return what multiplies by a weight (out, in), which is copied."""
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


def at_once(linear: Linear) -> Linear:
    """Return the form of a map that is for many rows of one sequence."""
    return linear.at_once if isinstance(linear, Dense) else linear


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
