"""`selves memory forget|expire|person|consent|permission`: people, what they allowed, and taking it back."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from memory import show
from memory.verbs import Verbs, print_value
from selves.errors import UsageError
from selves.lineage import DIARY_FILE, Address, list_ages
from selves.settings import House

if TYPE_CHECKING:
    from rich.console import Console

    from memory.consent import Given, Permission
    from memory.forget import Forgotten
    from memory.person_export import PersonSummary
    from memory.spoilt import SpoiltExport
    from memory.store import Store

log = logging.getLogger("memory")

PURPOSES = ("context", "store", "diary", "publish", "train")
PLATFORMS = ("discord", "selfhosted", "parlor")
PERSON = (
    "as a transcript shows them (guest-3), a name in the parlor, or platform:id (discord:80351110224678912)"
)


def add_verbs(verbs: Verbs) -> None:
    """Add this file's verbs to `selves memory`."""
    forget = verbs.add(
        "forget",
        _forget,
        "forget a person: their words, wherever they went, and who they were",
        "selves memory forget guest-3 --dry-run",
    )
    forget.add_argument("person", metavar="PERSON", help=PERSON)
    forget.add_argument("--dry-run", action="store_true", help="only say what it would take; change nothing")

    verbs.add("expire", _expire, "erase people's words whose time is up", "selves memory expire")

    person = verbs.add(
        "person",
        _person,
        "list people, or print all that is kept of one as JSON",
        "selves memory person export guest-3 > guest-3.json",
    )
    person.add_argument("what", choices=("list", "export"))
    person.add_argument("person", nargs="?", metavar="PERSON", help=PERSON)

    consent = verbs.add(
        "consent",
        _consent,
        "show what a person allowed, or note what they said",
        "selves memory consent guest-3 publish --allow --notice 2026-05",
    )
    consent.add_argument("person", metavar="PERSON", help=PERSON)
    _add_decision(consent)
    consent.add_argument("--notice", metavar="VERSION", help="of the privacy notice that the person saw")
    consent.add_argument("--via", default="cli", help="where they said it (default: cli)")

    permission = verbs.add(
        "permission",
        _permission,
        "show what platforms permit, or note what one said",
        'selves memory permission discord train --allow --statement "letter of 1 May, in legal/discord.pdf"',
    )
    permission.add_argument("platform", nargs="?", metavar="PLATFORM", help="such as discord")
    _add_decision(permission)
    permission.add_argument("--statement", help="where and how it was said, so that it can be checked")


