"""`selves memory`: read what was said, and what produced it.

Results go to stdout, `--json` where a program may read them.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from memory import show
from selves.cast import load_cast_or_empty
from selves.cli import make_parser
from selves.errors import StoreError, UsageError
from selves.lineage import list_ages
from selves.settings import House

if TYPE_CHECKING:
    from rich.console import Console

    from memory.store import Store
    from memory.types import Scene

Value = TypeVar("Value")
Action = Callable[["Store", House, argparse.Namespace], Awaitable[None]]

log = logging.getLogger("memory")


def main(argv: Sequence[str]) -> int:
    """Run `selves memory VERB`. Raises SelvesError."""
    arguments = _parser().parse_args(argv)
    house = House.from_environment()
    asyncio.run(_run(arguments, house))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        "selves memory",
        "Read what was said: transcripts, writings, and what produced each line.",
        """selves memory register               note every age on disk, and what it wrote
        selves memory transcript             the newest scene, in colour
        selves memory transcript 3 --last 20
        selves memory show 42                which weights, prompt, seed and tokens made message 42
        selves memory writings ember --json""",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, action: Action, purpose: str, example: str) -> argparse.ArgumentParser:
        made = verbs.add_parser(
            name,
            help=purpose,
            description=f"{purpose[0].upper()}{purpose[1:]}.",
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        made.add_argument("--json", action="store_true", help="print JSON, for programs")
        made.set_defaults(action=action)
        return made

    verb("register", _register, "note every age on disk, with what it wrote", "selves memory register")

    transcript = verb("transcript", _transcript, "print a scene", "selves memory transcript first-meeting")
    transcript.add_argument(
        "scene", nargs="?", help="a scene's id, or its name for the newest (default: newest)"
    )
    transcript.add_argument("--last", type=_count, metavar="N", help="only the newest N messages")

    scenes = verb("scenes", _scenes, "list scenes", "selves memory scenes --last 10")
    scenes.add_argument("--last", type=_count, metavar="N", help="only the newest N scenes")

    show = verb("show", _show, "show what produced a message", "selves memory show 42")
    show.add_argument(
        "message", type=int, metavar="MESSAGE_ID", help="as `selves memory transcript` shows it"
    )

    writings = verb(
        "writings",
        _writings,
        "print what selves wrote while they were trained",
        "selves memory writings ember",
    )
    writings.add_argument("lineage", nargs="?", help="only this lineage")

    verb("stats", _stats, "count what is kept", "selves memory stats --json")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


async def _run(arguments: argparse.Namespace, house: House) -> None:
    from memory.store import open_store

    action: Action = arguments.action
    registering = action is _register
    if registering and not list_ages(house.checkpoints):
        raise StoreError(
            f"there are no ages in {house.checkpoints}",
            "train one first: `selves train run recipes/demo.toml`",
        )
    async with open_store(house.database_url, create=registering) as store:
        await action(store, house, arguments)


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
    _print(arguments, await store.scenes(last=arguments.last), show.print_scenes)


async def _show(store: Store, _house: House, arguments: argparse.Namespace) -> None:
    _print(arguments, await store.provenance(arguments.message), show.print_provenance)


async def _writings(store: Store, _house: House, arguments: argparse.Namespace) -> None:
    _print(arguments, await store.writings(arguments.lineage), show.print_writings)


async def _stats(store: Store, _house: House, arguments: argparse.Namespace) -> None:
    _print(arguments, await store.stats(), show.print_stats)


def _print(arguments: argparse.Namespace, value: Value, write: Callable[[Console, Value], None]) -> None:
    if arguments.json:
        print(show.to_json(value))
    else:
        write(show.make_console(), value)
