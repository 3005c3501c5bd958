"""A folder with index.html as a static Space on the Hub."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from book.manuscript import MANUSCRIPT_FILE
from book.publish_book import check
from book.publish_cli import connect, finish, named, teller
from book.sending import send_folder
from selves.errors import UsageError
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
    if (resolved.parent / MANUSCRIPT_FILE).is_file():
        check(house, resolved.parent)
    name = f"{resolved.parent.name if resolved.name == 'site' else resolved.name}-site".lower()
    files: dict[str, Path | bytes] = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }
    title = (options.to or name).rpartition("/")[2]
    files["README.md"] = card(title).encode()
    if options.dry_run:
        return _say(options, named(options.to, name, None), files)
    hub, repo = connect(options.to, name)
    receipt = send_folder(
        hub, house.home, repo, "space", files, what=f"site {title}", made="site", public=options.public
    )
    teller()(f"{len(files)} files, {receipt.bytes / 1e6:,.1f} MB, {receipt.commit[:12]}")
    finish(hub, options, [receipt])
    return 0


def card(title: str) -> str:
    """Return the README that makes a Space a static site."""
    head = front_matter({"title": title, "sdk": "static", "app_file": "index.html", "tags": ["selves"]})
    return f"{head}\n\n# {inline(title)}\n"


def _say(options: Namespace, repo: str, files: dict[str, Path | bytes]) -> int:
    from book.sending import say_files

    say_files(repo, files, public=options.public, as_json=options.json)
    return 0
