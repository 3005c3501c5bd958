"""`selves memory vote|react|ratings`: say what is good, not knowing whose it is; see how ages compare."""

from __future__ import annotations

import argparse
import logging
import sys
from typing import TYPE_CHECKING

from memory import formats, show
from memory.verbs import Verbs, print_value
from selves.cli import count
from selves.errors import UsageError
from selves.settings import House

if TYPE_CHECKING:
    from rich.console import Console

    from memory.ballots import Ballot
    from memory.feedback import Ratings
    from memory.store import Store
    from memory.types import Generation

log = logging.getLogger("memory")

ANSWERS = {"1": "first", "2": "second", "b": "both", "n": "neither"}
QUESTION = "better: 1, 2, b(oth) or n(either)? s(kip), q(uit): "
LINES_SHOWN = 4
VOTER = "cli"


def add_verbs(verbs: Verbs) -> None:
    """Add this file's verbs to `selves memory`."""
    vote = verbs.add(
        "vote",
        _vote,
        "choose between two samples, blind: who said them is not shown",
        "selves memory vote --lineage ember\n  printf '1\\nb\\nq\\n' | selves memory vote --ages",
    )
    vote.add_argument("--lineage", help="only samples of this lineage")
    vote.add_argument(
        "--ages",
        action="store_true",
        help="compare what different ages wrote on the same prompt; rates them, and trains nobody",
    )
    vote.add_argument("--limit", type=count, default=20, metavar="N", help="at most so many (default: 20)")

    react = verbs.add(
        "react",
        _react,
        "like, dislike or report a line of a self, or take that back",
        "selves memory react 42 up",
    )
    react.add_argument(
        "message", type=int, metavar="MESSAGE_ID", help="as `selves memory transcript` shows it"
    )
    react.add_argument(
        "reaction",
        choices=("up", "down", "reported", "none"),
        help="what was reported is in no export; none takes all of it back",
    )

    ratings = verbs.add(
        "ratings", _ratings, "rate ages by the votes between them", "selves memory ratings --lineage ember"
    )
    ratings.add_argument("--lineage", help="only ages of this lineage")


async def _vote(store: Store, _house: House, arguments: argparse.Namespace) -> None:
    from memory.ballots import find_ballots
    from memory.feedback import keep

    ballots = await find_ballots(
        store, lineage=arguments.lineage, between_ages=arguments.ages, limit=arguments.limit
    )
    console = show.make_console()
    votes = 0
    for ballot in ballots:
        if not arguments.json:
            show.write_lines(console, _shown(ballot))
        answer = _ask()
        if answer == "q":
            break
        if answer not in ANSWERS:
            continue
        await keep(
            store,
            "vote",
            ballot.first.id,
            other_id=ballot.second.id,
            value=ANSWERS[answer],
            shown_first=ballot.first.id,
            blind=True,
            via=VOTER,
            key=ballot.key(VOTER),
        )
        votes += 1
        if not arguments.json:
            show.write_lines(console, [f"1 was {_named(ballot.first)}, 2 was {_named(ballot.second)}", ""])
    if arguments.json:
        print(show.to_json({"votes": votes, "shown": len(ballots)}))
    elif not ballots:
        where = "`selves memory register` notes what ages wrote" if arguments.ages else "play a scene"
        show.write_lines(console, [f"there is nothing to vote on: {where}"])


def _ask() -> str:
    """Return what was answered: one of ANSWERS, `s` or `q`; the end of the input quits."""
    while True:
        print(QUESTION, end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        answer = line.strip().lower()[:1]
        if not line:
            print(file=sys.stderr)
            return "q"
        if answer in (*ANSWERS, "s", "q"):
            return answer


def _shown(ballot: Ballot) -> list[str]:
    prompt = ballot.first.prompt
    said = formats.conversation(prompt) if prompt else None
    if said:
        asked = [f"  {message['role']}: {message['content']}" for message in said[-LINES_SHOWN:]]
    else:
        asked = [f"  {prompt.text}"] if prompt else ["  (the prompt is gone)"]
    answers = [f"{number}: {sample.text.strip()}" for number, sample in enumerate(ballot, 1)]
    return [show.visible(line) for line in (*asked, *answers)]


def _named(sample: Generation) -> str:
    return f"{sample.address}{' (posted)' if sample.chosen else ''}"


async def _react(store: Store, _house: House, arguments: argparse.Namespace) -> None:
    from memory.feedback import keep, withdraw

    message = await store.message(arguments.message)
    sample = message.generation_id
    if sample is None:
        raise UsageError(
            f"message {message.id} is no self's, so nobody learns from it",
            "react to a line of a self: `selves memory transcript` shows whose each is",
        )
    liked, reported = f"{VOTER}:reaction:{sample}", f"{VOTER}:reported:{sample}"
    match arguments.reaction:
        case "none":
            await withdraw(store, liked)
            await withdraw(store, reported)
        case "reported":
            await keep(store, "reported", sample, via=VOTER, key=reported)
        case value:
            await keep(store, "reaction", sample, value=value, via=VOTER, key=liked)
    if arguments.json:
        print(show.to_json({"message": message.id, "generation": sample, "reaction": arguments.reaction}))


async def _ratings(store: Store, _house: House, arguments: argparse.Namespace) -> None:
    from memory.feedback import rate

    print_value(arguments, await rate(store, arguments.lineage), _print_ratings)


def _print_ratings(console: Console, rated: Ratings) -> None:
    table = show.make_table("age", "points", "95 % interval", "won", "votes")
    for one in rated.ratings:
        table.add_row(
            one.age,
            f"{one.points:+.0f}",
            f"{one.low:+.0f} to {one.high:+.0f}",
            f"{one.won:g}",
            str(one.votes),
        )
    show.print_table(console, table, "nobody voted between ages yet: `selves memory vote --ages`")
    if rated.shown_first_of:
        first = f"{rated.shown_first_won} of {rated.shown_first_of}"
        log.info(
            "%d votes, %d of them blind; %s decided ones went to what was shown first",
            rated.votes,
            rated.blind,
            first,
        )
