"""What post-training writes into a lineage's metrics.jsonl, and takes back when it goes on from before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from selves.files import disk_error, write_file
from selves.lineage import METRICS_FILE


def write(folder: Path, line: dict[str, Any]) -> None:
    """Add a line. Raises DiskError."""
    path = folder / METRICS_FILE
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    except OSError as error:
        raise disk_error(error, path) from error


def drop_after(folder: Path, stage: str, step: int) -> None:
    """Drop the lines of a stage after a step: they are made again. Raises DiskError."""
    path = folder / METRICS_FILE
    before = path.read_text("utf-8").splitlines() if path.exists() else []
    kept = []
    for line in before:
        try:
            logged = json.loads(line)
        except json.JSONDecodeError:  # cut off in the middle by a kill
            continue
        if logged["stage"] != stage or logged["step"] <= step:
            kept.append(line)
    if kept != before:
        write_file(path, "".join(f"{line}\n" for line in kept))
