"""All rooms: those of the named channels, and of threads and private conversations as they come up.

A room is opened when something is first said in it, and while `lead` (channels and threads) or `serve`
(private conversations) runs, so do the rooms. Several processes may serve, and one leads.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager

from bots.hearing import CatchUp
from bots.room import Room, Where
from memory import states
from memory.store import Store

log = logging.getLogger("selves.bots")

MOST_THREADS = 100
"""So many threads, the newest, are listened to again after a restart; others when something is said there."""
CRASH_PAUSE_S = 1.0

MakeRoom = Callable[[Where], Room]


class Rooms(Mapping[int, Room]):
    """The rooms by the platform's ids of their channels."""

    def __init__(self, store: Store, named: Collection[int], make: MakeRoom) -> None:
        self._store, self._make, self._named = store, make, frozenset(named)
        self._rooms: dict[int, Room] = {channel: make(Where(channel)) for channel in named}
        self._running: dict[bool, dict[int, list[asyncio.Task[None]]] | None] = {False: None, True: None}
        """The tasks of rooms by channel, those of private ones apart; None while nobody runs them."""
        self._notes: set[asyncio.Task[None]] = set()

    def __getitem__(self, channel_id: int) -> Room:
        return self._rooms[channel_id]

    def __iter__(self) -> Iterator[int]:
        return iter(self._rooms)

    def __len__(self) -> int:
        return len(self._rooms)

    @property
    def channels(self) -> list[int]:
        """The ids of the channels that are listened to; no threads, no private conversations."""
        return [i for i, room in self._rooms.items() if not room.where.parent and not room.where.private]

    # ------------------------------------------------------------------ finding and opening

    def find(self, channel_id: int, parent_id: int | None = None) -> Room | None:
        """Return the room of a channel, or of a thread in one; None where nobody listens.

        It waits for nothing, so that what is heard stays in order.
        """
        room = self._rooms.get(channel_id)
        parent = self._rooms.get(parent_id or 0)
        if room is None and parent is not None and not parent.where.private:
            # a thread that begins at a message has the message's id
            return self.open_thread(channel_id, parent=parent.where.channel_id, begins_at=channel_id)
        return room

    def open_thread(self, thread_id: int, *, parent: int, begins_at: int | None, to: str = "") -> Room:
        """Listen to a thread of a channel. `to`: whom all is said to there."""
        room = self._rooms.get(thread_id)
        if room is None:
            room = self._open(Where(thread_id, parent=parent, begins_at=begins_at, to=to))
        elif to:
            # something was said in it before we came to this
            room.belong_to(to)
        note = {"parent": str(parent), "begins_at": str(begins_at) if begins_at else None, "to": to}
        self._note(states.put(self._store, f"thread:{thread_id}", note))
        return room

    def open_private(self, channel_id: int, to: str) -> Room:
        """Listen to what somebody says to one self in private.

        Which conversation it is is not kept: the place's name is a keyed hash.
        """
        if channel_id not in self._rooms:
            secret = bytes.fromhex(self._store.house.secret)
            name = hmac.digest(secret, f"private:{channel_id}".encode(), "sha256").hex()[:24]
            self._open(Where(channel_id, place=f"private:{name}", to=to, private=True)).take(CatchUp())
        return self._rooms[channel_id]

    async def open_channel(self, channel_id: int) -> Room:
        """Listen to a channel from now on, also after a restart."""
        await states.put(self._store, f"channel:{channel_id}", {"open": True})
        return self._rooms.get(channel_id) or self._open(Where(channel_id))

    async def close_channel(self, channel_id: int) -> None:
        """Listen to a channel and its threads no more, also after a restart."""
        await states.put(self._store, f"channel:{channel_id}", {"open": False})
        self._drop(channel_id)

    async def name(self, channels: Collection[int]) -> None:
        """Listen to the channels that the cast file names now, and no more to others that it named before.

        What was said about a channel on Discord itself (`/config`) goes before. Raises StoreError.
        """
        said = await states.find(self._store, "channel:")
        told = {int(key.partition(":")[2]): state.value["open"] for key, state in said.items()}
        for channel_id in self._named - set(channels):
            if not told.get(channel_id):
                self._drop(channel_id)
        for channel_id in set(channels) - self._named - set(self._rooms):
            if told.get(channel_id, True):
                room = self._open(Where(channel_id))
                if self._running[False] is not None:
                    await room.open_talk()
                    room.take(CatchUp())
        self._named = frozenset(channels)

    def leave(self, names: Collection[str]) -> None:
        """End the private conversations with these selves."""
        for channel_id, room in list(self._rooms.items()):
            if room.where.private and room.where.to in names:
                self._drop(channel_id)

    def _drop(self, channel_id: int) -> None:
        for room_id, room in list(self._rooms.items()):
            if channel_id in (room_id, room.where.parent):
                room.halt()
                del self._rooms[room_id]
                for task in (self._running[room.where.private] or {}).pop(room_id, []):
                    task.cancel()

    def _open(self, where: Where) -> Room:
        room = self._rooms[where.channel_id] = self._make(where)
        self._start(room)
        return room

    def _note(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._notes.add(task)
        task.add_done_callback(self._noted)

    def _noted(self, task: asyncio.Task[None]) -> None:
        self._notes.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("a thread will not be known after a restart: %s", error)

    # ------------------------------------------------------------------ running

    async def lead(self) -> None:
        """Run the rooms of channels and threads until cancelled. Raises StoreError at once.

        They are new ones each time: another process may have led meanwhile.
        """
        for channel_id, room in list(self._rooms.items()):
            if not room.where.private:
                self._rooms[channel_id] = self._make(room.where)
        for key, state in (await states.find(self._store, "channel:")).items():
            channel_id = int(key.partition(":")[2])
            if not state.value["open"]:
                self._drop(channel_id)
            elif channel_id not in self._rooms:
                self._open(Where(channel_id))
        threads = sorted((await states.find(self._store, "thread:")).items(), key=lambda kv: kv[1].at)
        for key, state in threads[-MOST_THREADS:]:
            parent, begins_at = int(state.value["parent"]), state.value["begins_at"]
            thread_id = int(key.partition(":")[2])
            if parent in self._rooms and thread_id not in self._rooms:
                begins = int(begins_at) if begins_at else None
                self._open(Where(thread_id, parent=parent, begins_at=begins, to=state.value["to"]))
        for room in list(self._rooms.values()):
            if not room.where.private:
                await room.open_talk()
                room.take(CatchUp())
        async with self._run(private=False):
            await asyncio.Event().wait()

    async def serve(self) -> None:
        """Run the private conversations until cancelled."""
        async with self._run(private=True):
            await asyncio.Event().wait()

    @asynccontextmanager
    async def _run(self, *, private: bool) -> AsyncIterator[None]:
        running = self._running[private] = {}
        try:
            for room in list(self._rooms.values()):
                self._start(room)
            yield
        finally:
            self._running[private] = None
            tasks = [task for tasks in running.values() for task in tasks]
            for task in tasks:
                task.cancel()
            # what is noted is short, and worth waiting for
            if waiting := [*tasks, *self._notes]:
                await asyncio.wait(waiting)

    def _start(self, room: Room) -> None:
        running = self._running[room.where.private]
        if running is None or room.where.channel_id in running:
            return
        place = room.channel.place
        running[room.where.channel_id] = [
            asyncio.create_task(keep_running(f"{place}, listening", room.listen)),
            asyncio.create_task(keep_running(f"{place}, speaking", room.coordinate)),
        ]


async def keep_running(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work`, and again when it fails: a defect in one room must not silence the others."""
    while True:
        task = asyncio.ensure_future(work())
        try:
            await asyncio.wait([task])
        finally:
            task.cancel()
            await asyncio.wait([task])
        if not task.cancelled():
            log.error("%s failed and begins anew", name, exc_info=task.exception())
        await asyncio.sleep(CRASH_PAUSE_S)
