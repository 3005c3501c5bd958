"""A folder with index.html as a static Space on the Hub."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path

from book.manuscript import MANUSCRIPT_FILE
from book.publish_book import check
from book.publish_cli import connect, finish, named, teller
from book.sending import has_memory, say_files, send_folder
from selves.errors import StoreError, UsageError
from selves.files import sha256_file
from selves.markdown import front_matter, inline
from selves.settings import House


def publish_site(options: Namespace, house: House) -> int:
    """Send a site. Raises UsageError if the folder is none, HubError."""
    folder: Path = options.folder
    if not (folder / "index.html").is_file():
        raise UsageError(
            f"{folder} has no index.html", "name the folder of a site, as `selves book build` makes"
        )
    resolved = folder.resolve()
    of_book = resolved.name == "site" and (resolved.parent / MANUSCRIPT_FILE).is_file()
    if of_book:
        check(house, resolved.parent)
    name = f"{resolved.parent.name if resolved.name == 'site' else resolved.name}-site".lower()
    files: dict[str, Path | bytes] = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }
    for path in files.values():
        if isinstance(path, Path) and not path.resolve().is_relative_to(resolved):
            raise UsageError(f"{path} leads out of {folder}", "put the file itself there")
    _refuse(house, files, of_book)
    title = (options.to or name).rpartition("/")[2]
    files["README.md"] = card(title).encode()
    if options.dry_run:
        say_files(named(options.to, name, None), files, public=options.public, as_json=options.json)
        return 0
    hub, repo = connect(options.to, name)
    receipt = send_folder(
        hub, house.home, repo, "space", files, what=f"site {title}", made="site", public=options.public
    )
    teller()(f"{len(files)} files, {receipt.bytes / 1e6:,.1f} MB, {receipt.commit[:12]}")
    finish(hub, options, [receipt])
    return 0


def _refuse(house: House, files: Mapping[str, Path | bytes], of_book: bool) -> None:
    """Raise StoreError for what was called back, UsageError for pages of a book that lie elsewhere."""
    if not has_memory(house):
        return
    back, books = asyncio.run(_recorded(house))
    for path in (file for file in files.values() if isinstance(file, Path)):
        sha256 = sha256_file(path)
        if sha256 in back:
            raise StoreError(f"{path} was called back", "make it anew, then publish that")
        if sha256 in books and not of_book:
            raise UsageError(
                f"{path} is a page of a book, and here it cannot be checked",
                "name the site in the book's own folder, as `selves book build` made it",
            )


async def _recorded(house: House) -> tuple[frozenset[str], frozenset[str]]:
    """Return the sha256 of all files that were called back, and of all pages of books."""
    from memory.export import exports
    from memory.publishing import called_back
    from memory.store import open_store

    async with open_store(house.database_url) as store:
        files = [one.files for one in await exports(store) if MANUSCRIPT_FILE in one.files]
        pages = {sha256 for named in files for name, sha256 in named.items() if name.endswith(".html")}
        return (await called_back(store)).files, frozenset(pages)


def card(title: str) -> str:
    """Return the README that makes a Space a static site."""
    head = front_matter({"title": title, "sdk": "static", "app_file": "index.html", "tags": ["selves"]})
    return f"{head}\n\n# {inline(title)}\n"
