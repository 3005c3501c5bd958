"""`selves scene`: let the cast talk in the terminal, or write letters; what was interrupted goes on."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import uuid
from collections.abc import Sequence

from selves.cast import Cast, SceneSpec, load_cast
from selves.cli import INTERRUPTED, make_parser
from selves.settings import House

log = logging.getLogger("selves.scene")

ANY_NUMBER = 1_000_000

EXAMPLES = """
selves scene list                                  the scenes of the cast file
selves scene play first-meeting                    play one
selves scene play first-meeting --seed 7           the same dice every time
selves scene play letter-home --key monday         play it once; after Ctrl-C the same command goes on
selves scene play first-meeting --json > talk.json
selves scene kinds                                 what kinds of scenes there are
selves scene letters                               letters to other ages, and which were answered
selves scene letters --deliver                     let those that have arrived be answered
"""


def main(argv: Sequence[str]) -> int | None:
    """Run `selves scene`."""
    parser = make_parser("selves scene", "Let selves talk with each other, or write letters.", EXAMPLES)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    play = verbs.add_parser(
        "play", help="play a scene of the cast file", description="Play a scene of the cast file."
    )
    play.add_argument("name", help="the scene's name in the cast file")
    play.add_argument(
        "--key",
        help="play it once under this name: interrupted, the same command goes on; ended, it is shown again",
    )
    play.add_argument("--once", action="store_true", help="play it once ever; short for --key once")
    play.add_argument("--seed", type=int, help="draw the same dice as another time with this number")
    play.add_argument("--json", action="store_true", help="write the scene as JSON when it has ended")
    scenes = verbs.add_parser("list", help="list the scenes of the cast file")
    scenes.add_argument("--json", action="store_true", help="as JSON")
    kinds = verbs.add_parser("kinds", help="say what kinds of scenes there are")
    kinds.add_argument("--json", action="store_true", help="as JSON")
    letters = verbs.add_parser(
        "letters",
        help="letters to other ages; deliver them",
        description="List letters that went to a future self or to an age, from scenes and from diaries.",
    )
    letters.add_argument(
        "--deliver",
        metavar="LETTER",
        nargs="?",
        const=0,
        type=int,
        help="let the letter with this number be answered, or all whose age is there",
    )
    letters.add_argument("--json", action="store_true", help="as JSON")
    args = parser.parse_args(argv)
    if args.verb == "kinds":
        _kinds(as_json=args.json)
        return 0
    house = House.from_environment()
    cast = load_cast(house.cast_path)
    if args.verb == "list":
        _list(cast, as_json=args.json)
        return 0
    if args.verb == "letters":
        from bots.letters_cli import letters as run_letters

        return asyncio.run(run_letters(house, cast, args.deliver, as_json=args.json))
    key = args.key or ("once" if args.once else uuid.uuid4().hex[:8])
    try:
        return asyncio.run(_play(house, cast, cast.find_scene(args.name), key, args.seed, as_json=args.json))
    except KeyboardInterrupt:
        seed = "" if args.seed is None else f" --seed {args.seed}"
        print(
            "\nselves: interrupted; what was said is kept. Go on with\n"
            f"  selves scene play {args.name} --key {key}{seed}",
            file=sys.stderr,
        )
        return INTERRUPTED


def _list(cast: Cast, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([scene.model_dump(mode="json") for scene in cast.scene], indent=2))
        return
    if not cast.scene:
        print("the cast file has no [[scene]] yet")
    for scene in cast.scene:
        print(f"{scene.name}  ({scene.kind}: {', '.join(scene.cast)})")
        if scene.premise:
            print(f"    {scene.premise}")


def _kinds(*, as_json: bool) -> None:
    from bots.kinds import KINDS

    # the house plays answers by itself
    known = {name: kind.what for name, kind in KINDS.items() if name != "answer"}
    if as_json:
        print(json.dumps(known, indent=2))
        return
    for name, what in known.items():
        print(f"{name:12}  {what}")


async def _play(
    house: House, cast: Cast, spec: SceneSpec, key: str, seed: int | None, *, as_json: bool
) -> int:
    from bots import scene
    from bots.terminal import TerminalChannel, make_console
    from bots.verdict import outcome_of
    from memory.show import to_json
    from memory.store import open_store
    from selves.lineage import list_ages
    from serving.address import serving_address
    from serving.voice import Voice

    # with --json, stdout is for the program that reads it
    channel = TerminalChannel(cast.persona, make_console(stderr=as_json))
    personas = scene.find_cast(cast, spec, age_restricted=True)
    key = f"{spec.name}/{key}"
    async with open_store(house.database_url) as store:
        for age in list_ages(house.checkpoints):
            await store.register_age(age)
        played = next((known for known in await store.scenes() if known.key == key), None)
        said = [m for m in await store.messages(played.id) if m.status != "pending"] if played else []
        if played is None or played.status == "open":
            async with (
                serving_address(house, cast, on_wait=log.info) as url,
                Voice(url, house.api_key) as voice,
            ):
                await scene.find_voices(voice, scene.players(spec, personas))
                channel.open(spec, personas, said)
                # whoever started this in a terminal is there to stop it: only the cast file's limits hold
                played = await scene.play(
                    store,
                    voice,
                    channel,
                    cast,
                    spec,
                    key=key,
                    seed=seed,
                    max_without_human=ANY_NUMBER,
                    age_restricted=True,
                )
        else:
            channel.open(spec, personas, said)
        outcome = await outcome_of(store, played.id)
        channel.close(played.stop_reason, outcome.get("winner"))
        if as_json:
            messages = await store.messages(played.id)
            print(to_json({"scene": played, "outcome": dict(outcome), "messages": messages}))
    return 1 if played.stop_reason == "engine" else 0
