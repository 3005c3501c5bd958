"""A folder of a person's own texts: .txt, .md, .jsonl and .parquet, with everything below it.

Files are read piece by piece, so their size does not matter; .gz after the name of a text means gzip.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NoReturn

from selves.errors import CorpusError
from selves.settings import House
from training.documents import Document, from_row, passages

TEXTS = (".txt", ".md")
SUFFIXES = (*TEXTS, ".jsonl", ".parquet")
ROWS = 256
"""Rows of a parquet file that are in memory at once."""


def files(folder: Path, house: House) -> list[Path]:
    """Return the texts in a folder, but not what the house itself keeps, should its home lie there.

    Raises CorpusError if there are none, or a folder cannot be looked into.
    """
    if not folder.is_dir():
        raise CorpusError(f"{folder} is not a folder", f"name a folder with {', '.join(SUFFIXES)} files")
    found = [
        Path(root, name)
        for root, _, names in os.walk(folder, onerror=_cannot_look)
        for name in names
        if _kind(Path(name)) and house.home not in Path(root, name).absolute().parents
    ]
    texts = sorted(path for path in found if path.is_file())
    if not texts:
        raise CorpusError(f"{folder} has no text in it", f"put {', '.join(SUFFIXES)} files there")
    return texts


def read(folder: Path, field: str, house: House) -> Iterator[Document]:
    """Yield the documents in a folder, file by file in order of path. Raises CorpusError naming the file.

    A text is cut into passages; a row of .jsonl or .parquet is one document, in the column `field`.
    """
    for path in files(folder, house):
        try:
            match _kind(path):
                case ".jsonl":
                    yield from _rows(path, field)
                case ".parquet":
                    yield from _table(path, field)
                case _:
                    with _opened(path) as file:
                        yield from passages(file)
        except UnicodeDecodeError as error:
            raise CorpusError(
                f"{path} is not UTF-8: byte {_bad_byte(path)} cannot be read",
                f"convert it, for example: iconv -f latin1 -t utf8 {path}",
            ) from error
        except (OSError, EOFError, zlib.error) as error:
            raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> CorpusError:
    if isinstance(error, FileNotFoundError):
        return CorpusError(
            f"{path} does not exist", "check its path; without / in front it begins where you are"
        )
    why = getattr(error, "strerror", None) or error
    return CorpusError(f"{path} cannot be read: {why}", "repair the file or take it away")


def _kind(path: Path) -> str:
    """Return what a file's name says it is; "" if it is no text."""
    suffix = path.suffix.lower()
    if suffix == ".gz":
        inner = path.with_suffix("").suffix.lower()
        return inner if inner in (*TEXTS, ".jsonl") else ""
    return suffix if suffix in SUFFIXES else ""


def _opened(path: Path) -> IO[str]:
    """Open a text with every line end as a newline."""
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig")
    return path.open(encoding="utf-8-sig")


def _rows(path: Path, field: str) -> Iterator[Document]:
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    row = json.loads(line)
                except json.JSONDecodeError as error:
                    raise CorpusError(
                        f"{path}:{number}: not JSON: {error}", "each line is one JSON object"
                    ) from error
                yield from_row(row, field, f"{path}:{number}")


def _table(path: Path, field: str) -> Iterator[Document]:
    import pyarrow  # type: ignore[import-untyped]
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as table:
            names = table.schema_arrow.names
            wanted = [name for name in ("messages", "turns", field) if name in names]
            if not wanted:
                raise CorpusError(
                    f"{path}: no field {field!r} in {', '.join(names)}", "set `field` of the source"
                )
            number = 0
            for batch in table.iter_batches(ROWS, columns=wanted):
                for row in batch.to_pylist():
                    number += 1
                    yield from_row(row, field, f"{path} row {number}")
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise CorpusError(f"{path} is no whole parquet file: {error}", "fetch or write it again") from error


def _cannot_look(error: OSError) -> NoReturn:
    raise CorpusError(
        f"{error.filename} cannot be read: {error.strerror}", "allow it, or name another folder"
    ) from error


def _bad_byte(path: Path) -> int:
    """Return where the first byte is that is not UTF-8; no character goes over the end of a line."""
    with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
        position = 0
        for line in file:
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return position + error.start
            position += len(line)
    return position
