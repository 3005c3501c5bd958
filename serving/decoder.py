"""The forward pass of the common small decoders, for many sequences and many ages of one shape at once.

Ages of one lineage have one shape, so everything but the matrix products runs as one batch over all of them,
and each product reads its age's weights where they lie, mapped from the file. A decoding step of eight ages
costs what reading their weights costs; what a framework adds is paid once.

What a sequence says is bit for bit the same in any company. Its prompt is read alone, in chunks that depend
on the prompt only; its attention is computed alone; norms and activations work row by row; and matrix
products get only numbers of rows for which this machine's library gives each row the same bits, which
`safe_rows` tries out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from serving.kv import KV
from serving.shape import ACTIVATIONS, Shape

Linear = Callable[[Tensor], Tensor]
TRIED_ROWS = 32


class Norm(NamedTuple):
    """Weight and bias (hidden,) of a normalization."""

    weight: Tensor
    bias: Tensor | None


class Layer(NamedTuple):
    """One layer of one age."""

    attention_norm: Norm
    qkv: tuple[Linear, ...]
    q_norm: Norm | None
    k_norm: Norm | None
    out: Linear
    mlp_norm: Norm
    up: tuple[Linear, ...]
    down: Linear


class Model(NamedTuple):
    """One age's weights, ready to run."""

    embed: Tensor
    positions: Tensor | None
    layers: tuple[Layer, ...]
    norm: Norm
    head: Linear


