"""`selves memory search|more|score`: finding what was said, and the figures to sort it by."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from memory.verbs import Verbs, bars, moment, print_value
from selves.cast import load_cast_or_empty
from selves.cli import count
from selves.settings import House

if TYPE_CHECKING:
    from memory.filters import Filters
    from memory.search import Page
    from memory.store import Store

log = logging.getLogger("memory")

EDITOR = "editor"
"""Who reads and picks, unless somebody else is named."""
KINDS = (
    "line",
    "letter",
    "diary",
    "continuation",
    "letter-past",
    "portrait",
    "poem",
    "dream",
    "last-words",
    "candidate",
    "any",
)
ORIGINS = ("self", "operator", "parlor", "discord", "interaction", "selfhosted", "imported")
SORTS = ("newest", "best", "novelty", "surprise", "zlib", "repeats", "copied")


def add_verbs(verbs: Verbs) -> None:
    """Add this file's verbs to `selves memory`."""
    found = verbs.add(
        "search",
        _search,
        'find what was said: words, "words in a row", prefix*, this OR that, -without',
        "selves memory search 'lamp \"old moon\" -rain' --lineage ember --sort novelty",
    )
    found.add_argument(
        "words",
        nargs="*",
        help="in one pair of quotes, since -word looks like an option; without words, all that passes",
    )
    found.add_argument(
        "--sort",
        choices=SORTS,
        default="newest",
        help="newest first, or the newest 1000 found by how well they fit or by a score, the better first",
    )
    found.add_argument("--after", metavar="PLACE", help="go on where the page before ended, as it says")
    found.add_argument("--no-fold", action="store_true", help="show near-duplicates too")
    _add_filters(found)

    more = verbs.add(
        "more", _more, "find what shares a message's rarest words", "selves memory more 42 --people"
    )
    more.add_argument("message", type=int, metavar="MESSAGE_ID")
    _add_filters(more)

    scored = verbs.add(
        "score",
        _score,
        "reckon how much samples repeat themselves, are copied, or say nothing new",
        "selves memory score --against corpus.txt",
    )
    scored.add_argument(
        "--against",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="text that selves may have learned by heart, such as what they were trained on",
    )
    scored.add_argument("--again", action="store_true", help="reckon those too that have scores")


def _add_filters(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("filters").add_argument
    add("--age", metavar="ADDRESS", help="only this age, as in ember@base-000400")
    add("--lineage", help="only this lineage")
    add("--stage", help="only ages of this stage: base, settled, chat ...")
    add("--scene", type=int, metavar="SCENE_ID", help="only this scene")
    add("--scene-kind", metavar="KIND", help="only scenes of this kind: conversation, letter ...")
    add("--speaker", metavar="NAME", help="only what this one said")
    add("--since", type=moment, metavar="DATE", help="from this day or moment on (UTC unless it says)")
    add("--until", type=moment, metavar="DATE", help="up to this day or moment")
    add(
        "--kind",
        action="append",
        metavar="KIND",
        help=f"{', '.join(KINDS)}, or one of your own; may be said again (default: all but candidates)",
    )
    add("--origin", choices=ORIGINS, help="only words that come from there")
    add("--people", action="store_true", help="open and look through people's words too")
    add("--starred", action="store_true", help="only what an editor starred")
    add("--tag", help="only what an editor gave this tag")
    add("--unvisited", action="store_true", help="only lines that were not read yet (`selves memory visit`)")
    add("--editor", default=EDITOR, metavar="NAME", help=f"who has not read them (default: {EDITOR})")
    add(
        "--score",
        action="append",
        default=[],
        metavar="BOUND",
        help="only samples with such a score, as in 'copied<=0.2'; may be said again",
    )
    add("--limit", type=count, default=20, metavar="N", help="show so many (default: 20)")


def _filters(arguments: argparse.Namespace) -> Filters:
    from memory.filters import KINDS as ALL
    from memory.filters import SAID, Filters
    from memory.scores import Bound
    from selves.lineage import Address

    wanted = arguments.kind or SAID
    return Filters(
        age=None if arguments.age is None else str(Address.parse(arguments.age)),
        lineage=arguments.lineage,
        stage=arguments.stage,
        scene_kind=arguments.scene_kind,
        scene=arguments.scene,
        speaker=arguments.speaker,
        since=arguments.since,
        until=arguments.until,
        kinds=ALL if "any" in wanted else tuple(wanted),
        origin=arguments.origin,
        people=arguments.people,
        starred=arguments.starred,
        tag=arguments.tag,
        unvisited_by=arguments.editor if arguments.unvisited else None,
        scores=tuple(map(Bound.read, arguments.score)),
    )


async def _search(store: Store, house: House, arguments: argparse.Namespace) -> None:
    from memory.search import search

    page = await search(
        store,
        " ".join(arguments.words),
        _filters(arguments),
        limit=arguments.limit,
        after=arguments.after,
        sort=arguments.sort,
        folded=not arguments.no_fold,
    )
    _print(house, arguments, page)


async def _more(store: Store, house: House, arguments: argparse.Namespace) -> None:
    from memory.search import more_like

    page = await more_like(store, arguments.message, _filters(arguments), limit=arguments.limit)
    _print(house, arguments, page)


def _print(house: House, arguments: argparse.Namespace, page: Page) -> None:
    from memory.show_found import print_page

    cast = None if arguments.json else load_cast_or_empty(house.cast_path)
    colors = {persona.name: persona.color for persona in cast.persona} if cast else {}
    print_value(arguments, page, lambda console, value: print_page(console, value, colors))
    if page.opened:
        log.info("%d of people's lines were opened and looked through", page.opened)
    if page.next is not None:
        log.info("there may be more: the same command with --after %s", page.next)


async def _score(store: Store, _house: House, arguments: argparse.Namespace) -> None:
    from memory import show
    from memory.scoring import count_samples, score

    bytes_in_files = _sizes(arguments.against)
    totals = {**bytes_in_files, "samples": await count_samples(store)}
    with bars(totals) as on_progress:
        done = await score(store, against=arguments.against, again=arguments.again, on_progress=on_progress)
    if arguments.json:
        print(show.to_json(done))
    else:
        print(f"{done.kept:,} scores of {done.samples:,} samples")


def _sizes(files: list[Path]) -> dict[str, int]:
    """How large each file is; one that is not there is named where it is read."""
    return {path.name: path.stat().st_size for path in files if path.exists()}
