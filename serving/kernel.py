"""The inner loops of a decoding step for many ages, compiled here because no library has them.

Libraries multiply many rows by one matrix, or give a row other bits in other company. Here each row has its
own age's weights, which are read once for all rows of that age, and every number of the result is summed in
the order of its inputs, whatever else is computed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, njit, types  # type: ignore[attr-defined]
from numba.extending import intrinsic
from numpy.typing import NDArray

LINE = 64
"""Bytes that a processor reads at a time."""
PANEL = 512
"""The widest panel of weights, in numbers."""
MULTIPLY = "void(int64[::1], int64, float32[:,::1], float32[:,::1])"
MULTIPLY_INT8 = "void(int64[::1], int64[::1], int64, float32[:,::1], float32[:,::1])"
_THREE = "float32[:,:,::1]"
ATTEND = f"void(int64[::1], int64[::1], int64[::1], {_THREE}, {_THREE}, {_THREE}, {_THREE})"


def _pointer_to(kind: Any) -> Any:
    """Return what makes an address a pointer, to the memory of an array that numba was not given."""

    def to_pointer(_typing: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return types.CPointer(kind)(address), generate  # type: ignore[no-untyped-call]

    return intrinsic(to_pointer)


def _to_prefetch(_typing: Any, address: Any) -> Any:
    """What numba makes of `_prefetch(address)`: the line of memory there is brought near, if it is there."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        number = ir.IntType(32)
        pointer = builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, number, number, number])
        call = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], kind)
        to_read, soon, data = number(0), number(3), number(1)
        builder.call(call, [pointer, to_read, soon, data])
        return context.get_dummy_value()

    return types.void(address), generate


_prefetch: Any = intrinsic(_to_prefetch)
_pointer: Any = _pointer_to(types.float32)
_pointer_int8: Any = _pointer_to(types.int8)