class Dense:
    """x W^T + b, for a weight (out, in) and a bias (out,)."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.weight = weight
        self._turned = weight.t()
        self._bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        if self._bias is None:
            return torch.mm(x, self._turned)
        return torch.addmm(self._bias, x, self._turned)


def make_model(
    shape: Shape, tensors: Mapping[str, Tensor], linear: Callable[[Tensor, Tensor | None], Linear] = Dense
) -> Model:
    """Return a model over a checkpoint's tensors; `linear` makes what multiplies by a weight (out, in).

    Raises KeyError with the name of a tensor that is not there.
    """
    names = shape.names

    def bias(name: str) -> Tensor | None:
        return tensors.get(f"{name}.bias")

    def make(name: str) -> Linear:
        weight = tensors[f"{name}.weight"]
        return linear(weight.t() if names.turned else weight, bias(name))

    def norm(name: str) -> Norm:
        return Norm(tensors[f"{name}.weight"], bias(name))

    def layer(number: int) -> Layer:
        at = names.layer.format(number)
        return Layer(
            norm(at + names.attention_norm),
            tuple(make(at + name) for name in names.qkv),
            norm(at + names.q_norm) if names.q_norm else None,
            norm(at + names.k_norm) if names.k_norm else None,
            make(at + names.out),
            norm(at + names.mlp_norm),
            tuple(make(at + name) for name in names.up),
            make(at + names.down),
        )

    embed = tensors[names.embed]
    return Model(
        embed,
        tensors[names.positions] if names.positions else None,
        tuple(layer(number) for number in range(shape.layers)),
        norm(names.norm),
        linear(embed, None) if shape.tied else linear(tensors[f"{names.head}.weight"], None),
    )


class Company:
    """Which sequences decode together: (model, number of sequences) for each age, and their rows.

    Every age's rows are padded to a multiple of `rows`, or to pieces of exactly `rows` where only that is
    safe. Norms are gathered once for each company, so keep it while nobody comes or goes.
    """

    def __init__(self, members: Sequence[tuple[Model, int]], rows: int, *, exactly: bool = False) -> None:
        self.models: list[Model] = []
        self.sizes: list[int] = []
        self.places: list[int] = []
        """The row of each sequence, in the order of `members`."""
        start = 0
        for model, number in members:
            padded = -(-number // rows) * rows
            self.places += range(start, start + number)
            start += padded
            pieces = [rows] * (padded // rows) if exactly else [padded]
            self.models += [model] * len(pieces)
            self.sizes += pieces
        self.rows = start
        self.layers = tuple(self._gather([m.layers[i] for m in self.models]) for i in range(self._depth))
        self.norm = self._norms([m.norm for m in self.models])

    @property
    def _depth(self) -> int:
        return len(self.models[0].layers)

    def each(self, linears: Iterable[Linear], x: Tensor) -> Tensor:
        """Return x (rows, in) through each model's own linear map."""
        if len(self.sizes) == 1:
            return next(iter(linears))(x)
        return torch.cat([linear(part) for linear, part in zip(linears, x.split(self.sizes), strict=True)])

    def look_up(self, tables: Iterable[Tensor], ids: Tensor) -> Tensor:
        """Return the rows of each model's own table that `ids` (rows,) name."""
        if len(self.sizes) == 1:
            return F.embedding(ids, next(iter(tables)))
        parts = zip(tables, ids.split(self.sizes), strict=True)
        return torch.cat([F.embedding(part, table) for table, part in parts])

    def _gather(self, layers: Sequence[Layer]) -> _Gathered:
        return _Gathered(
            self._norms([one.attention_norm for one in layers]),
            tuple(tuple(one.qkv[i] for one in layers) for i in range(len(layers[0].qkv))),
            self._norms([one.q_norm for one in layers], per_head=True) if layers[0].q_norm else None,
            self._norms([one.k_norm for one in layers], per_head=True) if layers[0].k_norm else None,
            tuple(one.out for one in layers),
            self._norms([one.mlp_norm for one in layers]),
            tuple(tuple(one.up[i] for one in layers) for i in range(len(layers[0].up))),
            tuple(one.down for one in layers),
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


class _Gathered(NamedTuple):
    """One layer of all models of a company."""

    attention_norm: Norm
    qkv: tuple[tuple[Linear, ...], ...]
    q_norm: Norm | None
    k_norm: Norm | None
    out: tuple[Linear, ...]
    mlp_norm: Norm
    up: tuple[tuple[Linear, ...], ...]
    down: tuple[Linear, ...]


Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""(layer, q (n, heads, dim), k and v (n, kv_heads, dim)) -> (n, heads * dim)."""


class Decoder:
    """The forward pass for one shape."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self._act = ACTIVATIONS[shape.activation]
        self._frequencies = torch.tensor(shape.frequencies)

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
        return company.each((model.head for model in company.models), hidden).float()

    def step(self, company: Company, tokens: Sequence[int], kvs: Sequence[KV]) -> Tensor:
        """Add one token to each sequence of a company; returns their logits (sequences, V) in float32."""
        shape, places = self.shape, company.places
        groups = shape.heads // shape.kv_heads
        ids, at = torch.zeros(company.rows, dtype=torch.long), torch.zeros(company.rows, dtype=torch.long)
        index = torch.tensor(places)
        ids[index], at[index] = torch.tensor(tokens), torch.tensor([kv.length for kv in kvs])
        for kv in kvs:
            kv.grow(kv.length + 1)

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            out = q.new_zeros(q.shape[0], shape.heads * shape.head_dim)
            queries = q.view(-1, 1, shape.kv_heads, groups, shape.head_dim)
            new = torch.stack((k, v), 1)
            for row, kv in zip(places, kvs, strict=True):
                held, end = kv.layers[layer], kv.length + 1
                held[:, :, kv.length] = new[row]
                out[row] = F.scaled_dot_product_attention(
                    queries[row], held[None, 0, :, :end], held[None, 1, :, :end]
                ).view(-1)
            return out

        logits = self.logits(company, self._forward(company, ids, at, attend))[index]
        for kv in kvs:  # only now: a step that fails can be taken again
            kv.length += 1
        return logits

    def _forward(self, company: Company, ids: Tensor, at: Tensor, attend: Attend) -> Tensor:
        """Return normalized hidden states (rows, hidden) for token ids (rows,) at positions `at` (rows,)."""
        shape = self.shape
        x = company.look_up((model.embed for model in company.models), ids)
        if shape.names.positions:
            x = x + company.look_up((m.positions for m in company.models if m.positions is not None), at)
        angles = at[:, None, None].float() * self._frequencies
        cos = (angles.cos() * shape.rotary_scale).to(x.dtype)
        sin = (angles.sin() * shape.rotary_scale).to(x.dtype)
        for number, layer in enumerate(company.layers):
            h = self._normed(x, layer.attention_norm)
            q, k, v = self._split([company.each(linears, h) for linears in layer.qkv])
            if layer.q_norm is not None and layer.k_norm is not None:
                q, k = self._normed(q, layer.q_norm), self._normed(k, layer.k_norm)
            if shape.frequencies:
                q, k = _rotate(q, cos, sin), _rotate(k, cos, sin)
            attended = company.each(layer.out, attend(number, q, k, v))
            if shape.parallel:
                x = self._mlp(company, layer, x) + attended + x
            else:
                x = attended + x
                x = self._mlp(company, layer, x) + x
        return self._normed(x, company.norm)

    def _mlp(self, company: Company, layer: _Gathered, x: Tensor) -> Tensor:
        h = self._normed(x, layer.mlp_norm)
        up = self._act(company.each(layer.up[0], h))
        if len(layer.up) == 2:
            up = up * company.each(layer.up[1], h)
        return company.each(layer.down, up)

    def _normed(self, x: Tensor, norm: Norm) -> Tensor:
        size = x.shape[-1:]
        if self.shape.norm == "rms":
            return F.rms_norm(x, size, eps=self.shape.eps) * norm.weight
        normed = F.layer_norm(x, size, eps=self.shape.eps) * norm.weight
        return normed if norm.bias is None else normed + norm.bias

    def _split(self, parts: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return q (rows, heads, dim), k and v (rows, kv_heads, dim) from what the projections gave."""
        dim = self.shape.head_dim
        if len(parts) == 3:
            q, k, v = (part.view(part.shape[0], -1, dim) for part in parts)
            return q, k, v
        rows = parts[0].shape[0]
        if self.shape.family == "gpt_neox":  # each head has its three side by side
            q, k, v = parts[0].view(rows, -1, 3, dim).unbind(2)
        else:
            q, k, v = parts[0].view(rows, 3, -1, dim).unbind(1)
        return q.contiguous(), k, v


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the first numbers of each head (rows, heads, dim), in halves as transformers does."""
    half = cos.shape[-1]
    a, b = x[..., :half], x[..., half : 2 * half]
    return torch.cat((a * cos - b * sin, b * cos + a * sin, x[..., 2 * half :]), -1)


def safe_rows(model: Model, shape: Shape) -> tuple[int, bool]:
    """Return how many rows a matrix product may have so that no row's bits depend on the others.

    (n, False): any multiple of n; (n, True): exactly n. Found by trying each kind of product of this model
    with numbers of rows up to TRIED_ROWS, against the same rows in another place and company.
    """
    for rows in (1, 2, 4, 8, 16):
        if all(_agree(linear, width, dtype, rows) for linear, width, dtype in _kinds(model, shape)):
            return rows, False
    return 8, True


def _kinds(model: Model, shape: Shape) -> list[tuple[Linear, int, torch.dtype]]:
    first = model.layers[0]
    inner = first.up[0](torch.zeros(1, shape.hidden, dtype=shape.dtype)).shape[1]
    read = (*first.qkv, *first.up, model.head)
    return [
        *((linear, shape.hidden, shape.dtype) for linear in read),
        (first.out, shape.heads * shape.head_dim, shape.dtype),
        (first.down, inner, shape.dtype),
    ]


def _agree(linear: Linear, width: int, dtype: torch.dtype, rows: int) -> bool:
    x = torch.randn(TRIED_ROWS, width, generator=torch.Generator().manual_seed(1)).to(dtype)
    whole = linear(x)
    for number in range(rows, TRIED_ROWS, rows):
        # the last rows, in the first places
        if not torch.equal(linear(x[-number:].clone()), whole[-number:]):
            return False
    return True