def _add_decision(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("purpose", nargs="?", choices=PURPOSES, help="what for: " + ", ".join(PURPOSES))
    said = parser.add_mutually_exclusive_group()
    said.add_argument("--allow", dest="granted", action="store_true", default=None)
    said.add_argument("--refuse", dest="granted", action="store_false", default=None)


async def _forget(store: Store, house: House, arguments: argparse.Namespace) -> None:
    from memory.forget import forget

    with _steps() as on_step:
        here = [age.card for age in list_ages(house.checkpoints, away=True)]
        report = await forget(store, arguments.person, dry_run=arguments.dry_run, here=here, on_step=on_step)
    diaries = [_diary_of(house, address) for address in report.diaries]
    if arguments.json:
        print(show.to_json({"forgotten": report, "diary_files": diaries}))
    else:
        _print_forgotten(show.make_console(), report, diaries)


def _diary_of(house: House, address: str) -> str:
    parsed = Address.parse(address)
    return str(house.checkpoints / parsed.lineage / parsed.age / DIARY_FILE)


def _print_forgotten(console: Console, report: Forgotten, diaries: Sequence[str]) -> None:
    would = "would be " if report.dry_run else ""
    facts = [
        ("person", f"{report.person} {would or 'is '}forgotten"),
        ("messages", f"{report.messages} {would}erased"),
        ("prompts", f"{report.prompts} that held their words {would}erased"),
        ("quotations", f"{report.samples} samples and {report.lines} lines {would}erased"),
        ("picks", f"{report.picks} {would}retracted"),
        ("feedback", f"{report.feedback} {would}nobody's"),
    ]
    facts += _spoilt(report.exports, would)
    facts += [("trained on it", address) for address in report.checkpoints]
    facts += [("  look into", name) for name in diaries if Path(name).exists()]
    show.print_facts(console, facts)


def _spoilt(exports: Sequence[SpoiltExport], would: str = "") -> list[tuple[str, str]]:
    """Exports that are called back, and which files only the operator can delete."""
    facts: list[tuple[str, str]] = []
    for export in exports:
        facts.append(("export", f"{export.id} ({export.format}, to {export.purpose}) {would}invalid"))
        facts += [("  delete", name) for name in export.files]
    return facts


async def _expire(store: Store, _house: House, arguments: argparse.Namespace) -> None:
    from memory.spoilt import invalid_exports

    expired = await store.expire(store.clock())
    spoilt = await invalid_exports(store)
    if arguments.json:
        print(show.to_json({"expired": expired, "exports": spoilt}))
    else:
        show.print_facts(show.make_console(), [("erased", f"{expired} messages"), *_spoilt(spoilt)])


async def _person(store: Store, _house: House, arguments: argparse.Namespace) -> None:
    from memory.person_export import everybody, everything_of

    if arguments.what == "list":
        print_value(arguments, await everybody(store), _print_people)
        return
    if arguments.person is None:
        raise UsageError("whose? Nobody is named", "selves memory person export guest-3")
    print(show.to_json(await everything_of(store, arguments.person)))


def _print_people(console: Console, people: Sequence[PersonSummary]) -> None:
    table = show.make_table("person", "platform", "lines", "allows", "met", "forgotten")
    for person in people:
        table.add_row(
            person.person,
            show.visible(person.platform),
            str(person.messages),
            ", ".join(person.allowed) or "nothing",
            show.show_time(person.created_at),
            show.show_time(person.forgotten_at) if person.forgotten_at else "",
        )
    show.print_table(console, table, "nobody has said anything yet")


async def _consent(store: Store, _house: House, arguments: argparse.Namespace) -> None:
    from memory.consent import allow, ledger_of
    from memory.people import find_person

    async with store.reading() as session:
        person = await find_person(session, store.house, arguments.person)
    if _decides(arguments):
        if not arguments.notice:
            raise UsageError("which privacy notice had they seen?", "name its version: --notice 2026-05")
        await allow(
            store,
            person.id,
            arguments.purpose,
            granted=arguments.granted,
            notice=arguments.notice,
            via=arguments.via,
        )
    print_value(arguments, await ledger_of(store, person.id), _print_consents)


def _print_consents(console: Console, said: Sequence[Given]) -> None:
    table = show.make_table("purpose", "said", "notice", "via", "when", "counts")
    for line in said:
        table.add_row(
            line.purpose,
            "allowed" if line.granted else "refused",
            show.visible(line.notice),
            show.visible(line.via),
            show.show_time(line.at),
            "yes" if line.counts else "no, there is a newer one",
        )
    show.print_table(console, table, "nothing was said, so nothing is allowed")


async def _permission(store: Store, _house: House, arguments: argparse.Namespace) -> None:
    from memory.consent import permit, platform_ledger

    if _decides(arguments):
        if arguments.platform not in PLATFORMS and not arguments.platform.startswith("imported:"):
            raise UsageError(
                f"nobody speaks on a platform {arguments.platform!r}",
                f"there are {', '.join(PLATFORMS)} and imported:discord",
            )
        if not arguments.statement:
            raise UsageError(
                "where did the platform say so?", 'say it so that it can be checked: --statement "..."'
            )
        await permit(
            store,
            arguments.platform,
            arguments.purpose,
            granted=arguments.granted,
            statement=arguments.statement,
        )
    print_value(arguments, await platform_ledger(store, arguments.platform), _print_permissions)


def _print_permissions(console: Console, said: Sequence[Permission]) -> None:
    table = show.make_table("platform", "purpose", "said", "statement", "when", "counts")
    for line in said:
        table.add_row(
            show.visible(line.platform),
            line.purpose,
            "permitted" if line.granted else "refused",
            show.visible(line.statement),
            show.show_time(line.at),
            "yes" if line.counts else "no, there is a newer one",
        )
    show.print_table(console, table, "no platform said anything, so nothing is permitted")


def _decides(arguments: argparse.Namespace) -> bool:
    """Whether something is to be noted. Raises UsageError for half a decision."""
    if (arguments.purpose is None) != (arguments.granted is None):
        raise UsageError(
            "a purpose and --allow or --refuse belong together",
            "such as `selves memory consent guest-3 publish --allow --notice 2026-05`",
        )
    return arguments.granted is not None


@contextmanager
def _steps() -> Iterator[Callable[[str], None]]:
    """Say on stderr what is being done, when that is a terminal."""
    if not sys.stderr.isatty():
        yield log.debug
        return
    from rich.console import Console

    with Console(stderr=True).status("looking") as status:
        yield status.update