def _multiply(
    addresses: NDArray[np.int64], panels: int, x: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    """Write x[r] @ W[r] to out[r] for every row r, where W[r] lies at addresses[r].

    W (panels, in, out / panels), `x` (rows, in), `out` (rows, out). Rows with one W are best next to each
    other. A panel is as wide as can be summed at a time in the nearest cache, and lies in one piece, so that
    memory is read from its beginning to its end.
    """
    rows, width = x.shape
    number = out.shape[1] // panels
    block = 8 * number * 4
    first = 0
    while first < rows:
        end = first + 1
        while end < rows and addresses[end] == addresses[first]:
            end += 1
        whole = carray(_pointer(addresses[first]), (panels, width, number), np.float32)
        # while one block is multiplied by many rows the next is brought near, each row's share with the row
        share = block // (end - first) // LINE * LINE + LINE if end - first > 1 else 0
        for panel in range(panels):
            weights = whole[panel]
            start, stop = panel * number, (panel + 1) * number
            out[first:end, start:stop] = 0
            at = 0
            while at + 8 <= width:
                w0, w1, w2, w3 = weights[at], weights[at + 1], weights[at + 2], weights[at + 3]
                w4, w5, w6, w7 = weights[at + 4], weights[at + 5], weights[at + 6], weights[at + 7]
                coming = addresses[first] + (panel * width + at) * number * 4 + block
                for row in range(first, end):
                    for line in range(coming, coming + share, LINE):
                        _prefetch(line)
                    coming += share
                    own = out[row, start:stop]
                    x0, x1, x2, x3 = x[row, at], x[row, at + 1], x[row, at + 2], x[row, at + 3]
                    x4, x5, x6, x7 = x[row, at + 4], x[row, at + 5], x[row, at + 6], x[row, at + 7]
                    for n in range(number):
                        own[n] = (
                            own[n]
                            + x0 * w0[n]
                            + x1 * w1[n]
                            + x2 * w2[n]
                            + x3 * w3[n]
                            + x4 * w4[n]
                            + x5 * w5[n]
                            + x6 * w6[n]
                            + x7 * w7[n]
                        )
                at += 8
            while at < width:
                last = weights[at]
                for row in range(first, end):
                    own = out[row, start:stop]
                    x0 = x[row, at]
                    for n in range(number):
                        own[n] = own[n] + x0 * last[n]
                at += 1
        first = end


def _multiply_int8(
    addresses: NDArray[np.int64],
    scales: NDArray[np.int64],
    panels: int,
    x: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """The same for weights in int8, with a scale (out,) in float32 at scales[r].

    Whole numbers of int8 are the same in float32, so everything is summed as there, and scaled at the end.
    """
    rows, width = x.shape
    number = out.shape[1] // panels
    opened = np.empty((8, number), np.float32)
    first = 0
    while first < rows:
        end = first + 1
        while end < rows and addresses[end] == addresses[first]:
            end += 1
        whole = carray(_pointer_int8(addresses[first]), (panels, width, number), np.int8)
        scale = carray(_pointer(scales[first]), (panels, number), np.float32)
        share = 8 * number // (end - first) // LINE * LINE + LINE
        for panel in range(panels):
            weights = whole[panel]
            start, stop = panel * number, (panel + 1) * number
            out[first:end, start:stop] = 0
            at = 0
            while at + 8 <= width:
                coming = addresses[first] + (panel * width + at + 8) * number
                if end - first == 1:  # read once, so what is opened need not be kept
                    v0, v1, v2, v3 = weights[at], weights[at + 1], weights[at + 2], weights[at + 3]
                    v4, v5, v6, v7 = weights[at + 4], weights[at + 5], weights[at + 6], weights[at + 7]
                    for line in range(coming, coming + share, LINE):
                        _prefetch(line)
                    own = out[first, start:stop]
                    x0, x1, x2, x3 = x[first, at], x[first, at + 1], x[first, at + 2], x[first, at + 3]
                    x4, x5, x6, x7 = x[first, at + 4], x[first, at + 5], x[first, at + 6], x[first, at + 7]
                    for n in range(number):
                        own[n] = (
                            own[n]
                            + x0 * np.float32(v0[n])
                            + x1 * np.float32(v1[n])
                            + x2 * np.float32(v2[n])
                            + x3 * np.float32(v3[n])
                            + x4 * np.float32(v4[n])
                            + x5 * np.float32(v5[n])
                            + x6 * np.float32(v6[n])
                            + x7 * np.float32(v7[n])
                        )
                else:
                    for i in range(8):
                        for n in range(number):
                            opened[i, n] = np.float32(weights[at + i, n])
                    w0, w1, w2, w3 = opened[0], opened[1], opened[2], opened[3]
                    w4, w5, w6, w7 = opened[4], opened[5], opened[6], opened[7]
                    for row in range(first, end):
                        for line in range(coming, coming + share, LINE):
                            _prefetch(line)
                        coming += share
                        own = out[row, start:stop]
                        x0, x1, x2, x3 = x[row, at], x[row, at + 1], x[row, at + 2], x[row, at + 3]
                        x4, x5, x6, x7 = x[row, at + 4], x[row, at + 5], x[row, at + 6], x[row, at + 7]
                        for n in range(number):
                            own[n] = (
                                own[n]
                                + x0 * w0[n]
                                + x1 * w1[n]
                                + x2 * w2[n]
                                + x3 * w3[n]
                                + x4 * w4[n]
                                + x5 * w5[n]
                                + x6 * w6[n]
                                + x7 * w7[n]
                            )
                at += 8
            while at < width:
                for row in range(first, end):
                    own = out[row, start:stop]
                    x0 = x[row, at]
                    for n in range(number):
                        own[n] = own[n] + x0 * np.float32(weights[at, n])
                at += 1
            for row in range(first, end):
                own = out[row, start:stop]
                for n in range(number):
                    own[n] = own[n] * scale[panel, n]
        first = end


def _attend(
    addresses: NDArray[np.int64],
    rooms: NDArray[np.int64],
    lengths: NDArray[np.int64],
    q: NDArray[np.float32],
    k: NDArray[np.float32],
    v: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Write what each sequence's next token attends to, after adding its key and value to the sequence.

    For each of n sequences: where its keys and values of this layer are (2, kv_heads, room, dim), and how
    many tokens it has. `q` and `out` (n, heads, dim), `k` and `v` (n, kv_heads, dim).
    """
    heads, dim = q.shape[1], q.shape[2]
    kv_heads = k.shape[1]
    scale = np.float32(1 / np.sqrt(dim))
    for n in range(len(lengths)):
        held = carray(_pointer(addresses[n]), (2, kv_heads, rooms[n], dim), np.float32)
        end = lengths[n] + 1
        held[0, :, end - 1] = k[n]
        held[1, :, end - 1] = v[n]
        weights = np.empty(end, np.float32)
        for head in range(heads):
            query = q[n, head]
            keys = held[0, head * kv_heads // heads]
            values = held[1, head * kv_heads // heads]
            most = np.float32(-np.inf)
            for at in range(end):
                key = keys[at]
                score = np.float32(0)
                for d in range(dim):
                    score += query[d] * key[d]
                weights[at] = score * scale
                most = max(most, weights[at])
            total = np.float32(0)
            for at in range(end):
                weights[at] = np.exp(weights[at] - most)
                total += weights[at]
            own = out[n, head]
            own[:] = 0
            for at in range(end):
                share = weights[at] / total
                value = values[at]
                for d in range(dim):
                    own[d] += share * value[d]


def _compiled(function: Any, signature: str, fastmath: Any) -> Any:
    for cache in (True, False):
        try:
            return njit(signature, cache=cache, fastmath=fastmath, error_model="numpy", nogil=True)(function)
        except RuntimeError:  # there is no folder in which what was compiled could be kept
            if not cache:
                raise
    raise AssertionError


# a product and a sum may become one instruction; the order of the sums may not change
multiply = _compiled(_multiply, MULTIPLY, {"contract", "nsz"})
multiply_int8 = _compiled(_multiply_int8, MULTIPLY_INT8, {"contract", "nsz"})
# the same loops for every sequence: any order of sums will do
attend = _compiled(_attend, ATTEND, {"contract", "nsz", "reassoc", "arcp"})
