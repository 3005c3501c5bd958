"""`selves book`: pages from ages, diaries and transcripts.

The effects: files and rows are read, one file is written.
"""

from __future__ import annotations

import asyncio
import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from book import cli_book
from selves.cli import make_parser
from selves.errors import AgeError, UsageError
from selves.lineage import Age, list_ages
from selves.settings import House

if TYPE_CHECKING:
    from book.life import Life
    from memory.types import Message, Scene


def parser() -> ArgumentParser:
    """Return the parser of `selves book`."""
    book = make_parser("selves book", "make pages from ages, diaries and transcripts", EXAMPLES)
    verbs = book.add_subparsers(dest="verb", metavar="VERB", required=True)
    page = verbs.add_parser("page", help="one self-contained HTML page about a lineage's life")
    page.add_argument(
        "lineage", nargs="?", help="which one, such as ember; not needed if only one was trained"
    )
    page.add_argument(
        "--output", type=Path, help="the file to write (default: pages/LINEAGE.html in the home)"
    )
    page.add_argument("--json", action="store_true", help="say what was made as JSON")
    cli_book.add_verbs(verbs)
    return book


EXAMPLES = """
selves book page                        the page of the one lineage you trained
selves book page ember                  home/pages/ember.html
selves book page ember --output my.html
selves book plan ember                  home/books/ember/outline.toml, which you edit
selves book build ember                 PDF, EPUB and website beside it
selves book verify ember                is everything in it as it was said, and may it be printed?
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `selves book`. Raises SelvesError."""
    arguments = parser().parse_args(argv)
    house = House.from_environment()
    return make_page(arguments, house) if arguments.verb == "page" else cli_book.run(arguments, house)


def make_page(arguments: Namespace, house: House) -> int:
    """Write the page of one lineage, whole or not at all. Raises SelvesError."""
    from book.life import tell_life
    from book.metrics import read_metrics
    from book.page import render_page
    from book.sending import withheld
    from selves.cast import load_cast_or_empty
    from selves.files import write_file

    ages = list_ages(house.checkpoints, away=True)
    lineage = choose_lineage(ages, arguments.lineage, house.checkpoints)
    life = tell_life(
        lineage,
        ages,
        read_metrics(house.checkpoints / lineage),
        asyncio.run(read_scenes(house)),
        load_cast_or_empty(house.cast_path),
        relative_to=house.home.parent,
        withheld=withheld(house, ages),
    )
    path: Path = arguments.output or house.pages / f"{lineage}.html"
    data = render_page(life).encode()
    asyncio.run(record(house, path, data, life))
    write_file(path, data)
    if arguments.json:
        made = {
            "page": str(path),
            "lineage": lineage,
            "ages": len(life.ages),
            "scenes": len(life.scenes),
            "bytes": path.stat().st_size,
        }
        print(json.dumps(made))
    else:
        print(
            f"{lineage}: {len(life.ages)} ages, {len(life.scenes)} scenes; open it in a browser:",
            file=sys.stderr,
        )
        print(path)
    return 0


def choose_lineage(ages: Sequence[Age], name: str | None, checkpoints: Path) -> str:
    """Return the lineage that is meant.

    Raises UsageError when it is unknown or not clear, AgeError when there are no ages.
    """
    lineages = list(dict.fromkeys(age.address.lineage for age in ages))
    if not lineages:
        raise AgeError(
            f"there are no ages in {checkpoints}", "train one first: `selves train run recipes/demo.toml`"
        )
    if name is not None:
        if name not in lineages:
            raise UsageError(f"there is no lineage {name!r}", f"there are: {', '.join(lineages)}")
        return name
    trained = (
        list(dict.fromkeys(age.address.lineage for age in ages if age.card.origin == "trained")) or lineages
    )
    if len(trained) > 1:
        raise UsageError("there is more than one lineage", f"name one: {', '.join(trained)}")
    return trained[0]


async def read_scenes(house: House) -> list[tuple[Scene, list[Message]]]:
    """Return every scene with its messages, in the order they began, as far as they may be published.

    Raises StoreError.
    """
    from book.sending import has_memory
    from memory.firewall import for_everybody
    from memory.pages import without_unpublishable
    from memory.store import open_store

    if not has_memory(house):
        return []
    async with open_store(house.database_url) as store:
        return [
            (for_everybody(scene), await without_unpublishable(store, await store.messages(scene.id)))
            for scene in await store.scenes()
        ]


async def record(house: House, path: Path, data: bytes, life: Life) -> None:
    """Note in memory what will be on a page, so that it can be called back. Raises StoreError."""
    from book.sending import has_memory
    from memory.pages import record_page
    from memory.store import open_store

    if not has_memory(house):
        return
    async with open_store(house.database_url) as store:
        await record_page(
            store,
            path,
            data,
            of=life.lineage,
            message_ids={line.message.id for scene in life.scenes for line in scene.lines},
            ages={(age.card.address, age.card.weights_sha256) for age in life.ages},
        )
