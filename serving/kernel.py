"""The product of a few rows with the weights of many ages, compiled here because no library has it.

Libraries multiply many rows by one matrix, or give a row other bits in other company. Here each row has its
own age's weights, which are read once for all rows of that age, and every number of the result is summed in
the order of its inputs, whatever else is computed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

BLOCK = 512
"""Numbers of a result that are summed at a time, so that they and their weights stay in the nearest cache."""
TYPES = "void(float32[:,:,::1], int64[::1], float32[:,::1], float32[:,::1])"


def _multiply(
    stack: NDArray[np.float32], slots: NDArray[np.int64], x: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    """Write x[r] @ stack[slots[r]] to out[r] for every row r.

    `stack` (slots, in, out), `x` (rows, in), `out` (rows, out). Rows of one slot are best next to each other.
    """
    rows, width = x.shape
    size = stack.shape[2]
    first = 0
    while first < rows:
        end = first + 1
        while end < rows and slots[end] == slots[first]:
            end += 1
        weights = stack[slots[first]]
        for start in range(0, size, BLOCK):
            stop = min(start + BLOCK, size)
            number = stop - start
            out[first:end, start:stop] = 0
            at = 0
            while at + 8 <= width:
                w0, w1 = weights[at, start:stop], weights[at + 1, start:stop]
                w2, w3 = weights[at + 2, start:stop], weights[at + 3, start:stop]
                w4, w5 = weights[at + 4, start:stop], weights[at + 5, start:stop]
                w6, w7 = weights[at + 6, start:stop], weights[at + 7, start:stop]
                for row in range(first, end):
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
                last = weights[at, start:stop]
                for row in range(first, end):
                    own = out[row, start:stop]
                    x0 = x[row, at]
                    for n in range(number):
                        own[n] = own[n] + x0 * last[n]
                at += 1
        first = end


def _compiled(*, cache: bool) -> Any:
    # a product and a sum may become one instruction, the order of the sums may not change
    compiler = njit(TYPES, cache=cache, fastmath={"contract", "nsz"}, error_model="numpy", nogil=True)
    return compiler(_multiply)


def _kept_or_compiled() -> Any:
    try:
        return _compiled(cache=True)
    except RuntimeError:  # there is no folder in which what was compiled could be kept
        return _compiled(cache=False)


multiply = _kept_or_compiled()
