"""`selves bots`: run the selves on Discord, check that they can, and see what will be played when."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING

from selves.cast import Cast, load_cast
from selves.cli import INTERRUPTED, make_parser
from selves.errors import UsageError
from selves.settings import House

if TYPE_CHECKING:
    from rich.console import Console

    from bots.checkup import Finding

NEED_DISCORD = ("setup", "run", "check", "schedule")
PACKAGES = ("discord", "apscheduler")
"""What those verbs import; the others work without them."""

EXAMPLES = """
selves bots setup               from nothing to selves on Discord, step by step
selves bots rehearse            the whole cast in this terminal, without Discord
selves bots check               are the tokens, intents and permissions right? and the invite links
selves bots run                 bring everybody in the cast who has a token to Discord, until Ctrl-C
selves bots run --only Ember    only this self; others may run in other processes on the same database
selves bots status              who is online, in every process, and what is wrong
selves bots schedule --next 20  which scenes will be played by themselves
"""


def main(argv: Sequence[str]) -> int | None:
    """Run `selves bots`."""
    parser = make_parser(
        "selves bots", "Run the selves on Discord; docs/discord.md shows how to begin.", EXAMPLES
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verbs.add_parser("setup", help="make accounts, step by step, and choose where the selves live")
    rehearse = verbs.add_parser(
        "rehearse", help="everybody and every scene in this terminal, shortened, without Discord"
    )
    rehearse.add_argument("scenes", nargs="*", metavar="SCENE", help="only these (default: all)")
    rehearse.add_argument("--turns", type=int, default=4, metavar="N", help="at most, of each (default: 4)")
    run = verbs.add_parser("run", help="bring the selves to Discord, until Ctrl-C")
    run.add_argument(
        "--only",
        metavar="NAME,NAME",
        default="",
        help="only these selves of the cast; `registrar` is the bot that listens",
    )
    status = verbs.add_parser("status", help="show who is online, in every process on this database")
    status.add_argument("--json", action="store_true", help="as JSON")
    check = verbs.add_parser("check", help="check tokens, intents and permissions; print invite links")
    check.add_argument("--json", action="store_true", help="as JSON")
    schedule = verbs.add_parser("schedule", help="show which scenes will be played, and when")
    schedule.add_argument("--next", type=int, default=10, metavar="N", help="how many (default: 10)")
    schedule.add_argument("--json", action="store_true", help="as JSON")
    args = parser.parse_args(argv)
    if args.verb in NEED_DISCORD and (missing := [name for name in PACKAGES if find_spec(name) is None]):
        raise UsageError(
            f"`selves bots {args.verb}` needs {' and '.join(missing)}", 'pip install "selves[discord]"'
        )
    house = House.from_environment()
    if args.verb == "setup":
        return _setup(house)
    cast = load_cast(house.cast_path)
    match args.verb:
        case "run":
            names = [name.strip() for name in args.only.split(",") if name.strip()]
            only = [n if n == "registrar" else cast.find_persona(n).name for n in names]
            return asyncio.run(_run(house, only))
        case "rehearse":
            return _rehearse(house, cast, args.scenes, args.turns)
        case "status":
            return asyncio.run(_status(house, as_json=args.json))
        case "check":
            return _check(house, cast, as_json=args.json)
        case _:
            return _schedule(cast, args.next, as_json=args.json)


def _hide(tokens: Mapping[str, str]) -> None:
    """Keep tokens out of the log, whoever writes it."""
    from bots.discord_api import HideSecrets

    for handler in logging.getLogger().handlers:
        handler.addFilter(HideSecrets(tokens.values()))
    # discord.py tells much at INFO that only matters to its authors
    logging.getLogger("discord").setLevel(logging.WARNING)


async def _run(house: House, only: Sequence[str]) -> int:
    from bots.discord_api import Endpoints, pointed_at
    from bots.fleet import all_of, open_fleet
    from bots.reading import Company, Reader, read_company

    reader = Reader(house, read_company(house))
    _hide(reader.company.tokens)
    this = asyncio.current_task()
    assert this is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, this.cancel)
    try:
        with pointed_at(Endpoints.from_environment(os.environ)):
            async with open_fleet(house, reader.company, only, reader.look_now) as fleet:

                async def take(company: Company) -> None:
                    _hide(company.tokens)
                    await fleet.take(company)

                await all_of([fleet.run, lambda: reader.follow(take)])
    except asyncio.CancelledError:
        print("selves: good night; what was kept and not yet posted is posted next time", file=sys.stderr)
    return 0


async def _status(house: House, *, as_json: bool) -> int:
    from bots.status import lines, read_status
    from memory.show import to_json
    from memory.store import open_store

    async with open_store(house.database_url, create=False) as store:
        status = await read_status(store)
    if as_json:
        print(to_json({**status._asdict(), "is_well": status.is_well}))
    else:
        console = _console()
        for style, line in lines(status):
            console.print(line, style=style)
    return int(not status.is_well)


def _rehearse(house: House, cast: Cast, scenes: Sequence[str], turns: int) -> int:
    from bots.rehearse import rehearse

    if turns < 1:
        raise UsageError("--turns must be at least 1", "such as --turns 4")
    return asyncio.run(rehearse(house, cast, scenes, turns))


def _setup(house: House) -> int:
    from bots.discord_api import Endpoints, pointed_at
    from bots.setup import Setup

    if not sys.stdin.isatty():
        raise UsageError("setup asks questions", "run it in a terminal; docs/discord.md does it by hand")
    logging.getLogger("discord").setLevel(logging.ERROR)
    endpoints = Endpoints.from_environment(os.environ)
    try:
        with pointed_at(endpoints):
            return Setup(house, endpoints).walk()
    except (EOFError, KeyboardInterrupt):
        print("\nselves: what was accepted is kept; `selves bots setup` goes on there", file=sys.stderr)
        return INTERRUPTED


def _check(house: House, cast: Cast, *, as_json: bool) -> int:
    from bots.checkup import examine
    from bots.discord_api import Endpoints, pointed_at
    from bots.setup import known_tokens

    tokens = known_tokens(cast, house, os.environ)
    _hide(tokens)
    endpoints = Endpoints.from_environment(os.environ)
    with pointed_at(endpoints):
        findings = asyncio.run(examine(cast, tokens, endpoints))
    if as_json:
        print(json.dumps([f._asdict() for f in findings], indent=2))
    else:
        _show(findings)
    return int(any(f.problems for f in findings))


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True)


def _show(findings: Sequence[Finding]) -> None:
    console = _console()
    for finding in findings:
        sign, style = ("✗", "red") if finding.problems else ("✓", "green")
        console.print(f"{sign} {finding.name}", style=style)
        for problem in finding.problems:
            console.print(f"    {problem}")
        if finding.invite:
            console.print(f"    invite: {finding.invite}", style="dim")


def _schedule(cast: Cast, count: int, *, as_json: bool) -> int:
    from bots.schedule import upcoming

    found = upcoming(cast.schedule, datetime.now(UTC), count)
    if as_json:
        entries = [
            {"at": o.at.isoformat(), "scene": o.schedule.scene, "channel": str(o.schedule.channel)}
            for o in found
        ]
        print(json.dumps(entries, indent=2))
    elif not found:
        print("nothing is scheduled; a [[schedule]] table in the cast file says what is played when")
    for occurrence in () if as_json else found:
        schedule = occurrence.schedule
        moment = f"{occurrence.at:%a %d %b %Y %H:%M} {schedule.timezone}"
        print(f"{moment}  {schedule.scene}  in channel {schedule.channel}")
    return 0
