"""The forward pass of the common small decoders, for many sequences and many ages of one shape at once.

Ages of one lineage have one shape, so everything but the matrix products runs as one batch over all of them;
each product has its age's own weights. A decoding step of eight ages costs what reading their weights costs;
what a framework adds is paid once.

What a sequence says is bit for bit the same in any company. Its prompt is read alone, in chunks that depend
on the prompt only; its attention is computed alone; everything else works row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from serving import kernel
from serving.kv import CHUNK, KV
from serving.linear import Linear, make_linear, together
from serving.shape import ACTIVATIONS, Shape

ONE_THREAD = 32768
"""torch gives fewer numbers than these to one thread."""
WHOLE = 32
"""Rows of so many numbers, or a multiple, end where torch's vectors end."""


class Norm(NamedTuple):
    """Weight and bias (hidden,) of a normalization."""

    weight: Tensor
    bias: Tensor | None


class Layer(NamedTuple):
    """One layer of one age, or of many beside one another."""

    attention_norm: Norm
    qkv: Linear
    q_norm: Norm | None
    k_norm: Norm | None
    out: Linear
    mlp_norm: Norm
    up: Linear
    down: Linear


class Model(NamedTuple):
    """One age's weights, ready to run."""

    embed: Tensor
    positions: Tensor | None
    layers: tuple[Layer, ...]
    norm: Norm
    head: Linear


def make_model(
    shape: Shape, read: Mapping[str, Tensor], kept: Mapping[str, Tensor], *, int8: bool = False
) -> Model:
    """Return a model from a checkpoint's tensors.

    Everything is copied from `read`, whose mapping may go then; but an embedding that is the head too is used
    where it lies, in `kept`, the same tensors mapped once more: of that one only the rows that are said are
    ever in memory. With `int8` all matrices but the embedding are rounded. Raises KeyError with the name of a
    tensor that is not there.
    """
    names = shape.names

    def make(*parts: str) -> Linear:
        weights = [read[f"{name}.weight"] for name in parts]
        weights = [weight.t() for weight in weights] if names.turned else weights
        biases = [read[f"{name}.bias"] for name in parts if f"{name}.bias" in read]
        bias = torch.cat(biases) if biases else None
        return make_linear(weights[0] if len(weights) == 1 else torch.cat(weights), bias, int8=int8)

    def norm(name: str) -> Norm:
        bias = read.get(f"{name}.bias")
        return Norm(read[f"{name}.weight"].clone(), None if bias is None else bias.clone())

    def layer(number: int) -> Layer:
        at = names.layer.format(number)
        return Layer(
            norm(at + names.attention_norm),
            make(*(at + name for name in names.qkv)),
            norm(at + names.q_norm) if names.q_norm else None,
            norm(at + names.k_norm) if names.k_norm else None,
            make(at + names.out),
            norm(at + names.mlp_norm),
            make(*(at + name for name in names.up)),
            make(at + names.down),
        )

    return Model(
        kept[names.embed] if shape.tied else read[names.embed].clone(),
        read[names.positions].clone() if names.positions else None,
        tuple(layer(number) for number in range(shape.layers)),
        norm(names.norm),
        make_linear(read[names.embed if shape.tied else f"{names.head}.weight"], None, int8=int8),
    )


