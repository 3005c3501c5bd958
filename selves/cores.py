"""Which CPU cores this process may use: a container or taskset may leave fewer than the machine has."""

from __future__ import annotations

import os


def available_cores() -> tuple[int, ...]:
    """Return the numbers of the logical cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))
