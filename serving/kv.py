"""What a sequence has been told so far, as keys and values; and the beginnings that sequences share.

A prompt is read in chunks of CHUNK tokens that begin at multiples of CHUNK. Whole chunks are remembered by
what they and all before them said, so the next line of a conversation, or a second sample of the same prompt,
does not read the beginning again. What is taken from here is bit for bit what reading it would have made.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

CHUNK = 64
"""Tokens."""


class KV:
    """Keys and values of one sequence: a tensor (layers, 2, kv_heads, room, head_dim) that grows."""

    def __init__(self, layers: int, kv_heads: int, head_dim: int, dtype: torch.dtype) -> None:
        self._sizes = (layers, 2, kv_heads, head_dim)
        self._dtype = dtype
        self.length = 0
        self.room = 0
        self.layers: tuple[Tensor, ...] = ()
        """For each layer (2, kv_heads, room, head_dim)."""
        self._all = torch.empty(0)

    @property
    def address(self) -> int:
        """Where the first layer's begin in memory."""
        return self._all.data_ptr()

    @property
    def nbytes(self) -> int:
        return self._all.numel() * self._all.element_size()

    def grown_bytes(self, tokens: int) -> int:
        """Return how many more bytes room for `tokens` would take."""
        layers, two, heads, dim = self._sizes
        return layers * two * heads * dim * max(0, _rounded(tokens) - self.room) * self._dtype.itemsize

    def grow(self, tokens: int) -> None:
        """Make room for `tokens` in all."""
        if tokens <= self.room:
            return
        layers, two, heads, dim = self._sizes
        room = _rounded(tokens)
        grown = torch.empty(layers, two, heads, room, dim, dtype=self._dtype)
        if self.length:
            grown[:, :, :, : self.length] = self._all[:, :, :, : self.length]
        self._all, self.room, self.layers = grown, room, grown.unbind(0)

    def chunk(self, start: int) -> Tensor:
        """Return a copy of the chunk that begins at token `start`."""
        return self._all[:, :, :, start : start + CHUNK].clone()

    def begin_with(self, chunks: Sequence[Tensor]) -> None:
        """Go on from remembered chunks; nothing was read before."""
        self.grow(len(chunks) * CHUNK)
        for number, chunk in enumerate(chunks):
            self._all[:, :, :, number * CHUNK : (number + 1) * CHUNK] = chunk
        self.length = len(chunks) * CHUNK


def _rounded(tokens: int) -> int:
    return -(-tokens // CHUNK) * CHUNK


class Beginnings:
    """Chunks that were read before, the least recently used forgotten first.

    `limit_bytes` bounds what they take.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.nbytes = 0
        self.hits = 0
        """Tokens that did not have to be read."""
        self._chunks: OrderedDict[tuple[Hashable, tuple[int, ...]], Tensor] = OrderedDict()

    def recall(self, age: Hashable, ids: Sequence[int], kv: KV) -> None:
        """Fill an empty `kv` with the longest beginning of `ids` that is remembered and is not all of it."""
        found: list[Tensor] = []
        while (end := (len(found) + 1) * CHUNK) < len(ids):
            key = age, tuple(ids[:end])
            if key not in self._chunks:
                break
            self._chunks.move_to_end(key)
            found.append(self._chunks[key])
        if found:
            kv.begin_with(found)
            self.hits += kv.length

    def remember(self, age: Hashable, ids: Sequence[int], kv: KV) -> None:
        """Remember the chunk of `ids` that `kv` has just been given whole."""
        key = age, tuple(ids[: kv.length])
        if key in self._chunks:
            return
        chunk = kv.chunk(kv.length - CHUNK)
        size = chunk.numel() * chunk.element_size()
        if size <= self.limit_bytes:
            self.shrink(self.limit_bytes - size)
            self._chunks[key] = chunk
            self.nbytes += size

    def shrink(self, limit_bytes: int) -> None:
        """Forget until no more than this is taken."""
        while self._chunks and self.nbytes > limit_bytes:
            _, chunk = self._chunks.popitem(last=False)
            self.nbytes -= chunk.numel() * chunk.element_size()
