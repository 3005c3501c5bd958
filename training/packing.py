"""Rows that respect documents: another way to cut the text into rows than straight through it.

A document is cut from its <|bos|> on, so that most rows are of one document, as held-out text is read. What
is left over at documents' ends, and whole short documents, are put together by best fit (the longest first,
each into the row that it fills best), so that no token is left out and few places stay empty. The index is
computed once per width; what a step reads is a pure function of the seed and the step.

Measured on the demo's text (200 steps, two seeds), cutting straight through teaches as much: long documents
cross few rows. So this is a choice, for texts of many short documents, and not the habit.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from training import shards
from training import tokenizer as alphabet
from training.shards import Corpus, Tokens

LOOKED_AT = 1 << 26
"""Tokens that are looked through at once for documents' beginnings."""


class Rows(NamedTuple):
    """Where the rows of one width are in the text."""

    whole: npt.NDArray[np.int64]
    """Beginnings of rows that lie in one document."""
    pieces: npt.NDArray[np.int64]
    """(pieces, 2): beginning and end of each piece of the other rows, row after row."""
    first: npt.NDArray[np.int64]
    """Where each of those rows begins in `pieces`; one more at the end."""

    def __len__(self) -> int:
        return len(self.whole) + len(self.first) - 1


class Packed:
    """A corpus in rows that respect documents."""

    def __init__(self, corpus: Corpus) -> None:
        self.tokens = corpus.train
        self.end = alphabet.token(corpus.tokenizer, alphabet.END)
        self.starts = document_starts(self.tokens, alphabet.token(corpus.tokenizer, alphabet.BOS))
        self._rows: dict[int, Rows] = {}

    def rows(self, width: int) -> Rows:
        if width not in self._rows:
            self._rows[width] = fit(self.starts, len(self.tokens), width)
        return self._rows[width]

    def batch(self, step: int, rows: int, width: int, seed: int) -> Tokens:
        """Return the (rows, width + 1) tokens of one step; what stays empty at a row's end is <|end|>."""
        index = self.rows(width)
        picked = np.full((rows, width + 1), self.end, np.int64)
        for row in range(rows):
            epoch, number = divmod(step * rows + row, len(index))
            at = int(shards.order(seed, epoch, len(index))[number]) - len(index.whole)
            if at < 0:
                start = index.whole[at]
                picked[row] = self.tokens[start : start + width + 1]
                continue
            position = 0
            for start, end in index.pieces[index.first[at] : index.first[at + 1]]:
                picked[row, position : position + end - start] = self.tokens[start:end]
                position += end - start
        return picked


def document_starts(tokens: npt.NDArray[Any], bos: int) -> npt.NDArray[np.int64]:
    """Return where documents begin: text never holds the token <|bos|>."""
    parts = [
        np.flatnonzero(tokens[at : at + LOOKED_AT] == bos) + at for at in range(0, len(tokens), LOOKED_AT)
    ]
    return np.concatenate(parts).astype(np.int64)


def fit(starts: npt.NDArray[np.int64], size: int, width: int) -> Rows:
    """Cut documents that begin at `starts`, the last one ending at `size`, into rows of width + 1 tokens.

    Rows of one document share a token: the last of one, a target, is the first of the next.
    """
    ends = np.append(starts[1:], size)
    counts = (ends - starts - 1) // width
    before = np.repeat(np.cumsum(counts) - counts, counts)
    whole = np.repeat(starts, counts) + width * (np.arange(counts.sum()) - before)
    rest = starts + counts * width
    left = np.flatnonzero(ends - rest > 1)
    rest, ends = rest[left], ends[left]
    rows: list[list[int]] = []
    open_rows: dict[int, list[int]] = {}
    rooms: list[int] = []  # how much room open rows have, in order
    for piece in np.argsort(rest - ends, kind="stable").tolist():
        length = int(ends[piece] - rest[piece])
        at = bisect_left(rooms, length)
        if at < len(rooms):
            room = rooms[at]
            row = open_rows[room].pop()
            if not open_rows[room]:
                del open_rows[room], rooms[at]
        else:
            room, row = width + 1, len(rows)
            rows.append([])
        rows[row].append(piece)
        room -= length
        if room > 1:
            if room not in open_rows:
                insort(rooms, room)
            open_rows.setdefault(room, []).append(row)
    order = np.array([piece for row in rows for piece in row], np.int64)
    first = np.cumsum([0, *map(len, rows)])
    return Rows(whole, np.stack((rest[order], ends[order]), 1), first)
