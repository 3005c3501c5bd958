"""Where rows come from: files, exports of memory, the Hub, functions; learned, held out, and described.

What was read is described by `sources`, which stands in the card of every age: names, sha256 and counts.
An export that a person's forgetting has made invalid can so be found in the ages that learned from it.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from selves.errors import CorpusError, SelvesError
from selves.files import sha256_file
from training.documents import import_named
from training.folders import unreadable
from training.post.recipe import Data, PostRecipe
from training.post.rows import (
    Message,
    Row,
    decontaminated,
    fingerprint,
    hold_out,
    learned_of,
    read_rows,
    said,
    text_of,
    together,
    without_doubles,
)

EXPORTED = "data"
"""The folder with rows in an export of memory's."""
WORDS = (".txt", ".md", ".json", ".jsonl", ".csv", ".parquet")
"""Endings of files that functions read in a folder which their options name."""
SAMPLE = 300
"""Characters of a row that stand in a card."""


class Learned(NamedTuple):
    """What tells whether a row can be measured with: the prompts that are learned, and what is learned
    together (see `together`).
    """

    prompts: frozenset[str]
    together: frozenset[str]

    def is_new(self, row: Row) -> bool:
        asked = self.prompts if row.get("group") is None else self.together
        return together(row) not in self.together and said(row["prompt"]) not in asked


class Prepared(NamedTuple):
    """All rows of a run."""

    train: list[Row]
    test: list[Row]
    sources: tuple[dict[str, Any], ...]
    doubles: int
    """How many were left out since they were there already."""
    contaminated: int
    """How many were left out since they held a question of a probe."""
    learned: Learned

    @property
    def sha256(self) -> str:
        return fingerprint(self.train)


Say = Callable[[Sequence[Message]], str]
"""From messages to an answer."""


def prepare(recipe: PostRecipe, asked: Iterable[str] = (), say: Say | None = None) -> Prepared:
    """Read all sources; `asked` are the probes' questions, `say` lets the base answer functions that ask it.

    Raises CorpusError, UsageError.
    """
    train: list[Row] = []
    test: list[Row] = []
    sources = []
    keys: set[str] = set()
    asked, contaminated = tuple(asked), 0
    for source in recipe.data:
        rows = list(_rows(recipe, source, "train", say))
        held = list(_rows(recipe, source, "test", say))
        if not held:
            rows, held = hold_out(rows, recipe.held_out, recipe.seed)
        clean = decontaminated(rows, asked)
        contaminated += len(rows) - len(clean)
        keys |= {together(row) for row in clean}
        train += [learned_of(recipe.method, row) for row in clean]
        test += held
        counts = {"rows": len(clean), "held_out": len(held)}
        if len(rows) > len(clean):
            counts["with_probes"] = len(rows) - len(clean)
        sample = [text_of(row).replace("\n", " / ")[:SAMPLE] for row in clean[: source.show]]
        sources.append(_described(source) | counts | ({"sample": sample} if sample else {}))
    once = without_doubles(train)
    learned = Learned(frozenset(said(row["prompt"]) for row in once), frozenset(keys))
    clean_test = [row for row in without_doubles(test) if learned.is_new(row)]
    if not once:
        raise CorpusError(
            f"there is nothing to learn in {', '.join(map(str, recipe.data))}: "
            + ("all of it is held out, or stands in the probes" if test or contaminated else "it is empty"),
            "put rows there, or lower `held_out`",
        )
    return Prepared(once, clean_test, tuple(sources), len(train) - len(once), contaminated, learned)


def _rows(recipe: PostRecipe, source: Data, part: str, say: Say | None) -> Iterator[Row]:
    for count, (where, raw) in enumerate(_raw(source, part, recipe.seed, say)):
        if source.limit and count >= source.limit and part == "train":
            return
        yield from read_rows(recipe.method, raw, where)


def _raw(source: Data, part: str, seed: int, say: Say | None) -> Iterator[tuple[str, Any]]:
    if source.folder:
        for kind in (".jsonl", ".parquet"):
            path = Path(source.folder) / EXPORTED / f"{part}{kind}"
            if path.is_file():
                yield from _file(path)
                return
        if part == "train":
            raise CorpusError(
                f"{source.folder} has no {EXPORTED}/train.jsonl",
                f"`selves memory export {source.folder} --format dpo` (or kto, sft, grpo-prompts) writes one",
            )
    elif source.function:
        yield from _function(source, part, seed, say)
    elif part == "test":
        return
    elif source.file:
        yield from _file(Path(source.file))
    else:
        yield from _hub(source)


def _file(path: Path) -> Iterator[tuple[str, Any]]:
    if path.suffix == ".parquet":
        from pyarrow import ArrowException, parquet  # type: ignore[import-untyped]

        try:
            for number, row in enumerate(parquet.read_table(path).to_pylist(), 1):
                yield f"{path} row {number}", row
        except OSError as error:
            raise unreadable(path, error) from error
        except ArrowException as error:
            raise CorpusError(f"{path} cannot be read: {error}", "fetch or write it again") from error
        return
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield f"{path}:{number}", _json(line, f"{path}:{number}")
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(path, error) from error


def _json(line: str, where: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise CorpusError(f"{where}: not JSON: {error}", "each line is one JSON object") from error


def _function(source: Data, part: str, seed: int, say: Say | None) -> Iterator[tuple[str, Any]]:
    """Yield what a function yields; only one that takes `held_out` says itself which rows these are."""
    name = source.function
    function = import_named(name)
    takes = inspect.signature(function).parameters
    if part == "test" and "held_out" not in takes:
        return
    told = {"held_out": part == "test", "seed": seed, "say": say}
    given = {key: value for key, value in told.items() if key in takes}
    number = 0
    try:
        for number, row in enumerate(function(**given, **source.options), 1):
            yield f"{name} row {number}", row
    except SelvesError:
        raise
    except Exception as error:  # whatever a person's own function does
        raise CorpusError(f"{name} failed after {number} rows: {error!r}", "correct it") from error


def _hub(source: Data) -> Iterator[tuple[str, Any]]:
    from datasets import load_dataset  # type: ignore[import-untyped]

    try:
        loaded: Any = load_dataset(
            source.hub, source.subset or None, split=source.split, revision=source.revision or None
        )
        for number, row in enumerate(loaded, 1):
            yield f"{source.hub} row {number}", dict(row)
    except CorpusError:
        raise
    except Exception as error:  # networks and data sets fail in many ways
        line = (str(error).splitlines() or [repr(error)])[0]
        raise CorpusError(
            f"{source.hub} cannot be read: {line}", "is its name right, and the Hub in reach?"
        ) from error


def _described(source: Data) -> dict[str, Any]:
    said = source.model_dump(exclude_defaults=True, exclude={"show"})
    if source.file:
        said["sha256"] = sha256_file(Path(source.file))
    if source.folder:
        said["files"] = {
            f"{EXPORTED}/{path.name}": sha256_file(path)
            for path in sorted((Path(source.folder) / EXPORTED).iterdir())
        }
    if source.paths:
        read = (path for named in source.paths for path in (_below(named) if named.is_dir() else [named]))
        said["read"] = {str(path): sha256_file(path) for path in read}
    return said


def _below(folder: Path) -> list[Path]:
    """Return the files of a folder that hold words or rows."""
    return sorted(path for path in folder.rglob("*") if path.suffix in WORDS and path.is_file())
