"""`selves diary`: what selves write down of their own accord, while they grow and day by day."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import time
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from selves.cast import Cast, load_cast_or_empty
from selves.cli import above_zero, count, make_parser
from selves.errors import AgeError, UsageError, no_lineage
from selves.lineage import DIARY_FILE, Age, find_age, list_ages, read_diary
from selves.settings import House
from selves.speech import Writing

if TYPE_CHECKING:
    from bots.daily import Entry

log = logging.getLogger("selves.diary")

EXAMPLES = """
selves diary kinds                                   what may be written, and when
selves diary show ember --kind poem                  what a lineage wrote, age by age
selves diary write ember@base-000400 --kind poem --samples 4
selves diary mark ember@base-000400 poem 2           of four poems, the one for the book
selves diary watch runs/my-model --as willow         follow a run of transformers', TRL's, nanochat's ...
selves diary day Ash                                 what Ash writes of today's talks
selves diary week Ash --date 2026-11-23              of that week, from its days
selves diary letters                                 letters to ages, and what came of them
selves diary letters 12 --answer                     let whoever it went to answer, also a past self
"""
SPANS = ("day", "week", "chapter")


def main(argv: Sequence[str]) -> int | None:
    """Run `selves diary`. Raises SelvesError."""
    options = _parser().parse_args(argv)
    house = House.from_environment()
    if options.verb == "kinds":
        return _kinds(options)
    if options.verb == "show":
        return _show(options, house)
    if options.verb == "watch":
        return _watch(options, house)
    cast = load_cast_or_empty(house.cast_path)
    if options.verb == "write":
        ages = [find_age(house.checkpoints, address) for address in options.ages]
        written = asyncio.run(_write(house, cast, ages, options, "asked"))
        return _print_writings(written, as_json=options.json) if options.json else 0
    if options.verb == "mark":
        return asyncio.run(_mark(options, house))
    if options.verb == "letters":
        from bots.diary_letters import letters

        if options.answer and options.letter is None:
            raise UsageError("which letter is to be answered?", "`selves diary letters` lists them")
        return asyncio.run(letters(house, cast, options.letter, answer=options.answer, as_json=options.json))
    return asyncio.run(_entry(options, house, cast))


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("selves diary", "What selves write down of their own accord.", EXAMPLES)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def add(name: str, purpose: str) -> argparse.ArgumentParser:
        verb = verbs.add_parser(name, help=purpose, description=purpose)
        verb.add_argument("--json", action="store_true", help="print JSON, for programs")
        return verb

    kinds = add("kinds", "list the kinds of writings")
    kinds.add_argument("--file", default="", help="with those of your own in this file")
    kinds.add_argument("--toml", action="store_true", help="print the house's file, to begin your own with")
    show = add("show", "print what ages wrote, in order of life")
    show.add_argument("who", nargs="?", help="a lineage or an address (default: all)")
    show.add_argument("--kind", action="append", help="only this kind; may be said again")
    write = add("write", "let ages write now")
    write.add_argument("ages", nargs="+", metavar="ADDRESS")
    _add_writing(write)
    mark = add("mark", "mark one of several samples: it gets the editor's star, the others lose theirs")
    mark.add_argument("address", metavar="ADDRESS")
    mark.add_argument("kind")
    mark.add_argument("number", type=int, help="as `selves diary show` tells it")
    mark.add_argument("--editor", default="author", help="who says so (default: author)")
    watch = add("watch", "follow a folder of checkpoints: each becomes an age, and writes")
    watch.add_argument(
        "folder", type=Path, help="of a run of transformers, TRL, torchtitan, nanochat, or ours"
    )
    watch.add_argument("--as", dest="lineage", default="", metavar="NAME", help="what its ages are called")
    watch.add_argument(
        "--every", type=above_zero, default=30.0, metavar="SECONDS", help="look so often (default: 30)"
    )
    watch.add_argument("--once", action="store_true", help="look once, and end")
    _add_writing(watch)
    for span, purpose in (
        ("day", "let a self write about what was said on a day"),
        ("week", "let it write about a week, from its days"),
        ("chapter", "let it write about a month, from its weeks"),
    ):
        verb = add(span, purpose)
        verb.add_argument(
            "who", nargs="?", help="a self of the cast, or an address (default: all of the cast)"
        )
        verb.add_argument(
            "--date",
            type=_day,
            metavar="YYYY-MM-DD",
            help="a day of it, where the cast lives (default: today)",
        )
    letters = add("letters", "show letters to ages and their answers, as threads")
    letters.add_argument("letter", nargs="?", type=int, help="only the thread with this letter, in full")
    letters.add_argument(
        "--answer", action="store_true", help="have its last letter read, and answered, first"
    )
    return parser


def _add_writing(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--kind", action="append", help="write this; may be said again (default: all that fit)")
    verb.add_argument("--samples", type=count, default=1, metavar="N", help="of each kind (default: 1)")
    verb.add_argument("--file", default="", help="kinds of your own: selves diary kinds --toml")


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError("a day is written 2026-11-23") from error


def _kinds(options: argparse.Namespace) -> int:
    from training.kinds import OWN_FILE, all_kinds

    if options.toml:
        print(OWN_FILE.read_text("utf-8"), end="")
        return 0
    found = all_kinds(options.file)
    if options.json:
        print(json.dumps({name: kind.model_dump() for name, kind in found.items()}, ensure_ascii=False))
        return 0
    for name, kind in found.items():
        print(f"{name:<14} {', '.join(kind.when) or 'on all occasions'}")
        print(f"{'':<14} {kind.begin.strip()!r}" + (f", or: {kind.ask}" if kind.ask else ""))
    return 0


def _show(options: argparse.Namespace, house: House) -> int:
    lineage = (options.who or "").partition("@")[0] or None
    ages = list_ages(house.checkpoints, lineage)
    if options.who and "@" in options.who:
        ages = [find_age(house.checkpoints, options.who)]
    elif not ages:
        there = [age.address.lineage for age in list_ages(house.checkpoints)]
        raise (
            no_lineage(lineage, there)
            if lineage
            else AgeError(f"there are no ages in {house.checkpoints}", "selves train run recipes/demo.toml")
        )
    written = [w for age in ages for w in age.writings()]
    if "@" not in (options.who or ""):  # and what was written at moments that are no age
        known = {_id_of(w) for w in written}
        for folder in sorted({age.folder.parent for age in ages}):
            written += [w for w in read_diary(folder / DIARY_FILE) if _id_of(w) not in known]
        written = _in_order(written)
    if options.kind:
        written = [w for w in written if w.kind in options.kind]
    if not written and not options.json:
        print(f"nothing yet; `selves diary write {ages[-1].card.address}` has an age write")
    return _print_writings(written, as_json=options.json)


def _id_of(writing: Writing) -> tuple[str, str, str, int]:
    """Return what makes a writing the one it is."""
    said = writing.utterance
    return said.address, said.weights_sha256, writing.kind, writing.number


def _in_order(written: Sequence[Writing]) -> list[Writing]:
    """Return writings by lineage, then by when whoever wrote them did so first."""
    began: dict[str, datetime] = {}
    for said in (w.utterance for w in written):
        began[said.address] = min(began.get(said.address, said.started_at), said.started_at)
    return sorted(
        written,
        key=lambda w: (
            w.utterance.address.partition("@")[0],
            began[w.utterance.address],
            w.utterance.address,
        ),
    )


def _print_writings(written: Sequence[Writing], *, as_json: bool) -> int:
    if as_json:
        print(json.dumps([w.model_dump(mode="json") for w in written], ensure_ascii=False))
        return 0
    address = ""
    for writing in written:
        if writing.utterance.address != address:
            address = writing.utterance.address
            print(address)
        print(_line(writing))
    return 0


def _line(writing: Writing) -> str:
    from memory.show import visible

    said = writing.utterance
    begun = said.prompt.text.removeprefix("<").partition("> ")[2] if said.prompt.form == "transcript" else ""
    to = f" to {writing.to}" if writing.to else ""
    when = f" ({writing.occasion})" if writing.occasion not in ("", "age") else ""
    text = said.error or visible(
        (begun or (said.prompt.text if not said.prompt.messages else "")) + said.text
    )
    return f"  {writing.kind} {writing.number}{to}{when}: " + "\n    ".join(text.strip().split("\n"))


async def _write(
    house: House, cast: Cast | None, ages: Sequence[Age], options: argparse.Namespace, occasion: Any
) -> list[Writing]:
    from bots.diary_writing import write
    from serving.address import serving_address
    from serving.voice import Voice
    from training.kinds import choose
    from training.recipe import Diary

    kinds = choose(options.kind or (), options.file)
    if options.kind:  # who names a kind wants it now
        kinds = {name: kind.model_copy(update={"when": ()}) for name, kind in kinds.items()}
    diary = Diary(samples=options.samples)

    def tell(_age: Age, said: Sequence[Writing]) -> None:
        if not options.json:
            _print_writings(said, as_json=False)

    async with (
        serving_address(house, cast, on_wait=log.info) as url,
        Voice(url, house.api_key) as voice,
    ):
        return await write(voice, house, ages, kinds, diary, occasion, tell)


def _watch(options: argparse.Namespace, house: House) -> int:
    from bots.diary_watch import arrivals

    cast = load_cast_or_empty(house.cast_path)
    asked: set[str] = set()
    while True:
        new = arrivals(options.folder, options.lineage, house, log.info, patient=not options.once)
        new = [age for age in new if age.card.address not in asked]
        if new:
            written = asyncio.run(_write(house, cast, new, options, "age"))
            if options.json:
                _print_writings(written, as_json=True)
            asked |= {age.card.address for age in new}
        if options.once:
            return 0
        time.sleep(options.every)


async def _mark(options: argparse.Namespace, house: House) -> int:
    from bots.diary_marks import mark
    from memory.store import open_store

    age = find_age(house.checkpoints, options.address)
    async with open_store(house.database_url) as store:
        await store.register_age(age)
        pick = await mark(store, age, options.kind, options.number, options.editor)
    print(json.dumps({"pick": pick}) if options.json else f"pick {pick}")
    return 0


async def _entry(options: argparse.Namespace, house: House, cast: Cast | None) -> int:
    from bots.daily import keep_entry
    from bots.days import period
    from bots.parlor import choose_persona
    from memory.store import open_store
    from serving.address import serving_address
    from serving.voice import Voice

    if options.who is None and cast is None:
        raise UsageError("who is to write?", "name an age, such as ember@chat-000150, or make a cast file")
    everybody = cast.persona if cast and options.who is None else [choose_persona(cast, options.who)]
    zone = cast.diary.timezone if cast else "UTC"
    today = datetime.now(ZoneInfo(zone)).date()
    when = period(options.verb, options.date or today, zone)
    if when.first > today:
        raise UsageError(f"{when.name} is still to come", "name a day that was")
    found = []
    async with (
        open_store(house.database_url, create=False) as store,
        serving_address(house, cast, on_wait=log.info) as url,
        Voice(url, house.api_key) as voice,
    ):
        for persona in everybody:
            entry = await keep_entry(store, voice, persona, when, log.info)
            found.append(_entry_json(entry, persona.name, when.name))
            if options.json:
                continue
            if entry is None:
                at = "on" if options.verb == "day" else "in"
                print(f"{persona.name} said nothing {at} {when.name}, so there is nothing to write")
                continue
            print(f"{persona.name}, {when.name}")
            for line in entry.lines:
                print(f"  {line.message.text}  [{', '.join(f'#{number}' for number in line.cites)}]")
    if options.json:
        print(json.dumps(found, ensure_ascii=False))
    return 0


def _entry_json(entry: Entry | None, who: str, name: str) -> dict[str, Any]:
    lines = [] if entry is None else entry.lines
    return {
        "who": who,
        "entry": name,
        "scene": entry.scene.id if entry else None,
        "lines": [{"message": x.message.id, "text": x.message.text, "cites": list(x.cites)} for x in lines],
    }
