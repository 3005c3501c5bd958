"""Text becomes token files, in little memory and at one moment.

All documents go into one temporary file, the tokenizer is learned from a fair sample of them, then they are
encoded from the file; so a text may be larger than memory. The files are described in `shards`.
"""

from __future__ import annotations

import fcntl
import json
import os
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from selves.errors import CorpusError
from selves.files import disk_error, sweep_partial
from selves.lineage import find_age
from selves.settings import House
from training import corpus
from training import tokenizer as alphabet
from training.documents import SYSTEM, Document, render
from training.recipe import Recipe, Source
from training.spool import Spool

SAMPLE_BYTES = 20_000_000
"""How much text the tokenizer is learned from."""
TELL_EVERY_BYTES = 50_000_000
"""How often a long preparation says how far it is."""
ENCODED_AT_ONCE = 256
"""Documents."""

Tell = Callable[[str], None]


def wanted_bytes(recipe: Recipe) -> int:
    """How much of an endless source is read: a little more than training goes through."""
    return max(SAMPLE_BYTES, recipe.base.steps * recipe.base.batch_tokens * 6)


@contextmanager
def only_writer(folder: Path, tell: Tell) -> Iterator[None]:
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


def parents_tokenizer(recipe: Recipe, house: House) -> Path | None:
    """Return what a branch reads by, its parent's tokens; None if it learns its own. Raises AgeError."""
    return find_age(house.checkpoints, recipe.parent).folder / "tokenizer.json" if recipe.parent else None


def write(recipe: Recipe, house: House, folder: Path, tell: Tell) -> None:
    """Write a corpus' files into an empty folder. Raises CorpusError, UsageError, OSError."""
    named = [corpus.pinned(source) for source in recipe.corpus]
    documents = Spool(folder / "documents.jsonl")
    _read(recipe, named, house, documents, tell)
    documents.split()
    megabytes = documents.characters / 1e6
    if given := parents_tokenizer(recipe, house):
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
            wanted, count, told = wanted_bytes(recipe), 0, file.tell()
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


def _license(source: Source) -> str:
    return corpus.LICENSES[source.package].license if source.package in corpus.LICENSES else ""
