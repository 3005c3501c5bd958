"""The corpus as a trainer reads it: a tokenizer, and memory-mapped token files.

    home/corpora/tokens-KEY/
        tokenizer.json
        train.bin           token ids, document after document, each <|bos|> text <|end|>
        heldout.bin         the same for held-out documents, without <|end|>
        corpus.json         where each held-out document begins, its bytes; counts, sources, licences
        chat.jsonl          the training documents that are conversations, for the chat stage

KEY is a hash of all that decides the content. The folder may be deleted: the same text makes the same files.
What a step reads is a pure function of the seed and the step, so the position in the text is the step number.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from selves.errors import CorpusError
from selves.files import new_folder
from selves.settings import House
from training import corpus
from training import tokenizer as alphabet
from training.corpus import Document, Turn
from training.recipe import Recipe, Source

FORMAT = 1
"""Raised when the files' meaning changes, so that old ones are not read."""
SAMPLE_BYTES = 20_000_000
"""How much text the tokenizer is learned from."""

Tokens = npt.NDArray[np.int64]
Tell = Callable[[str], None]


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
    key = _key([FORMAT, prints, recipe.model.vocabulary, _wanted_bytes(recipe)])
    folder = house.corpora / f"tokens-{key}"
    if not folder.exists():
        with new_folder(folder) as partial:
            _write(recipe, house, partial, tell)
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
        raise CorpusError(f"{folder} is damaged: {error}", "delete it; it is made again") from error


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


def conversations(held: Corpus) -> list[Document]:
    """Return the training conversations of a corpus."""
    lines = (held.folder / "chat.jsonl").read_text("utf-8").splitlines()
    return [Document(turns=tuple(Turn(*turn) for turn in json.loads(line))) for line in lines]


def prepare_conversations(recipe: Recipe, house: House) -> list[Document]:
    """Return conversations for the chat stage of a corpus that has none. Raises CorpusError."""
    found = corpus.read(Source(package=recipe.chat.package), house)
    return [document for document in found if document.turns and not document.held_out]


def _wanted_bytes(recipe: Recipe) -> int:
    """How much of an endless source is read: a little more than training goes through."""
    return max(SAMPLE_BYTES, recipe.base.steps * recipe.base.batch_tokens * 6)


def _write(recipe: Recipe, house: House, folder: Path, tell: Tell) -> None:
    train, heldout = _split(recipe, house, tell)
    tell(f"learning {recipe.model.vocabulary} tokens from {_megabytes(train)} of text")
    tokenizer = alphabet.learn(_sample(train), recipe.model.vocabulary)
    tell("writing the text as tokens")
    (folder / "tokenizer.json").write_text(alphabet.as_file(tokenizer), "utf-8")
    bos, end = alphabet.token(tokenizer, alphabet.BOS), alphabet.token(tokenizer, alphabet.END)
    dtype = np.dtype(np.uint16 if tokenizer.get_vocab_size() <= 65536 else np.uint32)
    train_tokens = 0
    with (folder / "train.bin").open("wb") as file:
        for ids in _encode(tokenizer, train):
            file.write(np.array([bos, *ids, end], dtype).tobytes())
            train_tokens += len(ids) + 2
    starts, sizes, position = [], [], 0
    with (folder / "heldout.bin").open("wb") as file:
        for document, ids in zip(heldout, _encode(tokenizer, heldout), strict=True):
            file.write(np.array([bos, *ids], dtype).tobytes())
            starts.append(position)
            sizes.append(len(corpus.render(document).encode()))
            position += len(ids) + 1
    talks = [document.turns for document in train if document.turns]
    (folder / "chat.jsonl").write_text("".join(json.dumps(turns) + "\n" for turns in talks), "utf-8")
    card = {
        "sources": [source.model_dump(mode="json", exclude_defaults=True) for source in recipe.corpus],
        "licenses": [_license(source) for source in recipe.corpus],
        "dtype": dtype.name,
        "documents": len(train),
        "conversations": len(talks),
        "bytes": sum(len(corpus.render(document).encode()) for document in train),
        "train_tokens": train_tokens,
        "heldout_documents": len(heldout),
        "heldout_starts": starts,
        "heldout_bytes": sizes,
    }
    (folder / "corpus.json").write_text(json.dumps(card) + "\n", "utf-8")


def _split(recipe: Recipe, house: House, tell: Tell) -> tuple[list[Document], list[Document]]:
    """Read all sources; return the documents to learn from and those held out."""
    train: list[Document] = []
    heldout: list[Document] = []
    for source in recipe.corpus:
        tell(f"reading {source}")
        wanted, count = _wanted_bytes(recipe), 0
        for document in corpus.read(source, house):
            (heldout if document.held_out else train).append(document)
            count += 1
            if source.hub or source.function:
                wanted -= len(document.text) + sum(len(turn.text) for turn in document.turns)
                if wanted < 0:
                    break
        if not count:
            raise CorpusError(f"{source} has no text in it", "name another source")
    if len(train) + len(heldout) < 2:
        raise CorpusError(
            "the corpus is a single document, so there is nothing to hold out and measure by",
            "give it more text: at least two documents",
        )
    if not heldout:
        heldout.append(train.pop(min(range(len(train)), key=lambda n: train[n].digest)))
    if not train:
        train.append(heldout.pop())
    # Ordered by hash, so that the first part of it is a fair sample of all sources.
    heldout.sort(key=lambda document: document.digest)
    return train, heldout


def _sample(documents: list[Document]) -> Iterator[str]:
    stride = max(1, -(-_size(documents) // SAMPLE_BYTES))
    return (corpus.render(document) for document in islice(documents, 0, None, stride))


def _encode(tokenizer: Tokenizer, documents: Iterable[Document]) -> Iterator[list[int]]:
    rest = iter(documents)
    while some := list(islice(rest, 256)):
        texts = [corpus.render(document) for document in some]
        for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False):
            yield encoding.ids


def _size(documents: list[Document]) -> int:
    return sum(len(d.text) + sum(len(turn.text) + 8 for turn in d.turns) for d in documents)


def _megabytes(documents: list[Document]) -> str:
    return f"{_size(documents) / 1e6:.1f} MB"


def _license(source: Source) -> str:
    return corpus.LICENSES[source.package].license if source.package in corpus.LICENSES else ""


def _key(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
