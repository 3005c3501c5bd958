"""What a system's processes hold of the machine's memory, as Linux counts it.

RSS counts pages that several processes share once for each of them; PSS divides them. Anonymous is the part
that is no file: what remains when weights mapped from disk are set aside, which the kernel may drop and read
again. Elsewhere than on Linux nothing is known, and nothing is said.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TypedDict

PROC = Path("/proc")
KIB = 1024


class Memory(TypedDict):
    """Bytes, over a tree of processes."""

    peak_rss: int
    """The highest each process has been at; they need not have been so at the same time."""
    rss: int
    pss: int
    anonymous: int


def of_tree(root: int, *, with_root: bool) -> Memory | None:
    """Return the memory of a process's descendants, and of itself if asked; None where there is no /proc."""
    if not (PROC / "self" / "smaps_rollup").exists():
        return None
    total = Memory(peak_rss=0, rss=0, pss=0, anonymous=0)
    pids = descendants(root, _parents()) | ({root} if with_root else set())
    for pid in pids:
        try:
            status = (PROC / str(pid) / "status").read_text("utf-8")
            rollup = (PROC / str(pid) / "smaps_rollup").read_text("utf-8")
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile
        total["peak_rss"] += field(status, "VmHWM")
        total["rss"] += field(rollup, "Rss")
        total["pss"] += field(rollup, "Pss")
        total["anonymous"] += field(rollup, "Anonymous")
    return total


def field(text: str, name: str) -> int:
    """Return a field of a file in /proc, which says it in KiB, in bytes; 0 where it is not there."""
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * KIB if found else 0


def descendants(root: int, parents: Iterable[tuple[int, int]]) -> set[int]:
    """Return all that came from `root`, given (process, parent) pairs."""
    pairs = list(parents)
    found: set[int] = set()
    new = {root}
    while new:
        new = {pid for pid, parent in pairs if parent in new} - found
        found |= new
    return found


def _parents() -> Iterable[tuple[int, int]]:
    for folder in PROC.iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text("utf-8", "replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            # the name, in brackets, may hold anything; after it come the state and the parent
            yield int(folder.name), int(stat.rpartition(")")[2].split()[1])
