"""Matrix products: one age's, or many ages' at once, with the same bits for a row in any company.

Weights of ages of one shape lie side by side, so that one call (`kernel.py`) multiplies by all of them: with
small weights the calls are most of the cost. Large weights are laid out as oneDNN likes them, where it gives
each row the same bits in any company; that is tried out.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import cache
from itertools import groupby

import torch
from torch import Tensor

from serving.kernel import PANEL, multiply

Linear = Callable[[Tensor], Tensor]
"""(rows, in) -> (rows, out)."""

SLOTS = 8
"""Ages whose weights lie side by side."""
PACKED_FROM = {torch.float32: 2**20, torch.bfloat16: 2**16}
"""Weights with fewer numbers are small. Fewer are in bfloat16, which the compiled product does not know."""
PACKED_FOR = 8
"""The number of rows that packed weights are laid out for; others work too."""
TRIED_ROWS = 32


class Packed:
    """x W^T + b, for a weight (out, in) and a bias (out,), in oneDNN's layout."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), PACKED_FOR)
        self._bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")
        return out


class Dense:
    """The same for one of the weights of a stack (SLOTS, panels, in, out / panels) in float32."""

    def __init__(self, stack: Tensor, slot: int, bias: Tensor | None) -> None:
        self.stack = stack
        self.slot = slot
        self.bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        return Stacked([self], [x.shape[0]])(x)

    def at_once(self, x: Tensor) -> Tensor:
        """All rows as one product: faster when they are many, with bits that depend on how many."""
        out = torch.cat([torch.mm(x.float(), panel) for panel in self.stack[self.slot]], 1).to(x.dtype)
        return out if self.bias is None else out + self.bias


class Stacked:
    """Several of one stack at once, `sizes` rows for each."""

    def __init__(self, members: Sequence[Dense], sizes: Sequence[int]) -> None:
        repeats = torch.tensor(sizes)
        self._weights = members[0].stack.numpy()
        self._size = self._weights.shape[1] * self._weights.shape[3]
        self._slots = torch.tensor([member.slot for member in members]).repeat_interleave(repeats).numpy()
        biases = [member.bias for member in members if member.bias is not None]
        self._bias = torch.stack(biases).repeat_interleave(repeats, 0) if biases else None

    def __call__(self, x: Tensor) -> Tensor:
        out = torch.empty(x.shape[0], self._size)
        multiply(self._weights, self._slots, x.float().contiguous().numpy(), out.numpy())
        out = out.to(x.dtype)
        return out if self._bias is None else out + self._bias


def together(linears: Sequence[Linear], sizes: Sequence[int]) -> Linear:
    """Return the map in which each of `linears` has its own rows, `sizes` of them, one after another."""
    maps: list[Linear] = []
    rows: list[int] = []
    pairs = zip(linears, sizes, strict=True)
    for stack, group in groupby(pairs, key=lambda pair: getattr(pair[0], "stack", None)):
        own = list(group)
        if stack is None:
            maps += [linear for linear, _ in own]
            rows += [size for _, size in own]
        else:
            maps.append(Stacked([linear for linear, _ in own], [size for _, size in own]))  # type: ignore[misc]
            rows.append(sum(size for _, size in own))
    if len(maps) == 1:
        return maps[0]
    return lambda x: torch.cat([one(own) for one, own in zip(maps, x.split(rows), strict=True)])


def at_once(linear: Linear) -> Linear:
    """Return the form of a map that is for many rows of one sequence."""
    return linear.at_once if isinstance(linear, Dense) else linear


class Block:
    """Stacks for the weights of up to SLOTS ages of one shape."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.free = list(range(SLOTS))
        self._stacks: dict[str, Tensor] = {}

    def stack(self, name: str, weight: Tensor) -> Tensor:
        """Return the stack for all weights of this name, which have one shape (panels, in, out / panels)."""
        if name not in self._stacks:
            # pages that no age has written to take no memory
            self._stacks[name] = torch.empty(SLOTS, *weight.shape)
        return self._stacks[name]


class Place:
    """Where one age's matrices are: the first free slot of a block."""

    def __init__(self, block: Block) -> None:
        self.block = block
        self.slot = block.free.pop(0)

    @property
    def order(self) -> tuple[int, int]:
        """Ages next to each other in this order may share a stack."""
        return self.block.number, self.slot

    def put(self, name: str, weight: Tensor, bias: Tensor | None) -> Linear:
        """Return what multiplies by a weight (out, in); the weight is copied."""
        if weight.numel() >= PACKED_FROM[weight.dtype] and packs_safely(*weight.shape, weight.dtype):
            return Packed(weight, bias)
        out, width = weight.shape
        panels = _panels(out)
        in_panels = weight.view(panels, out // panels, width).transpose(1, 2)
        stack = self.block.stack(name, in_panels)
        stack[self.slot] = in_panels
        return Dense(stack, self.slot, bias)


def _panels(out: int) -> int:
    """Return into how many equal panels, neither wide nor narrow, a weight can be cut; else 1."""
    numbers = range(-(-out // PANEL), out // (PANEL // 4) + 1)
    return next((number for number in numbers if number and out % number == 0), 1)


class Blocks:
    """All blocks, by what the ages in them have in common."""

    def __init__(self) -> None:
        self._blocks: dict[Hashable, list[Block]] = {}

    def place(self, shape: Hashable) -> Place:
        """Return a free place among ages of one shape."""
        blocks = self._blocks.setdefault(shape, [])
        block = next((block for block in blocks if block.free), None)
        if block is None:
            block = Block(max((block.number + 1 for block in blocks), default=0))
            blocks.append(block)
        return Place(block)

    def leave(self, shape: Hashable, place: Place) -> None:
        """Take back a place whose matrices nobody uses any more."""
        place.block.free = sorted([*place.block.free, place.slot])
        if len(place.block.free) == SLOTS:
            self._blocks[shape].remove(place.block)


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
    # the last rows, in the first places
    return all(torch.equal(linear(x[-n:].clone()), whole[-n:]) for n in (1, 2, 3, 4, 5, 8, 13, 16, 31))
