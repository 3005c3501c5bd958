"""Packed rows hold the whole text, cut where documents begin, in an order that is a function of the step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from selves.settings import House
from training import packing, shards
from training import tokenizer as alphabet
from training.packing import Packed
from training.recipe import Recipe


@given(st.lists(st.integers(2, 60), min_size=1, max_size=40), st.integers(4, 20))
def test_every_step_from_one_token_to_the_next_in_a_document_is_learned_once(
    lengths: list[int], width: int
) -> None:
    ends = np.cumsum(lengths)
    starts = ends - lengths
    rows = packing.fit(starts, int(ends[-1]), width)
    learned = Counter(int(at) for start in rows.whole for at in range(start, start + width))
    for row in range(len(rows.first) - 1):
        pieces = rows.pieces[rows.first[row] : rows.first[row + 1]]
        assert 0 < sum(end - start for start, end in pieces) <= width + 1
        learned.update(int(at) for start, end in pieces for at in range(start, end - 1))
    assert learned == Counter(
        at for start, end in zip(starts, ends, strict=True) for at in range(start, end - 1)
    )


def test_little_room_is_left_in_packed_rows() -> None:
    lengths = np.random.default_rng(1).integers(2, 200, 5000)
    ends = np.cumsum(lengths)
    rows = packing.fit(ends - lengths, int(ends[-1]), 64)
    packed = int((rows.pieces[:, 1] - rows.pieces[:, 0]).sum())
    assert packed > 0.99 * 65 * (len(rows.first) - 1)


def test_a_step_reads_whole_rows_of_the_text(raised: House, make_recipe: Callable[..., Recipe]) -> None:
    corpus = shards.prepare(make_recipe(), raised, lambda _: None)
    packed, bos = Packed(corpus), alphabet.token(corpus.tokenizer, alphabet.BOS)
    assert len(packed.starts) == corpus.card["documents"]
    steps = len(packed.rows(32)) // 4
    read = [packed.batch(step, 4, 32, 1) for step in range(steps)]
    assert np.array_equal(read[3], Packed(corpus).batch(3, 4, 32, 1))
    assert not np.array_equal(read[3], packed.batch(3, 4, 32, 2))
    begun = np.concatenate(read)
    assert (begun[:, 0] == bos).mean() > 0.4
    text, end = corpus.train.tobytes(), corpus.train.dtype.type(packed.end)
    for row in begun.astype(corpus.train.dtype):
        for piece in np.split(row, np.flatnonzero(row == end) + 1):
            assert len(piece) <= 1 or piece.tobytes() in text
