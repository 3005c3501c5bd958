"""`selves memory pick|picks|visit`: what an editor marks, and what an editor has read."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from memory.cli_find import EDITOR
from memory.verbs import Verbs, print_value
from selves.cli import count
from selves.errors import UsageError
from selves.settings import House

if TYPE_CHECKING:
    from memory.curate import Mark
    from memory.store import Store

TEXT_HELP = "a message's id, or g and a sample's (g7) for one that was not posted"


def add_verbs(verbs: Verbs) -> None:
    """Add this file's verbs to `selves memory`."""
    pick = verbs.add(
        "pick",
        _pick,
        "star, quote, tag or note a text; with nothing more said, star it",
        "selves memory pick 42 --quote 'I am the lamp'",
    )
    pick.add_argument("text", nargs="?", metavar="MESSAGE_ID", help=TEXT_HELP)
    what = pick.add_mutually_exclusive_group()
    what.add_argument("--quote", metavar="WORDS", help="quote these words of it")
    what.add_argument("--span", metavar="START:END", help="quote these characters of it, counted from 0")
    what.add_argument("--tag", help="give it a tag")
    what.add_argument("--note", help="write something about it")
    what.add_argument("--retract", type=int, metavar="PICK", help="end a pick; nothing is ever deleted")
    _add_editor(pick)

    picks = verbs.add(
        "picks",
        _picks,
        "list picks, with who wrote the text and of how many samples it was the one",
        "selves memory picks --scene 3",
    )
    picks.add_argument("--kind", choices=("star", "quote", "tag", "note"), help="only picks of this kind")
    picks.add_argument("--tag", help="only texts with this tag")
    picks.add_argument("--scene", type=int, metavar="SCENE_ID", help="only of this scene, and its figures")
    picks.add_argument("--by", metavar="NAME", help="only this editor's")
    picks.add_argument("--last", type=count, metavar="N", help="only the newest N")

    visit = verbs.add(
        "visit",
        _visit,
        "note that messages were read, so that `search --unvisited` leaves them out",
        "selves memory visit --scene 3",
    )
    visit.add_argument("message", nargs="*", type=int, metavar="MESSAGE_ID")
    visit.add_argument("--scene", type=int, metavar="SCENE_ID", help="all messages of this scene")
    visit.add_argument("--undo", action="store_true", help="note that they are to be read again")
    _add_editor(visit)


def _add_editor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--editor", default=EDITOR, metavar="NAME", help=f"who does it (default: {EDITOR})")


async def _pick(store: Store, _house: House, arguments: argparse.Namespace) -> None:
    from memory import curate
    from memory.show_found import print_pick

    if arguments.retract is not None:
        made = await curate.retract(store, arguments.retract, editor=arguments.editor)
    else:
        message_id, generation_id = _read_text(arguments.text)
        made = await curate.pick(
            store,
            _mark(arguments),
            editor=arguments.editor,
            message_id=message_id,
            generation_id=generation_id,
        )
    print_value(arguments, made, print_pick)


def _mark(arguments: argparse.Namespace) -> Mark:
    from memory.curate import Mark

    if arguments.quote is not None:
        return Mark("quote", quote=arguments.quote)
    if arguments.span is not None:
        start, colon, end = arguments.span.partition(":")
        if not (colon and start.isdecimal() and end.isdecimal()):
            raise UsageError(f"{arguments.span!r} is no span", "write it like 10:52, counted from 0")
        return Mark("quote", span=(int(start), int(end)))
    if arguments.tag is not None:
        return Mark("tag", arguments.tag)
    return Mark("star") if arguments.note is None else Mark("note", arguments.note)


def _read_text(name: str | None) -> tuple[int | None, int | None]:
    """Read `42` as a message's id and `g7` as a sample's. Raises UsageError."""
    digits = (name or "").removeprefix("g")
    if not digits.isdecimal() or len(digits) > 18:
        raise UsageError("which text?" if name is None else f"{name!r} names no text", f"give {TEXT_HELP}")
    return (None, int(digits)) if name and name.startswith("g") else (int(digits), None)


async def _picks(store: Store, _house: House, arguments: argparse.Namespace) -> None:
    from memory import curate, show
    from memory.show_found import print_figures, print_picks

    found = await curate.picks(
        store,
        kind=arguments.kind,
        tag=arguments.tag,
        editor=arguments.by,
        scene_id=arguments.scene,
        last=arguments.last,
    )
    figures = None if arguments.scene is None else await curate.scene_figures(store, arguments.scene)
    if arguments.json:
        print(show.to_json({"picks": found, "scene": figures}))
        return
    console = show.make_console()
    print_picks(console, found)
    if figures is not None:
        print_figures(console, await store.scene(arguments.scene), figures)


async def _visit(store: Store, _house: House, arguments: argparse.Namespace) -> None:
    from memory import curate, show

    ids = list(arguments.message)
    if arguments.scene is not None:
        await store.scene(arguments.scene)
        ids += [message.id for message in await store.messages(arguments.scene)]
    if not ids:
        raise UsageError("which messages?", "give their ids, or --scene SCENE_ID")
    act = curate.unvisit if arguments.undo else curate.visit
    changed = await act(store, ids, editor=arguments.editor)
    if arguments.json:
        print(show.to_json({"changed": changed}))
    else:
        print(f"{changed} {'to be read again' if arguments.undo else 'newly read'}")
