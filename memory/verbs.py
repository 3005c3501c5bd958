"""The verbs of `selves memory`: what each file of commands adds to the parser."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from memory import show
from selves.settings import House

if TYPE_CHECKING:
    from rich.console import Console

    from memory.store import Store

Value = TypeVar("Value")
Action = Callable[["Store", House, argparse.Namespace], Awaitable[None]]
PlainAction = Callable[[House, argparse.Namespace], Awaitable[None]]


class Verbs:
    """Where commands are added."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def add(
        self,
        name: str,
        action: Action,
        purpose: str,
        example: str,
        *,
        creates: Callable[[House], None] | None = None,
    ) -> argparse.ArgumentParser:
        """Add a verb that works on an open store; return its parser, which knows --json already.

        Readers make no empty database. A verb that makes one says with `creates` when there is a reason to:
        it raises when there is none.
        """
        return self.add_plain(name, self._opened(action, creates), purpose, example)

    @staticmethod
    def _opened(action: Action, creates: Callable[[House], None] | None) -> PlainAction:
        async def run(house: House, arguments: argparse.Namespace) -> None:
            from memory.store import open_store

            if creates is not None:
                creates(house)
            async with open_store(house.database_url, create=creates is not None) as store:
                await action(store, house, arguments)

        return run

    def add_plain(
        self, name: str, action: PlainAction, purpose: str, example: str
    ) -> argparse.ArgumentParser:
        """Add a verb that opens the database itself, or does without."""
        made = self._verbs.add_parser(
            name,
            help=purpose,
            description=f"{purpose[0].upper()}{purpose[1:]}.",
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        made.add_argument("--json", action="store_true", help="print JSON, for programs")
        made.set_defaults(action=action)
        return made


def moment(text: str) -> datetime:
    """Read a day or a moment, in UTC unless it says otherwise, for argparse."""
    try:
        read = datetime.fromisoformat(text)
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!r} is no date like 2026-05-01 or 2026-05-01T12:30") from None


@contextmanager
def bars(totals: Mapping[str, int]) -> Iterator[Callable[[str, int], None]]:
    """Progress bars on stderr, when that is a terminal; yields what to tell: which one, and how much more."""
    if not sys.stderr.isatty():
        yield lambda _what, _more: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        tasks = {what: progress.add_task(show.visible(what), total=total) for what, total in totals.items()}
        yield lambda what, more: progress.advance(tasks[what], more) if what in tasks else None


def print_value(arguments: argparse.Namespace, value: Value, write: Callable[[Console, Value], None]) -> None:
    """Print a value of this room as JSON, or in words if --json was not said."""
    if arguments.json:
        print(show.to_json(value))
    else:
        write(show.make_console(), value)
