"""`selves publish`: ages, books, sites and data sets on the Hugging Face Hub.

Nothing is public unless it is said, nothing is sent twice, nothing of anybody else is deleted. A dry run asks
nobody.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from selves.cli import make_parser
from selves.errors import AgeError, StoreError, UsageError
from selves.lineage import Age, find_age, list_ages
from selves.settings import House

if TYPE_CHECKING:
    from memory.publishing import CalledBack
    from training.hub import Hub, Kind, Receipt

EXAMPLES = """
selves publish ages ember --dry-run                  what would be sent, without asking anybody
selves publish ages ember                            YOU/ember, private: a revision for every age
selves publish ages ember --to anna/ember --public   where everybody may see it
selves publish book ember                            "the model is the book": chapters, a tag, PDF, EPUB
selves publish site home/books/ember/site --to ember-book    a static Space
selves publish dataset 3 --to ember-talk             an export of memory, if all of it may be published
selves publish list                                  what was published, and what of it was called back since
selves publish delete anna/ember-talk                what would be taken off the Hub; --yes does it
"""


def parser() -> ArgumentParser:
    """Return the parser of `selves publish`."""
    publish = make_parser("selves publish", "put ages, books, sites and data sets on the Hub", EXAMPLES)
    verbs = publish.add_subparsers(dest="verb", metavar="ages|book|site|dataset|list|delete", required=True)
    ages = verbs.add_parser("ages", help="one repository for a lineage, a revision for each age")
    ages.add_argument("what", nargs="+", metavar="LINEAGE|ADDRESS", help="a lineage, or some of its ages")
    book = verbs.add_parser("book", help="a built book into the repository of its lineage")
    book.add_argument("what", metavar="NAME|FOLDER", help="as in home/books/NAME, or the folder itself")
    site = verbs.add_parser("site", help="a folder with index.html, as a static Space")
    site.add_argument("folder", type=Path, metavar="FOLDER")
    dataset = verbs.add_parser("dataset", help="an export of memory, as a data set")
    dataset.add_argument("export", type=int, metavar="EXPORT", help="its number in `selves memory exports`")
    listing = verbs.add_parser("list", help="what was published, and what of it was called back")
    delete = verbs.add_parser("delete", help="take a repository, or one revision of it, off the Hub again")
    delete.add_argument("repo", metavar="NAMESPACE/NAME", help="as `selves publish list` shows it")
    delete.add_argument("--revision", metavar="REVISION", help="this one alone, such as base-000400")
    delete.add_argument("--kind", choices=["model", "dataset", "space"], help="where several have one name")
    delete.add_argument("--yes", action="store_true", help="do it; it cannot be undone")
    for verb in (ages, book, site, dataset):
        verb.add_argument(
            "--to", metavar="[NAMESPACE/]NAME", help="the repository (default: yours, its name)"
        )
        if verb is not book:  # which goes where its ages are
            verb.add_argument("--public", action="store_true", help="if it is new: for everybody to see")
        verb.add_argument("--collection", metavar="TITLE", help="put it into this collection of yours too")
        verb.add_argument("--dry-run", action="store_true", help="only say what would be sent")
    for verb in (ages, book, site, dataset, listing, delete):
        verb.add_argument("--json", action="store_true", help="print JSON")
    return publish


def main(argv: Sequence[str] | None = None) -> int:
    """Run `selves publish`. Raises SelvesError."""
    options = parser().parse_args(argv)
    house = House.from_environment()
    match options.verb:
        case "ages":
            return _ages(options, house)
        case "book":
            from book.publish_book import publish_book

            return publish_book(options, house)
        case "site":
            from book.publish_site import publish_site

            return publish_site(options, house)
        case "dataset":
            from book.publish_dataset import publish_dataset

            return publish_dataset(options, house)
        case "delete":
            from book.publish_delete import publish_delete

            return publish_delete(options, house)
        case _:
            return _list(options, house)


def _ages(options: Namespace, house: House) -> int:
    from book.sending import withheld
    from training.publish import called_back, plan, publish_ages
    from training.receipts import read_receipts

    everybody, ages = _chosen(house, options.what)
    lineage, folder = ages[0].address.lineage, ages[0].folder.parent
    back = asyncio.run(_called_back(house))
    gone = called_back(everybody, back.files, back.ages)
    tell = teller()
    for age in ages:
        if age.card.address in gone:
            tell(f"{age.card.address} is left out: it learned from what was called back since")
    ages = [age for age in ages if age.card.address not in gone]
    if not ages:
        raise AgeError("no age is left to publish", "`selves memory exports` shows what was called back")
    planned = plan(ages, read_receipts(folder), options.to if "/" in (options.to or "") else None)
    for told in dict.fromkeys(told for one in planned for told in one.tells):
        tell(f"age.json names a folder of this machine, and everybody can read that: {told}")
    if options.dry_run:
        repo = named(options.to, lineage, None)
        if options.json:
            rows = [
                {
                    "address": one.age.card.address,
                    "revision": one.age.address.age,
                    "bytes": one.bytes,
                    "sent": one.sent is not None,
                    "tells": one.tells,
                }
                for one in planned
            ]
            print(json.dumps({"repo": repo, "public": options.public, "ages": rows}))
            return 0
        print(f"{repo}, {'public' if options.public else 'private'} if it is new")
        for one in planned:
            state = "is there" if one.sent else "to send"
            print(f"  {one.age.card.address:<28} {one.bytes / 1e6:>10,.1f} MB  {state}")
        return 0
    hub, repo = connect(options.to, lineage)
    family = [a for a in everybody if a.address.lineage == lineage and a.card.address not in gone]
    receipts = publish_ages(
        hub,
        ages,
        repo,
        family=family,
        gone=gone,
        withheld=withheld(house, family),
        public=options.public,
        tell=tell,
    )
    finish(hub, options, receipts)
    return 0


def _chosen(house: House, names: Sequence[str]) -> tuple[list[Age], list[Age]]:
    """Return all ages there are, also those that are away, and those of one lineage that are meant.

    Both in order of life.
    """
    everybody = list_ages(house.checkpoints, away=True)
    present = {age.card.address for age in list_ages(house.checkpoints)}
    meant: set[str] = set()
    for name in names:
        if "@" in name:
            meant.add(find_age(house.checkpoints, name).card.address)
            continue
        of = {age.card.address for age in everybody if age.address.lineage == name} & present
        if not of:
            raise AgeError(f"there is no lineage {name} in {house.checkpoints}", "selves ages list")
        meant |= of
    ages = [age for age in everybody if age.card.address in meant]
    if len({age.address.lineage for age in ages}) > 1:
        raise UsageError("these are of several lineages", "publish one at a time")
    return everybody, ages


async def _called_back(house: House) -> CalledBack:
    from book.sending import has_memory
    from memory.publishing import CalledBack, called_back
    from memory.store import open_store

    if not has_memory(house):
        return CalledBack()
    async with open_store(house.database_url) as store:
        return await called_back(store)


async def _refused(house: House, exports: Collection[str]) -> set[str]:
    """Return which of these, such as `export 3`, may not be shown to everybody today."""
    from memory.publishing import publishable
    from memory.store import open_store

    refused: set[str] = set()
    if not exports:
        return refused
    async with open_store(house.database_url) as store:
        for what in exports:
            try:
                await publishable(store, int(what.removeprefix("export ")))
            except StoreError:
                refused.add(what)
    return refused


def named(to: str | None, name: str, owner: str | None) -> str:
    """Return NAMESPACE/NAME of what `--to` says; without one, it is the token's owner's.

    Raises UsageError for what can be no name of a repository.
    """
    to = to or name
    repo = to if "/" in to else f"{owner or 'YOU'}/{to}"
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]{0,95}", repo, re.ASCII):
        raise UsageError(f"{to!r} is no name of a repository", "it is like anna/ember, or only ember")
    return repo


def connect(to: str | None, name: str) -> tuple[Hub, str]:
    """Return the Hub and the repository that is meant. Raises HubError without a good token."""
    from training.hub import Hub

    hub = Hub()
    return hub, named(to, name, hub.who())


def teller() -> Callable[[str], None]:
    """Return what tells of progress on stderr."""
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    return lambda line: console.print(line)


def finish(hub: Hub, options: Namespace, receipts: Sequence[Receipt]) -> None:
    """Put what was sent into a collection, if one is named, and say where it is."""
    last = receipts[-1]
    kind: Kind = last.kind
    if options.collection:
        hub.shelve(options.collection, last.repo.partition("/")[0], last.repo, kind)
    if options.json:
        print(json.dumps([receipt.model_dump(mode="json") for receipt in receipts]))
        return
    place = {"model": "", "dataset": "datasets/", "space": "spaces/"}[kind]
    print(f"{last.endpoint}/{place}{last.repo}")


def _list(options: Namespace, house: House) -> int:
    from training.publish import called_back
    from training.receipts import read_receipts

    folders = sorted(path for path in house.checkpoints.glob("*") if path.is_dir())
    receipts = [receipt for folder in (*folders, house.home) for receipt in read_receipts(folder)]
    back = asyncio.run(_called_back(house))
    gone = called_back(list_ages(house.checkpoints, away=True), back.files, back.ages)
    gone |= asyncio.run(_refused(house, {r.what for r in receipts if r.what.startswith("export ")}))
    rows = [(r, r.what in gone or bool(back.files & set(r.files.values()))) for r in receipts]
    if options.json:
        print(json.dumps([r.model_dump(mode="json") | {"called_back": bad} for r, bad in rows]))
        return 0
    if not rows:
        print("nothing was published yet: `selves publish --help`", file=sys.stderr)
    for receipt, bad in rows:
        where = f"{receipt.kind} {receipt.repo} {receipt.revision}"
        note = f"  CALLED BACK: selves publish delete {receipt.repo}" if bad else ""
        print(f"{receipt.what:<28} {where:<44} {receipt.verified_at:%Y-%m-%d} {receipt.commit[:12]}{note}")
    return 0
