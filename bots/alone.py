"""One process alone plays a scene: whoever begins it holds its lease, and stops when it is somebody else's.

A process that died gives nothing back; on the same machine that is seen at once, elsewhere the lease ends by
itself after a while.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from bots.processes import is_dead, this_process
from memory import leases
from memory.store import Store
from memory.types import Scene
from selves.errors import UsageError

HELD_S = 300.0
"""A turn takes less than this; pauses renew the lease too."""
Renew = Callable[[], Awaitable[None]]


@asynccontextmanager
async def alone(store: Store, scene: Scene) -> AsyncIterator[Renew]:
    """Hold a scene's lease while the block runs, and yield what to call before every turn.

    Raises UsageError when somebody else plays the scene: at the beginning, or from that call.
    """
    name, holder = f"scene:{scene.id}", this_process()
    taken = UsageError(
        f"scene {scene.name!r} is being played by another process",
        "wait until it has ended; then the same command shows it",
    )
    for lease in await leases.held(store, name):
        if lease.name == name and is_dead(lease.holder):
            await leases.release(store, name, lease.holder)
    if not await leases.acquire(store, name, holder, HELD_S):
        raise taken

    async def renew() -> None:
        if not await leases.renew(store, name, holder, HELD_S):
            raise taken

    try:
        yield renew
    finally:
        await leases.release(store, name, holder)
