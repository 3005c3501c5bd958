"""The files of an export: JSON lines or parquet, one per split, and beside them what each row was made of."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from memory import dce, formats
from memory.rendering import Rendered
from memory.wanted import Wanted
from selves.errors import UsageError
from selves.files import sha256_file

PROVENANCE = "provenance.jsonl"
ROWS = 1000
"""In a row group."""


class DataFiles:
    """The files in a folder, while they are written."""

    def __init__(self, folder: Path, wanted: Wanted, created_at: datetime) -> None:
        self._folder = folder
        self._wanted = wanted
        self._created_at = created_at
        self._open = ExitStack()
        self._data: dict[str, _Lines | _Table] = {}

    def __enter__(self) -> DataFiles:
        (self._folder / ("scenes" if self._wanted.format == "dce" else "data")).mkdir()
        self._provenance = self._open.enter_context((self._folder / PROVENANCE).open("wb"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def write(self, row: Rendered) -> None:
        """Add a row to its file."""
        self._provenance.write(formats.to_line(row.provenance))
        if isinstance(row.content, dce.Written):
            path = self._folder / "scenes" / row.content.file_name
            path.write_bytes(dce.to_dce(row.content, self._created_at))
            return
        if row.split not in self._data:
            self._data[row.split] = self._begin(row.split)
        self._data[row.split].write(row.content)

    def _begin(self, split: str) -> _Lines | _Table:
        if self._wanted.parquet:
            table = _Table(self._folder / "data" / f"{split}.parquet", self._wanted.format)
            self._open.callback(table.close)
            return table
        return _Lines(self._open.enter_context((self._folder / "data" / f"{split}.jsonl").open("wb")))


def hashes(folder: Path) -> dict[str, str]:
    """Return the sha256 of every file in a folder, by its name from there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in files}


class _Lines:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, row: formats.Row) -> None:
        self._file.write(formats.to_line(row))


class _Table:
    """A parquet file; its rows are written a group at a time."""

    def __init__(self, path: Path, format_: formats.Format) -> None:
        pyarrow, parquet = load_pyarrow()
        said = pyarrow.list_(pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.string())]))
        text = pyarrow.string()
        columns: dict[str, list[tuple[str, Any]]] = {
            "dpo": [("prompt", said), ("chosen", said), ("rejected", said)],
            "kto": [("prompt", said), ("completion", said), ("label", pyarrow.bool_())],
            "sft": [("prompt", said), ("completion", said)],
            "grpo-prompts": [("prompt", said)],
            "transcript": [
                *((name, text) for name in ("scene", "kind", "premise", "started_at")),
                ("turns", pyarrow.list_(pyarrow.list_(text))),
            ],
        }
        self._pyarrow, self._schema = pyarrow, pyarrow.schema(columns[format_])
        self._writer = parquet.ParquetWriter(path, self._schema)
        self._rows: list[formats.Row] = []

    def write(self, row: formats.Row) -> None:
        self._rows.append(formats.readable_row(row))
        if len(self._rows) == ROWS:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(self._pyarrow.Table.from_pylist(self._rows, schema=self._schema))
            self._rows = []


def load_pyarrow() -> tuple[Any, Any]:
    """Return pyarrow and its parquet module. Raises UsageError when it is not installed."""
    try:
        import pyarrow  # type: ignore[import-untyped]
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise UsageError(
            "parquet needs the package pyarrow", 'pip install "selves[train]", or leave --parquet out'
        ) from error
    return pyarrow, parquet
