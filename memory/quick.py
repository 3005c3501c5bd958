"""SQLite's driver with one crossing to its thread for each statement, instead of four; or with none.

aiosqlite opens a cursor, executes, fetches and closes in its own thread, and waits for each of these. Most
statements here give a few rows or none, so all of it is done at once; of a long answer the first rows are
brought along, and the rest is fetched when it is asked for.

A statement of a turn takes SQLite some microseconds, and a crossing takes a hundred or, on a busy machine,
thousands. So while a connection `is_brief`, what is asked of it is done where it is asked: the event loop
waits for it. What may wait for others or for the disk (locks, commits) is not.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from typing import Any

import aiosqlite

AHEAD = 256
"""So many rows come along with the statement."""


def connect(database: str, **options: Any) -> QuickConnection:
    """Return a connection to be awaited, as `aiosqlite.connect` does."""
    options["check_same_thread"] = False  # one thread at a time uses it, but not always the same
    connection = QuickConnection(lambda: sqlite3.connect(database, **options), AHEAD)
    # older versions are a thread themselves; a forgotten connection must not keep the process
    getattr(connection, "_thread", connection).daemon = True  # type: ignore[union-attr]
    return connection


class QuickConnection(aiosqlite.Connection):
    """A connection whose cursors are opened by what they execute."""

    is_brief = False
    """Whether what is executed now takes no time worth a crossing."""
    _is_idle = True
    """Whether the driver's thread has nothing of it to do. Of what was broken off nobody knows."""

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Do it in the driver's thread, after all that was asked of it before."""
        self._is_idle = False
        try:
            result = await super()._execute(fn, *args, **kwargs)  # type: ignore[no-untyped-call]
        except Exception:
            self._is_idle = True
            raise
        self._is_idle = True
        return result

    async def here_or_there(self, act: Callable[..., Any], *args: Any) -> Any:
        """Do it in this thread if it is brief, else in the driver's."""
        return act(*args) if self.is_brief and self._is_idle else await self._execute(act, *args)

    async def rollback(self) -> None:
        # a pool asks for it whenever a connection comes back
        if not self._is_idle or self._conn.in_transaction:
            await self.here_or_there(self._conn.rollback)

    def cursor(self) -> QuickCursor:  # type: ignore[override]
        return QuickCursor(self)


class QuickCursor(aiosqlite.Cursor):
    """See the module."""

    _conn: QuickConnection

    def __init__(self, connection: QuickConnection) -> None:
        self._conn = connection
        self._cursor: sqlite3.Cursor | None = None  # type: ignore[assignment]
        self._ahead: list[Any] = []
        self._is_over = True
        """Whether all rows are here, and the cursor is closed."""

    async def __aenter__(self) -> QuickCursor:
        return self

    async def execute(self, sql: str, parameters: Iterable[Any] | None = None) -> QuickCursor:
        await self._there(self._run, lambda cursor: cursor.execute(sql, parameters or ()))
        return self

    async def executemany(self, sql: str, parameters: Iterable[Iterable[Any]]) -> QuickCursor:
        await self._there(self._run, lambda cursor: cursor.executemany(sql, parameters))
        return self

    async def _there(self, act: Callable[..., Any], *args: Any) -> Any:
        return await self._conn.here_or_there(act, *args)

    def _run(self, act: Callable[[sqlite3.Cursor], object]) -> None:
        cursor = self._cursor = self._conn._conn.cursor()
        act(cursor)
        self._ahead = cursor.fetchmany(AHEAD) if cursor.description else []
        self._is_over = len(self._ahead) < AHEAD
        if self._is_over:
            cursor.close()

    async def fetchall(self) -> list[Any]:
        rows, self._ahead = self._ahead, []
        if not self._is_over:
            rows += await self._there(self._opened.fetchall)
        return rows

    async def fetchmany(self, size: int | None = None) -> list[Any]:
        wanted = size or 1
        rows, self._ahead = self._ahead[:wanted], self._ahead[wanted:]
        if not rows and not self._is_over:
            rows = await self._there(self._opened.fetchmany, wanted)
        return rows

    async def fetchone(self) -> Any:
        rows = await self.fetchmany(1)
        return rows[0] if rows else None

    async def close(self) -> None:
        self._ahead = []
        if not self._is_over:
            self._is_over = True
            await self._there(self._opened.close)

    @property
    def _opened(self) -> sqlite3.Cursor:
        assert self._cursor is not None, "nothing was executed"
        return self._cursor

    @property
    def description(self) -> Any:
        return None if self._cursor is None else self._cursor.description

    @property
    def rowcount(self) -> int:
        return -1 if self._cursor is None else self._cursor.rowcount

    @property
    def lastrowid(self) -> int | None:
        return None if self._cursor is None else self._cursor.lastrowid
