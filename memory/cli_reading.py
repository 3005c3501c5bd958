"""`selves memory register|transcript|scenes|show|writings|stats`: note the ages on disk, and read."""

from __future__ import annotations

import argparse
import logging
from typing import TYPE_CHECKING

from memory import show
from memory.verbs import Verbs, print_value
from selves.cast import load_cast_or_empty
from selves.cli import count
from selves.errors import StoreError, UsageError
from selves.lineage import list_ages
from selves.settings import House

if TYPE_CHECKING:
    from memory.store import Store
    from memory.types import Scene

log = logging.getLogger("memory")


def add_verbs(verbs: Verbs) -> None:
    """Add this file's verbs to `selves memory`."""
    verbs.add(
        "register",
        _register,
        "note every age on disk, with what it wrote",
        "selves memory register",
        creates=_check_ages,
    )
    transcript = verbs.add(
        "transcript", _transcript, "print a scene", "selves memory transcript first-meeting"
    )
    transcript.add_argument(
        "scene", nargs="?", help="a scene's id, or its name for the newest (default: newest)"
    )
    transcript.add_argument("--last", type=count, metavar="N", help="only the newest N messages")

    scenes = verbs.add("scenes", _scenes, "list scenes", "selves memory scenes --last 10")
    scenes.add_argument("--last", type=count, metavar="N", help="only the newest N scenes")

    shown = verbs.add("show", _show, "show what produced a message", "selves memory show 42")
    shown.add_argument(
        "message", type=int, metavar="MESSAGE_ID", help="as `selves memory transcript` shows it"
    )

    writings = verbs.add(
        "writings",
        _writings,
        "print what selves wrote while they were trained",
        "selves memory writings ember",
    )
    writings.add_argument("lineage", nargs="?", help="only this lineage")

    verbs.add("stats", _stats, "count what is kept", "selves memory stats --json")


def _check_ages(house: House) -> None:
    if not list_ages(house.checkpoints):
        raise StoreError(
            f"there are no ages in {house.checkpoints}",
            "train one first: `selves train run recipes/demo.toml`",
        )


async def _register(store: Store, house: House, arguments: argparse.Namespace) -> None:
    ages = list_ages(house.checkpoints)
    new = [age.card.address for age in ages if await store.register_age(age)]
    known = len(ages) - len(new)
    log.info("%d new ages, %d known before", len(new), known)
    if arguments.json:
        print(show.to_json({"new": new, "known": known}))
    else:
        print("".join(f"{address}\n" for address in new), end="")


async def _transcript(store: Store, house: House, arguments: argparse.Namespace) -> None:
    scene = await _find_scene(store, arguments.scene)
    messages = await store.messages(scene.id, last=arguments.last)
    if arguments.json:
        print(show.to_json({"scene": scene, "messages": messages}))
        return
    cast = load_cast_or_empty(house.cast_path)
    colors = {persona.name: persona.color for persona in cast.persona} if cast else {}
    show.print_transcript(show.make_console(), scene, messages, colors)


async def _find_scene(store: Store, wanted: str | None) -> Scene:
    """The scene with this id, the newest with this name, or the newest. Raises UsageError, StoreError."""
    if wanted is not None and wanted.isdecimal():
        return await store.scene(int(wanted))
    scenes = await store.scenes(name=wanted, last=1)
    if scenes:
        return scenes[0]
    if wanted is None:
        raise StoreError("no scene was played yet", "play one: `selves scene play NAME`")
    raise UsageError(f"no scene called {wanted!r} was played", "`selves memory scenes` lists them")


async def _scenes(store: Store, _house: House, arguments: argparse.Namespace) -> None:
    print_value(arguments, await store.scenes(last=arguments.last), show.print_scenes)


async def _show(store: Store, _house: House, arguments: argparse.Namespace) -> None:
    print_value(arguments, await store.provenance(arguments.message), show.print_provenance)


async def _writings(store: Store, _house: House, arguments: argparse.Namespace) -> None:
    print_value(arguments, await store.writings(arguments.lineage), show.print_writings)


async def _stats(store: Store, _house: House, arguments: argparse.Namespace) -> None:
    print_value(arguments, await store.stats(), show.print_stats)
