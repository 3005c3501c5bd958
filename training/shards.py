"""The corpus as a trainer reads it: a tokenizer, and memory-mapped token files.

    home/corpora/tokens-KEY/
        tokenizer.json
        train.bin           token ids, document after document, each <|bos|> text <|end|>
        heldout.bin         the same for held-out documents, without <|end|>
        corpus.json         where each held-out document begins, its bytes; counts, sources, licences
        chat.jsonl          the training documents that are conversations, for the chat stage
        chat.bin            how many tokens each of them has

KEY is a hash of all that decides the content. The folder may be deleted: the same text makes the same files.
It is made in little memory however long the text is, and at one moment, by a rename; see `spool`.
What a step reads is a pure function of the seed and the step, so the position in the text is the step number.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from selves.errors import CorpusError
from selves.files import disk_error, new_folder, sha256_file, sweep_partial
from selves.lineage import find_age
from selves.settings import House
from training import corpus, spool
from training import tokenizer as alphabet
from training.documents import SYSTEM, Document, render
from training.recipe import Recipe, Source
from training.spool import Spool

FORMAT = 2
"""Raised when the files' meaning changes, so that old ones are not read."""
SAMPLE_BYTES = 20_000_000
"""How much text the tokenizer is learned from."""
TELL_EVERY_BYTES = 50_000_000
"""How often a long preparation says how far it is."""
ENCODED_AT_ONCE = 256
"""Documents."""

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
    endless = any(source.hub or source.function for source in recipe.corpus)
    given = _parents_tokenizer(recipe, house)
    tokens = sha256_file(given) if given else recipe.model.vocabulary
    key = _key([FORMAT, prints, tokens, _wanted_bytes(recipe) if endless else None])
    folder = house.corpora / f"tokens-{key}"
    if not folder.exists():
        with _only_writer(house.corpora, tell):
            if not folder.exists():  # another process may just have made it
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


def _wanted_bytes(recipe: Recipe) -> int:
    """How much of an endless source is read: a little more than training goes through."""
    return max(SAMPLE_BYTES, recipe.base.steps * recipe.base.batch_tokens * 6)


@contextmanager
def _only_writer(folder: Path, tell: Tell) -> Iterator[None]:
    """Wait until no other process prepares text here; sweep what a killed one left. Raises DiskError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise disk_error(error, folder) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell("waiting for another process that prepares text")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        sweep_partial(folder)
        yield
    finally:
        os.close(descriptor)  # and with it the lock


def _parents_tokenizer(recipe: Recipe, house: House) -> Path | None:
    """Return what a branch reads by, its parent's tokens; None if it learns its own. Raises AgeError."""
    return find_age(house.checkpoints, recipe.parent).folder / "tokenizer.json" if recipe.parent else None


def _write(recipe: Recipe, house: House, folder: Path, tell: Tell) -> None:
    named = [corpus.pinned(source) for source in recipe.corpus]
    documents = Spool(folder / "documents.jsonl")
    _read(recipe, named, house, documents, tell)
    documents.split()
    megabytes = documents.characters / 1e6
    if given := _parents_tokenizer(recipe, house):
        tokenizer = alphabet.load(given)
    else:
        tell(f"learning {recipe.model.vocabulary} tokens from {megabytes:.1f} MB of text")
        sample = documents.sample(SAMPLE_BYTES)
        tokenizer = alphabet.learn(map(render, sample), recipe.model.vocabulary)
    (folder / "tokenizer.json").write_text(alphabet.as_file(tokenizer), "utf-8")
    tell("writing the text as tokens")
    bos, end = alphabet.token(tokenizer, alphabet.BOS), alphabet.token(tokenizer, alphabet.END)
    dtype = np.dtype(np.uint16 if tokenizer.get_vocab_size() <= 65536 else np.uint32)
    train_tokens = train_bytes = told = 0
    talk_tokens = array("I")
    with (folder / "train.bin").open("wb") as file, (folder / "chat.jsonl").open("w") as talks:
        for document, text_bytes, ids in _encode(tokenizer, documents.train()):
            file.write(np.array([bos, *ids, end], dtype).tobytes())
            train_tokens += len(ids) + 2
            train_bytes += text_bytes
            if any(turn.speaker != SYSTEM for turn in document.turns):
                talks.write(json.dumps(document.turns) + "\n")
                talk_tokens.append(len(ids))
            if train_bytes - told >= TELL_EVERY_BYTES:
                tell(f"{train_bytes / 1e6:.0f} of about {megabytes:.0f} MB are tokens")
                told = train_bytes
    (folder / "chat.bin").write_bytes(np.array(talk_tokens, np.uint32).tobytes())
    starts, sizes, position = [], [], 0
    with (folder / "heldout.bin").open("wb") as file:
        for _, text_bytes, ids in _encode(tokenizer, documents.heldout()):
            file.write(np.array([bos, *ids], dtype).tobytes())
            starts.append(position)
            sizes.append(text_bytes)
            position += len(ids) + 1
    card = {
        "sources": [source.model_dump(mode="json", exclude_defaults=True) for source in named],
        "licenses": [_license(source) for source in recipe.corpus],
        "dtype": dtype.name,
        "documents": documents.train_documents,
        "conversations": len(talk_tokens),
        "bytes": train_bytes,
        "train_tokens": train_tokens,
        "heldout_documents": len(starts),
        "heldout_starts": starts,
        "heldout_bytes": sizes,
    }
    (folder / "corpus.json").write_text(json.dumps(card) + "\n", "utf-8")
    documents.path.unlink()


def _read(recipe: Recipe, named: list[Source], house: House, documents: Spool, tell: Tell) -> None:
    """Write down the documents of all sources. Raises CorpusError where one has none."""
    with documents.path.open("wb") as file:
        for source in named:
            tell(f"reading {source}")
            wanted, count, told = _wanted_bytes(recipe), 0, file.tell()
            for document in corpus.read(source, house):
                documents.add(document, file)
                count += 1
                if file.tell() - told >= TELL_EVERY_BYTES:
                    told = file.tell()
                    tell(f"{told / 1e6:.0f} MB are read")
                if source.hub or source.function:
                    wanted -= len(document.text) + sum(len(turn.text) for turn in document.turns)
                    if wanted < 0:
                        break
            if not count:
                raise CorpusError(f"{source} has no text in it", "name another source")


def _encode(tokenizer: Tokenizer, documents: Iterable[Document]) -> Iterator[tuple[Document, int, list[int]]]:
    """Yield each document, its bytes and its token ids; many at once, so that all cores have work."""
    rest = iter(documents)
    while some := list(islice(rest, ENCODED_AT_ONCE)):
        texts = [render(document) for document in some]
        encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        for document, text, encoding in zip(some, texts, encodings, strict=True):
            yield document, len(text.encode()), encoding.ids


def _damaged(folder: Path, error: Exception | str) -> CorpusError:
    return CorpusError(f"{folder} is damaged: {error}", "delete it; it is made again")


def _license(source: Source) -> str:
    return corpus.LICENSES[source.package].license if source.package in corpus.LICENSES else ""


def _key(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
