"""The corpus as a trainer reads it: a tokenizer, and memory-mapped token files.

    home/corpora/tokens-KEY/
        tokenizer.json
        train.bin           token ids, document after document, each <|bos|> text <|end|>
        heldout.bin         the same for held-out documents, without <|end|>
        corpus.json         where each held-out document begins, its bytes; counts, sources, licences
        chat.jsonl          the training documents that are conversations, for the chat stage
        chat.bin            how many tokens each of them has

KEY is a hash of all that decides the content. The folder may be deleted: the same text makes the same files.
It is made in little memory however long the text is, and at one moment, by a rename; see `preparing`.
What a step reads is a pure function of the seed and the step, so the position in the text is the step number.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from selves.errors import CorpusError
from selves.files import new_folder, sha256_file
from selves.settings import House
from training import corpus, preparing, spool
from training import tokenizer as alphabet
from training.documents import Document
from training.preparing import Tell
from training.recipe import Recipe, Source

FORMAT = 2
"""Raised when the files' meaning changes, so that old ones are not read."""
Tokens = npt.NDArray[np.int64]


class Corpus(NamedTuple):
    """Prepared text, opened."""

    folder: Path
    tokenizer: Tokenizer
    train: npt.NDArray[Any]
    heldout: npt.NDArray[Any]
    card: dict[str, Any]

    @property
    def has_conversations(self) -> bool:
        return bool(self.card["conversations"])


def prepare(recipe: Recipe, house: House, tell: Tell) -> Corpus:
    """Return the recipe's corpus, from earlier or read now; `tell` gets a line before what takes long.

    Raises CorpusError where the text is missing, unreadable or too little.
    """
    prints = [corpus.fingerprint(source, house) for source in recipe.corpus]
    endless = any(source.hub or source.function for source in recipe.corpus)
    given = preparing.parents_tokenizer(recipe, house)
    tokens = sha256_file(given) if given else recipe.model.vocabulary
    key = _key([FORMAT, prints, tokens, preparing.wanted_bytes(recipe) if endless else None])
    folder = house.corpora / f"tokens-{key}"
    if not folder.exists():
        with preparing.only_writer(house.corpora, tell):
            if not folder.exists():  # another process may just have made it
                with new_folder(folder) as partial:
                    preparing.write(recipe, house, partial, tell)
    opened = open_corpus(folder)
    if len(opened.train) <= recipe.model.context:
        raise CorpusError(
            f"the text is too short: {len(opened.train)} tokens to learn from, but the model looks back on "
            f"{recipe.model.context}",
            "give it more text, or a smaller `context` in [model]",
        )
    return opened


def open_corpus(folder: Path) -> Corpus:
    """Open a prepared corpus. Raises CorpusError if it is damaged."""
    try:
        card = json.loads((folder / "corpus.json").read_text("utf-8"))
        dtype = np.dtype(card["dtype"])
        return Corpus(
            folder=folder,
            tokenizer=alphabet.load(folder / "tokenizer.json"),
            train=np.memmap(folder / "train.bin", dtype, "r"),
            heldout=np.memmap(folder / "heldout.bin", dtype, "r"),
            card=card,
        )
    except (OSError, ValueError, KeyError) as error:
        raise _damaged(folder, error) from error


def batch(tokens: npt.NDArray[Any], step: int, rows: int, context: int, seed: int) -> Tokens:
    """Return the (rows, context + 1) tokens of one training step.

    The text is cut into windows, and each epoch goes through them in an order of its own.
    """
    windows = (len(tokens) - 1) // context
    picked = np.empty((rows, context + 1), np.int64)
    for row in range(rows):
        epoch, number = divmod(step * rows + row, windows)
        start = int(order(seed, epoch, windows)[number]) * context
        picked[row] = tokens[start : start + context + 1]
    return picked


_orders: dict[tuple[int, int, int], npt.NDArray[Any]] = {}


def order(seed: int, epoch: int, count: int) -> npt.NDArray[Any]:
    """Return the order in which `count` things are gone through in an epoch."""
    key = (seed, epoch, count)
    if key not in _orders:
        if len(_orders) > 3:
            _orders.clear()
        _orders[key] = np.random.default_rng([seed, epoch]).permutation(count)
    return _orders[key]


def heldout_documents(held: Corpus, limit: int) -> Iterator[tuple[Tokens, int]]:
    """Yield (tokens, bytes) of held-out documents, in a fixed order, until `limit` tokens are had."""
    starts = [*held.card["heldout_starts"], len(held.heldout)]
    for start, end, size in zip(starts, starts[1:], held.card["heldout_bytes"], strict=False):
        if start >= limit:
            return
        yield np.asarray(held.heldout[start:end], np.int64), size


class Talks(NamedTuple):
    """Conversations to learn turns from."""

    documents: Sequence[Document]
    tokens: npt.NDArray[Any]
    """About how many tokens each has."""


class _Lines(Sequence[Document]):
    """The conversations in a file of JSON lines, read when they are asked for.

    In memory is where each begins.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            lengths = np.fromiter((len(line) for line in file), np.int64)
        self._starts = np.concatenate(([0], lengths.cumsum()))

    def __len__(self) -> int:
        return len(self._starts) - 1

    @overload
    def __getitem__(self, which: int) -> Document: ...
    @overload
    def __getitem__(self, which: slice) -> list[Document]: ...
    def __getitem__(self, which: int | slice) -> Document | list[Document]:
        if isinstance(which, slice):
            return [self[number] for number in range(*which.indices(len(self)))]
        number = range(len(self))[which]
        with self.path.open("rb") as file:
            file.seek(int(self._starts[number]))
            return spool.turns_of(file.readline())


def conversations(held: Corpus) -> Talks:
    """Return the training conversations of a corpus. Raises CorpusError if it is damaged."""
    try:
        talks = Talks(_Lines(held.folder / "chat.jsonl"), np.fromfile(held.folder / "chat.bin", np.uint32))
    except OSError as error:
        raise _damaged(held.folder, error) from error
    if not len(talks.documents) == len(talks.tokens) == held.card["conversations"]:
        raise _damaged(held.folder, "conversations are missing")
    return talks


def prepare_conversations(recipe: Recipe, house: House, held: Corpus) -> Talks:
    """Return conversations for the chat stage of a corpus that has none. Raises CorpusError."""
    found = corpus.read(Source(package=recipe.chat.package), house)
    talks = [document for document in found if document.turns and not document.held_out]
    characters_per_token = held.card["bytes"] / held.card["train_tokens"]
    return Talks(talks, np.array([spool.size(talk) / characters_per_token for talk in talks]))


def _damaged(folder: Path, error: Exception | str) -> CorpusError:
    return CorpusError(f"{folder} is damaged: {error}", "delete it; it is made again")


def _key(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
