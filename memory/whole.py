"""Files that only their owner may read, and that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selves.files import PARTIAL_PREFIX, disk_error

SIDES = ("-journal", "-wal", "-shm")
"""What SQLite keeps beside a database."""


@contextmanager
def private_file(target: Path) -> Iterator[Path]:
    """Yield an empty file beside `target`, which takes its place when the block ends well.

    What a killed process left there of the same file is removed. Raises DiskError when the disk refuses; what
    was at `target` is then untouched.
    """
    partial = target.with_name(f"{PARTIAL_PREFIX}{os.getpid()}-{target.name}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        partial.unlink(missing_ok=True)
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL, 0o600))
        yield partial
        _sync(partial)
        partial.replace(target)
        _sync(target.parent)
    except OSError as error:
        raise disk_error(error, target) from error
    finally:
        for side in ("", *SIDES):
            partial.with_name(partial.name + side).unlink(missing_ok=True)


def _sweep(target: Path) -> None:
    """Remove what processes left that live no more (where /proc says which do)."""
    if not Path("/proc/self").exists():
        return
    for left in target.parent.glob(f"{PARTIAL_PREFIX}*"):
        owner, _, name = left.name.removeprefix(PARTIAL_PREFIX).partition("-")
        whole = name in (target.name, *(target.name + side for side in SIDES))
        if whole and owner.isdecimal() and not Path("/proc", owner).exists():
            left.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
