"""Several processes on one database: who listens, who runs which self, and what each says of itself.

Each process holds leases: one for every self that it runs and, in one process only, `registrar`: that one
listens and has the floor in all channels. A process that dies is found out when its leases end; one of the
same machine at once. Whoever waits for a lease takes it then.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import timedelta
from typing import Any

from memory import leases, states
from memory.store import Store
from selves.errors import StoreError

log = logging.getLogger("selves.bots")

LISTENING = "registrar"
LEASE_S = 20.0
BEAT_S = 4.0
"""How often leases are renewed and states are told. Four beats may fail before a lease ends."""
STATE = "bots:process:"
SILENT_AFTER = timedelta(seconds=30)
"""Who has told nothing for so long is gone."""


def lease_of(name: str) -> str:
    """The lease of whoever runs a self."""
    return f"self:{name}"


def this_process() -> str:
    """Return a name for this process that no other has: machine, number, and something random."""
    return f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"


def is_dead(holder: str) -> bool:
    """Whether a process is known to be dead: it ran on this machine, and its number is nobody's, or ours."""
    host, _, rest = holder.partition("/")
    number = rest.partition("/")[0]
    if host != socket.gethostname() or not number.isdecimal():
        return False
    if int(number) == os.getpid():
        return True
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return False


class Processes:
    """This process among the others. `wanted` are the leases it would like to have."""

    def __init__(
        self,
        store: Store,
        wanted: Collection[str],
        report: Callable[[], Mapping[str, Any]],
        on_beat: Callable[[], None] = lambda: None,
        *,
        name: str = "",
        lease_s: float = LEASE_S,
        beat_s: float = BEAT_S,
    ) -> None:
        self.name = name or this_process()
        self.mine: frozenset[str] = frozenset()
        self.others: dict[str, Mapping[str, Any]] = {}
        """What the other processes say of themselves, by process."""
        self._store, self._wanted, self._report = store, list(wanted), report
        self._lease_s, self._beat_s = lease_s, beat_s
        self._on_beat = on_beat
        self._beaten = asyncio.Condition()
        self._soon = asyncio.Event()

    def want(self, leases_wanted: Collection[str]) -> None:
        """Take these from now on, and give the others back, with the next beat."""
        self._wanted = list(leases_wanted)
        self.beat_soon()

    def beat_soon(self) -> None:
        """Something has changed that the others should know."""
        self._soon.set()

    async def run(self) -> None:
        """Renew and tell, again and again, until cancelled; then give everything back."""
        try:
            while True:
                try:
                    await self.beat()
                except StoreError as error:
                    # who cannot write cannot lose its leases to anybody who could
                    log.error("this process could not tell the others that it lives: %s", error)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._beat_s):
                        await self._soon.wait()
                self._soon.clear()
        finally:
            with contextlib.suppress(StoreError):
                await self.leave()

    async def beat(self) -> None:
        """Renew what is held, take what is free and wanted, tell, and hear what the others tell."""
        held = await leases.renew_all(self._store, self.name, self._lease_s)
        for name in held.difference(self._wanted):
            await leases.release(self._store, name, self.name)
        held &= frozenset(self._wanted)
        if missing := [name for name in self._wanted if name not in held]:
            taken = {lease.name: lease.holder for lease in await leases.held(self._store)}
            for name in missing:
                if name in taken and is_dead(taken[name]):
                    await leases.release(self._store, name, taken.pop(name))
                if name not in taken and await leases.acquire(self._store, name, self.name, self._lease_s):
                    held |= {name}
        self.others = await self._hear()
        async with self._beaten:
            self.mine = held
            self._on_beat()
            self._beaten.notify_all()
        await states.put(self._store, STATE + self.name, {**self._report(), "leads": LISTENING in held})

    async def _hear(self) -> dict[str, Mapping[str, Any]]:
        found = await states.find(self._store, STATE)
        now = self._store.clock()
        told = {key.removeprefix(STATE): state for key, state in found.items()}
        for name, state in told.items():
            if now - state.at > timedelta(days=1):
                await states.put(self._store, STATE + name, None)
        return {
            name: state.value
            for name, state in told.items()
            if name != self.name and now - state.at <= SILENT_AFTER and not is_dead(name)
        }

    async def leave(self) -> None:
        """Give all leases back, and say nothing any more."""
        for name in self.mine:
            await leases.release(self._store, name, self.name)
        await states.put(self._store, STATE + self.name, None)

    async def while_mine(self, lease: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work` as long as a lease is held, and again when it is taken anew. Ends when `work` does."""
        while True:
            async with self._beaten:
                await self._beaten.wait_for(lambda: lease in self.mine)
            task = asyncio.ensure_future(work())
            lost = asyncio.create_task(self._until_lost(lease))
            try:
                await asyncio.wait([task, lost], return_when=asyncio.FIRST_COMPLETED)
                if task.done():
                    return task.result()
                log.warning("another process has %r now", lease)
            finally:
                for each in (task, lost):
                    each.cancel()
                await asyncio.wait([task, lost])

    async def _until_lost(self, lease: str) -> None:
        async with self._beaten:
            await self._beaten.wait_for(lambda: lease not in self.mine)
