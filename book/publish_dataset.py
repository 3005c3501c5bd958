"""An export of memory as a data set on the Hub, if all of it may be shown to everybody.

What is sent are the files as they were exported, compared with the hashes that memory keeps; so when somebody
whose words are in it is forgotten, `selves publish list` says that this data set must go.
"""

from __future__ import annotations

import asyncio
from argparse import Namespace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from book.publish_cli import connect, finish, named, teller
from book.sending import has_memory, say_files, send_folder
from selves.errors import StoreError
from selves.files import sha256_file
from selves.settings import House

if TYPE_CHECKING:
    from memory.export import Exported


def publish_dataset(options: Namespace, house: House) -> int:
    """Send an export. Raises StoreError if it may not be published or cannot be made again, HubError."""
    if not has_memory(house):
        raise StoreError("nothing was exported yet", "`selves memory export --help`")
    with TemporaryDirectory(prefix="selves-") as place:
        exported, folder = asyncio.run(_files(house, options.export, Path(place) / "again"))
        files: dict[str, Path | bytes] = {path: folder / path for path in exported.files}
        name = f"selves-{exported.format}"
        if options.dry_run:
            say_files(named(options.to, name, None), files, public=options.public, as_json=options.json)
            return 0
        hub, repo = connect(options.to, name)
        receipt = send_folder(
            hub,
            house.home,
            repo,
            "dataset",
            files,
            what=f"export {exported.id}",
            made="dataset",
            public=options.public,
            facts={"format": exported.format, "rows": exported.rows},
        )
        teller()(f"{exported.rows:,} rows, {receipt.bytes / 1e6:,.1f} MB, {receipt.commit[:12]}")
        finish(hub, options, [receipt])
    return 0


async def _files(house: House, export_id: int, place: Path) -> tuple[Exported, Path]:
    """Return an export and a folder that holds it: where it was written, or else made again at `place`."""
    from memory.export import export_again
    from memory.publishing import publishable
    from memory.store import open_store

    async with open_store(house.database_url) as store:
        exported = await publishable(store, export_id)
        folder = Path(exported.folder)
        if all(
            (folder / path).is_file() and sha256_file(folder / path) == sha256
            for path, sha256 in exported.files.items()
        ):
            return exported, folder
        await export_again(store, export_id, place)
        return exported, place