class Company:
    """Which sequences decode together: (model, number of sequences) for each age, one row for each.

    Norms are gathered once for each company, so keep it while nobody comes or goes. `reading`: all rows are
    of one sequence, however many they are.
    """

    def __init__(self, members: Sequence[tuple[Model, int]], *, reading: bool = False) -> None:
        self.models = [model for model, _ in members]
        self.sizes = [number for _, number in members]
        self._reading = reading
        self.layers = tuple(map(self._gather, zip(*(model.layers for model in self.models), strict=True)))
        self.norm = self._norms([model.norm for model in self.models])
        self.head = self._together([model.head for model in self.models])

    def _together(self, linears: Sequence[Linear]) -> Linear:
        return linears[0] if self._reading else together(linears, self.sizes)

    def look_up(self, tables: Iterable[Tensor], ids: Tensor) -> Tensor:
        """Return the rows of each model's own table that `ids` (rows,) name."""
        if len(self.sizes) == 1:
            return F.embedding(ids, next(iter(tables)))
        parts = zip(tables, ids.split(self.sizes), strict=True)
        return torch.cat([F.embedding(part, table) for table, part in parts])

    def _gather(self, layers: Sequence[Layer]) -> Layer:
        return Layer(
            self._norms([one.attention_norm for one in layers]),
            self._together([one.qkv for one in layers]),
            self._norms([one.q_norm for one in layers], per_head=True) if layers[0].q_norm else None,
            self._norms([one.k_norm for one in layers], per_head=True) if layers[0].k_norm else None,
            self._together([one.out for one in layers]),
            self._norms([one.mlp_norm for one in layers]),
            self._together([one.up for one in layers]),
            self._together([one.down for one in layers]),
        )

    def _norms(self, norms: Sequence[Norm | None], *, per_head: bool = False) -> Norm:
        """Return weights and biases (rows, hidden), or (hidden,) when they are one model's."""
        present = [norm for norm in norms if norm is not None]
        if all(norm.weight is present[0].weight for norm in present):
            return present[0]
        sizes = torch.tensor(self.sizes)
        weight = torch.stack([norm.weight for norm in present]).repeat_interleave(sizes, 0)
        biases = [norm.bias for norm in present if norm.bias is not None]
        bias = torch.stack(biases).repeat_interleave(sizes, 0) if biases else None
        if per_head:
            return Norm(weight[:, None], None if bias is None else bias[:, None])
        return Norm(weight, bias)


Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""(layer, q (n, heads, dim), k and v (n, kv_heads, dim)) -> (n, heads * dim)."""


class Decoder:
    """The forward pass for one shape."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self._act = ACTIVATIONS[shape.activation]
        self._frequencies = torch.tensor(shape.frequencies)
        self._cos = self._sin = torch.empty(0, len(shape.frequencies), dtype=shape.dtype)

    def new_kv(self) -> KV:
        return KV(self.shape.layers, self.shape.kv_heads, self.shape.head_dim, self.shape.dtype)

    def read(self, alone: Company, ids: Sequence[int], kv: KV) -> Tensor:
        """Read the next tokens of one sequence into its `kv`; returns their last hidden states (n, hidden).

        `alone` is a company whose only member is the sequence's model.
        """
        start, end = kv.length, kv.length + len(ids)
        kv.grow(end)
        shape, groups = self.shape, self.shape.heads // self.shape.kv_heads
        # each query sees what is before it and itself; a group's queries are laid one after another
        sees = torch.ones(len(ids), end, dtype=torch.bool).tril(start).repeat(groups, 1)

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            held = kv.layers[layer]
            held[0, :, start:end] = k.transpose(0, 1)
            held[1, :, start:end] = v.transpose(0, 1)
            grouped = q.view(len(ids), shape.kv_heads, groups, shape.head_dim).permute(1, 2, 0, 3)
            out = F.scaled_dot_product_attention(
                grouped.reshape(1, shape.kv_heads, -1, shape.head_dim),
                held[None, 0, :, :end],
                held[None, 1, :, :end],
                attn_mask=sees,
            )
            return out.view(shape.kv_heads, groups, len(ids), shape.head_dim).permute(2, 0, 1, 3).flatten(1)

        x = self._forward(alone, torch.tensor(ids), torch.arange(start, end), attend)
        kv.length = end
        return x

    def logits(self, company: Company, hidden: Tensor) -> Tensor:
        """Return the logits (rows, V) in float32 of hidden states (rows, hidden)."""
        return company.head(hidden).float()

    def step(self, company: Company, tokens: Sequence[int], kvs: Sequence[KV]) -> Tensor:
        """Add one token to each sequence of a company; returns their logits (sequences, V) in float32."""
        lengths = [kv.length for kv in kvs]
        for kv in kvs:
            kv.grow(kv.length + 1)
        attend = self._attend_fast(kvs, lengths) if self.shape.dtype is torch.float32 else self._attend(kvs)
        ids, at = torch.tensor(tokens), torch.tensor(lengths)
        logits = self.logits(company, self._forward(company, ids, at, attend))
        for kv in kvs:  # only now: a step that fails can be taken again
            kv.length += 1
        return logits

    def _attend_fast(self, kvs: Sequence[KV], lengths: Sequence[int]) -> Attend:
        """Return the attention of one new token for each sequence, in float32."""
        layer_bytes = [kv.nbytes // self.shape.layers for kv in kvs]
        starts, steps = np.array([kv.address for kv in kvs]), np.array(layer_bytes)
        rooms, long = np.array([kv.room for kv in kvs]), np.array(lengths)

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            out = torch.empty_like(q)
            arrays = [x.contiguous().numpy() for x in (q, k, v)]
            kernel.attend(starts + layer * steps, rooms, long, *arrays, out.numpy())
            return out.flatten(1)

        return attend

    def _attend(self, kvs: Sequence[KV]) -> Attend:
        """The same in any type of number."""
        shape = self.shape
        groups = shape.heads // shape.kv_heads

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            out = q.new_empty(q.shape[0], shape.heads * shape.head_dim)
            queries = q.view(-1, 1, shape.kv_heads, groups, shape.head_dim)
            new = torch.stack((k, v), 1)
            for row, kv in enumerate(kvs):
                held, end = kv.layers[layer], kv.length + 1
                held[:, :, kv.length] = new[row]
                out[row] = F.scaled_dot_product_attention(
                    queries[row], held[None, 0, :, :end], held[None, 1, :, :end]
                ).view(-1)
            return out

        return attend

    def _forward(self, company: Company, ids: Tensor, at: Tensor, attend: Attend) -> Tensor:
        """Return normalized hidden states (rows, hidden) for token ids (rows,) at positions `at` (rows,)."""
        shape = self.shape
        x = company.look_up((model.embed for model in company.models), ids)
        if shape.names.positions:
            x = x + company.look_up((m.positions for m in company.models if m.positions is not None), at)
        cos, sin = self._turns(at)
        for number, layer in enumerate(company.layers):
            h = self._normed(x, layer.attention_norm)
            q, k, v = self._split(layer.qkv(h))
            if layer.q_norm is not None and layer.k_norm is not None:
                q, k = self._normed(q, layer.q_norm), self._normed(k, layer.k_norm)
            if shape.frequencies:
                q, k = _rotate(q, cos, sin), _rotate(k, cos, sin)
            attended = layer.out(attend(number, q, k, v))
            if shape.parallel:
                x = self._mlp(layer, x) + attended + x
            else:
                x = attended + x
                x = self._mlp(layer, x) + x
        return self._normed(x, company.norm)

    def _mlp(self, layer: Layer, x: Tensor) -> Tensor:
        up = layer.up(self._normed(x, layer.mlp_norm))
        if len(self.shape.names.up) == 2:
            gate, up = up.chunk(2, -1)
            up = self._activated(gate) * up
        else:
            up = self._activated(up)
        return layer.down(up)

    def _activated(self, x: Tensor) -> Tensor:
        """Return the activation of x (rows, inner), each row with the same bits in any company.

        torch computes the numbers at the end of what a thread has to do in another way than those before, so
        every piece is small enough for one thread, and each row in it whole.
        """
        rows = max(1, (ONE_THREAD - 1) // x.shape[1]) if x.shape[1] % WHOLE == 0 else 1
        if len(x) <= rows:
            return self._act(x)
        return torch.cat([self._act(part) for part in x.contiguous().split(rows)])

    def _turns(self, at: Tensor) -> tuple[Tensor, Tensor]:
        """Return cos and sin (rows, 1, half) of the rotary embedding at positions `at` (rows,)."""
        while len(self._cos) <= int(at.max()):
            # always as many at a time: the bits of a position depend on nothing else
            angles = torch.arange(len(self._cos), len(self._cos) + CHUNK)[:, None] * self._frequencies
            scale = self.shape.rotary_scale
            self._cos = torch.cat([self._cos, (angles.cos() * scale).to(self.shape.dtype)])
            self._sin = torch.cat([self._sin, (angles.sin() * scale).to(self.shape.dtype)])
        return self._cos[at][:, None], self._sin[at][:, None]

    def _normed(self, x: Tensor, norm: Norm) -> Tensor:
        size = x.shape[-1:]
        if self.shape.norm == "rms":
            return F.rms_norm(x, size, eps=self.shape.eps) * norm.weight
        normed = F.layer_norm(x, size, eps=self.shape.eps) * norm.weight
        return normed if norm.bias is None else normed + norm.bias

    def _split(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return q (rows, heads, dim), k and v (rows, kv_heads, dim) from what their projection gave."""
        shape, rows = self.shape, qkv.shape[0]
        if shape.family == "gpt_neox":  # each head has its three side by side
            q, k, v = qkv.view(rows, -1, 3, shape.head_dim).unbind(2)
        else:
            heads = qkv.view(rows, -1, shape.head_dim)
            q, k, v = heads.split([shape.heads, shape.kv_heads, shape.kv_heads], 1)
        return q.contiguous(), k, v


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the first numbers of each head (rows, heads, dim), in halves as transformers does."""
    half = cos.shape[-1]
    a, b = x[..., :half], x[..., half : 2 * half]
    return torch.cat((a * cos - b * sin, b * cos + a * sin, x[..., 2 * half :]), -1)
