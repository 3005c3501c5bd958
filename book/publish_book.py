"""The model is the book: a built book in the repository of its lineage.

    main            its card is title page, contents and text; book.pdf and book.epub lie beside the weights
    base-000400     its card is the chapter about that age, and after it what the age is
    ed-1            a tag: the first edition, as it was

The ages must be there already; only cards, the two files and the manuscript are sent.
"""

from __future__ import annotations

import asyncio
import re
from argparse import Namespace
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from book.chapters import chapter_text, title_page
from book.manuscript import MANUSCRIPT_FILE, Manuscript
from book.passage import plain
from book.publish_cli import connect, finish, named, teller
from book.sending import say_files
from selves.errors import HubError, StoreError, UsageError
from selves.lineage import Age, list_ages
from selves.markdown import inline
from selves.settings import House

if TYPE_CHECKING:
    from book.proof import Proof
    from training.hub import Hub, Receipt

FILES = ("book.pdf", "book.epub", MANUSCRIPT_FILE)
"""The manuscript says what all of it is, and by its hash a book is known that was called back."""
README = "README.md"


def publish_book(options: Namespace, house: House) -> int:
    """Send a book. Raises UsageError if it was not built, HubError also if its ages are not there."""
    folder = _folder(house, options.what)
    proof = check(house, folder)
    manuscript = proof.manuscript
    ages = {age.card.address: age for age in list_ages(house.checkpoints, manuscript.lineage, away=True)}
    ages = {address: age for address, age in ages.items() if address not in proof.called_back}
    files: dict[str, Path | bytes] = {name: folder / name for name in FILES if (folder / name).exists()}
    name, tell = manuscript.lineage, teller()
    if options.dry_run:
        repo = named(options.to, name, None)
        from training.hub import ENDPOINT

        cards = _cards(manuscript, ages, repo, ENDPOINT)
        told = {f"{revision}: {README}": card for revision, card in cards.items()}
        say_files(repo, {**told, **files}, public=False, as_json=options.json)
        return 0
    hub, repo = connect(options.to, name)
    heads = _published(hub, repo, manuscript)
    cards = _cards(manuscript, ages, repo, hub.endpoint, heads)
    for chapter in manuscript.chapters:
        if chapter.opener is not None and chapter.opener.address not in ages:
            tell(f"{chapter.opener.address} is not here any more: its chapter stands in main alone")
    if missing := sorted(cards.keys() - heads):
        raise HubError(
            f"{repo} has no revision {missing[0]}, of which the book has a chapter",
            f"`selves publish ages {manuscript.lineage}` first",
        )
    edition = _tag(manuscript)
    is_named = hub.tagged(repo, "model", edition, {README: cards["main"], **files})
    main = _send(hub, repo, "main", {README: cards.pop("main"), **files}, manuscript)
    _keep(house, main)  # before anything else is there that would have to be called back
    tell(f"{'main':<16} {main.commit[:12]}")
    for revision, card in cards.items():
        sent = _send(hub, repo, revision, {README: card}, manuscript)
        tell(f"{revision:<16} {sent.commit[:12]}")
    if not is_named:
        hub.tag(main, edition)
        tell(f"{edition} is {repo} at {main.commit[:12]}")
    finish(hub, options, [main])
    return 0


def _tag(manuscript: Manuscript) -> str:
    """Return the name of its edition on the Hub. Raises UsageError where the outline's is no name."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]{0,60}", manuscript.edition):
        raise UsageError(
            f"the edition {manuscript.edition!r} makes no tag", 'say edition = "2" or the like in the outline'
        )
    return f"ed-{manuscript.edition}"


def check(house: House, folder: Path) -> Proof:
    """Return what a built book holds, if it is as memory has it and may be published today.

    Raises StoreError if not, or if there is no memory to ask.
    """
    from book.proof import prove

    proof = asyncio.run(prove(house, folder / MANUSCRIPT_FILE))
    if wrong := proof.problems:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise StoreError(
            f"the book in {folder} may not be published as it is: {wrong[0]}{more}",
            f"see `selves book verify {folder}`, then build it anew",
        )
    return proof


def _folder(house: House, what: str) -> Path:
    for folder in (Path(what), house.home / "books" / what):
        if (folder / MANUSCRIPT_FILE).is_file():
            return folder
    raise UsageError(
        f"there is no built book {what}", f"build it first: `selves book build {Path(what).name}`"
    )


def _published(hub: Hub, repo: str, manuscript: Manuscript) -> set[str]:
    """Return the revisions there are. Raises HubError unless the repository holds this lineage's ages."""
    from training.publish import read_manifest

    there = read_manifest(hub, repo, "model", "ages") if hub.exists(repo, "model") else None
    if there is None or there.get("lineage") != manuscript.lineage:
        raise HubError(
            f"{repo} does not hold the ages of {manuscript.lineage}",
            f"`selves publish ages {manuscript.lineage}` first: the book goes where its ages are",
        )
    return {"main", *(known["revision"] for known in there["ages"].values())}


def _cards(
    manuscript: Manuscript,
    ages: dict[str, Age],
    repo: str,
    endpoint: str,
    there: Collection[str] | None = None,
) -> dict[str, bytes]:
    """Return revision -> card, `main` last. Two chapters about one age stand in one card.

    `there` are the revisions on the Hub, if that is known: the newest of them is how `main` is loaded.
    """
    from training.cards import facts, head, how_to_load
    from training.publish import CHAPTER

    mark = f"{CHAPTER}{manuscript.identifier} -->"
    chapters: dict[str, list[str]] = {}
    for number, chapter in enumerate(manuscript.chapters, 1):
        if chapter.opener is not None and chapter.opener.address in ages:
            chapters.setdefault(chapter.opener.address, []).append(chapter_text(chapter, number))
    cards: dict[str, bytes] = {}
    for address, texts in chapters.items():
        card = ages[address].card
        about = f"## This age\n\n{facts(card)}"
        front = head(card, repo, tags=["book"])
        whole_book = f"*From [{inline(plain(manuscript.title))}]({endpoint}/{repo})*"
        parts = [front, mark, whole_book, *texts, about, how_to_load(card, repo)]
        cards[ages[address].address.age] = ("\n\n".join(parts) + "\n").encode()
    sent = [age.card for age in ages.values() if there is None or age.address.age in there]
    newest = sent[-1] if sent else None
    front = head(newest, repo, tags=["book"]) if newest else ""
    load = how_to_load(newest, repo) if newest else ""
    whole = [front, mark, title_page(manuscript, f"{endpoint}/{repo}"), load]
    cards["main"] = ("\n\n".join(filter(None, whole)) + "\n").encode()
    return cards


def _send(
    hub: Hub, repo: str, revision: str, files: dict[str, Path | bytes], manuscript: Manuscript
) -> Receipt:
    from training.hub import Parcel

    title = f"{plain(manuscript.title)}, {manuscript.edition or 'an edition'}"
    return hub.send(Parcel(repo, "model", revision, files, title), f"book {manuscript.lineage}")


def _keep(house: House, receipt: Receipt) -> None:
    from training.receipts import add_receipt

    add_receipt(house.home, receipt)
