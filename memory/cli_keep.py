"""`selves memory backup|restore|check|migrate|vacuum`: keeping the database itself."""

from __future__ import annotations

import argparse
import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from memory import database, show
from memory.verbs import Verbs, bars
from selves.cli import count
from selves.errors import StoreError
from selves.settings import House

if TYPE_CHECKING:
    from memory.store import Store

log = logging.getLogger("memory")

COPYING = "rows"


def add_verbs(verbs: Verbs) -> None:
    """Add this file's verbs to `selves memory`."""
    backup = verbs.add(
        "backup",
        _backup,
        "copy everything into one file, while the house runs",
        "selves memory backup selves-backup.db --keys selves-keys.json",
    )
    backup.add_argument(
        "file", nargs="?", type=Path, help="where to (default: backups/ in the home folder, named by time)"
    )
    backup.add_argument(
        "--keys",
        type=Path,
        metavar="FILE",
        help="write what opens people's words to this file too; always the same one, kept elsewhere",
    )
    restore = verbs.add_plain(
        "restore",
        _restore,
        "make a database of a backup, SQLite or PostgreSQL",
        "SELVES_DATABASE_URL=postgresql://host/selves selves memory restore selves-backup.db",
    )
    restore.add_argument("file", type=Path, help="a file that `selves memory backup` wrote")
    restore.add_argument(
        "--replace",
        action="store_true",
        help="put it in the place of the database that is there, which is kept",
    )
    restore.add_argument(
        "--keys", type=Path, metavar="FILE", help="the keys file (default: the keys of the replaced database)"
    )
    restore.add_argument(
        "--without-keys", action="store_true", help="leave people's words shut if there are no keys"
    )
    check = verbs.add("check", _check, "prove that all that is kept is whole", "selves memory check")
    check.add_argument(
        "--newest",
        type=count,
        metavar="N",
        help="look only at the newest N messages and samples, and not at every page and index: for every day",
    )
    verbs.add_plain(
        "migrate", _migrate, "bring the database to this version's schema", "selves memory migrate"
    )
    verbs.add("vacuum", _vacuum, "give the space of what was erased back to the disk", "selves memory vacuum")


async def _backup(store: Store, house: House, arguments: argparse.Namespace) -> None:
    from memory.backup import back_up, count_rows

    named = f"selves-{store.clock():%Y%m%dT%H%M%SZ}.db"
    target: Path = arguments.file or house.home / "backups" / named
    with bars({COPYING: await count_rows(store)}) as tell:
        manifest = await back_up(store, target, keys=arguments.keys, on_rows=partial(tell, COPYING))
    if arguments.keys is None and manifest.tables["person"].rows:
        log.info(
            "the keys of people's words are in no backup; --keys FILE writes them to a file of their own"
        )
    if arguments.json:
        tables = {name: digest.rows for name, digest in manifest.tables.items()}
        print(show.to_json({"file": str(target), "bytes": target.stat().st_size, "rows": tables}))
    else:
        print(f"{target}: {manifest.rows:,} rows, {target.stat().st_size / 1e6:,.1f} MB")


async def _restore(house: House, arguments: argparse.Namespace) -> None:
    from memory.backup import read_manifest
    from memory.keys import read_keys
    from memory.restore import restore

    keys = read_keys(arguments.keys) if arguments.keys else None
    with bars({COPYING: 2 * read_manifest(arguments.file).rows}) as tell:
        restored = await restore(
            arguments.file,
            house.database_url,
            replace=arguments.replace,
            keys=keys,
            without_keys=arguments.without_keys,
            on_rows=partial(tell, COPYING),
        )
    if arguments.json:
        print(show.to_json(restored))
        return
    print(f"{restored.rows:,} rows in {database.show(database.parse_url(house.database_url))}, each compared")
    if restored.forgotten:
        print(f"forgotten since, and again now: {', '.join(restored.forgotten)}")
    if restored.expired:
        print(f"expired since, and erased again: {restored.expired:,} messages")
    if restored.shut:
        print(
            f"the words of {restored.shut:,} of {restored.people:,} people stay shut: their keys are missing"
        )
    if restored.kept:
        print(f"the old one is kept as {restored.kept}; drop it when you are content: it forgets nobody")


async def _check(store: Store, _house: House, arguments: argparse.Namespace) -> None:
    from memory.check import check, parts_to_check

    with bars(await parts_to_check(store, arguments.newest)) as tell:
        report = await check(store, newest=arguments.newest, on_part=tell)
    if arguments.json:
        print(show.to_json(report))
    else:
        for name, rows in report.looked_at.items():
            print(f"{name}: {rows:,}")
        for problem in report.problems:
            print(f"WRONG: {problem}")
    if report.problems:
        raise StoreError(
            f"{len(report.problems)} of these things should not be",
            "restore a backup, or report it with what this says",
        )


async def _migrate(house: House, arguments: argparse.Namespace) -> None:
    from memory.upkeep import migrate

    before = await migrate(house.database_url)
    if arguments.json:
        print(show.to_json({"before": before, "now": database.HEAD}))
    else:
        print(
            f"schema {before}, the newest"
            if before == database.HEAD
            else f"schema {before} -> {database.HEAD}"
        )


async def _vacuum(store: Store, _house: House, arguments: argparse.Namespace) -> None:
    from memory.upkeep import vacuum

    before, after = await vacuum(store)
    if arguments.json:
        print(show.to_json({"bytes_before": before, "bytes_after": after}))
    else:
        print(f"{before / 1e6:,.1f} MB -> {after / 1e6:,.1f} MB")
