"""Writing files so that a crash at any moment leaves the old one or the new one, never half of one."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from selves.errors import DiskError

PARTIAL_PREFIX = ".partial-"
"""Folders and files that begin like this are unfinished and may be deleted by whoever owns the parent."""


def sha256_file(path: Path) -> str:
    """Return the lowercase hex sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_text(text: str) -> str:
    """Return the lowercase hex sha256 of a text in UTF-8 (lone surrogates kept as they are)."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def disk_error(error: OSError, path: Path) -> DiskError:
    """Turn an OSError met while writing `path` into one that says what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskError(
            f"the disk is full: {path} could not be written; what was there before is untouched",
            "free some space (`selves ages list` shows what each age takes) and run the same command again",
        )
    return DiskError(
        f"{path} could not be written: {error.strerror or error}", "check the folder's permissions"
    )


def write_file(path: Path, data: bytes | str) -> None:
    """Write a file whole or not at all: to a temporary name, fsync, rename.

    Raises DiskError; the old file is then as it was.
    """
    partial = path.with_name(f"{PARTIAL_PREFIX}{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        _sync(path.parent)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise disk_error(error, path) from error


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `path` when the block ends well, and is removed when it does not.

    Everything inside is fsynced before the rename. If `path` exists already when the block ends, the new
    folder is dropped and the old one stays: a finished folder is never overwritten.
    Raises DiskError when the disk refuses.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(mkdtemp(prefix=f"{PARTIAL_PREFIX}{path.name}-", dir=path.parent))
        partial.chmod(0o755)
    except OSError as error:
        raise disk_error(error, path) from error
    try:
        yield partial
        for file in sorted(partial.rglob("*")):
            _sync(file)
        _sync(partial)
        if not path.exists():
            partial.rename(path)
            _sync(path.parent)
    except OSError as error:
        raise disk_error(error, path) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold a lock, a file that is made where it is not there, while what belongs to it is read and written
    anew. The kernel drops it with the process. Raises DiskError.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise disk_error(error, path) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def sweep_partial(folder: Path) -> None:
    """Delete what a killed writer left in `folder`. Only its sole owner may call this."""
    for path in folder.glob(f"{PARTIAL_PREFIX}*"):
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
