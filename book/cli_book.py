"""`selves book plan|build|verify`: an outline, the book made of it, and whether what it says is so.

The effects: memory is read, files are written. Everything is set before the first file is replaced.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from selves.errors import UsageError
from selves.lineage import LINEAGE_PATTERN, Age, list_ages
from selves.settings import House

if TYPE_CHECKING:
    from book.again import Again
    from book.manuscript import Manuscript
    from book.outline import Outline
    from book.verify import Checked
    from memory.passages import Material
    from memory.store import Store

FORMS = ("pdf", "epub", "site")
SCENES_READ = 400
"""Of so many of the newest scenes a plan proposes some; of older ones, those with picks."""


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add plan, build and verify to `selves book`."""
    plan = verbs.add_parser("plan", help="propose chapters as an outline that you edit")
    plan.add_argument(
        "lineage", nargs="?", help="which one, such as ember; not needed if only one was trained"
    )
    plan.add_argument(
        "--output", type=Path, help="the file (default: books/LINEAGE/outline.toml in the home)"
    )
    plan.add_argument("--force", action="store_true", help="replace an outline that is there already")
    plan.add_argument("--json", action="store_true", help="say what was made as JSON")
    build = verbs.add_parser("build", help="make PDF, EPUB and website of an outline")
    build.add_argument(
        "book", nargs="?", help="an outline, its folder, or a lineage; one without an outline gets one"
    )
    build.add_argument("--only", choices=FORMS, action="append", help="only this; may be said again")
    build.add_argument("--json", action="store_true", help="say what was made as JSON")
    verify = verbs.add_parser("verify", help="check every passage of a built book against memory")
    verify.add_argument("book", nargs="?", help="the book's folder, or a lineage")
    verify.add_argument("--again", action="store_true", help="also say every passage again, from its weights")
    verify.add_argument("--json", action="store_true", help="print JSON, for programs")


def run(arguments: argparse.Namespace, house: House) -> int:
    """Do what was asked. Raises SelvesError."""
    match arguments.verb:
        case "plan":
            return make_plan(arguments, house)
        case "build":
            return asyncio.run(make_book(find_or_plan(arguments.book, house), house, arguments))
        case _:
            return asyncio.run(check_book(arguments, house))


def make_plan(arguments: argparse.Namespace, house: House) -> int:
    """Write an outline. Raises UsageError when there is one already."""
    from book.cli import choose_lineage
    from book.outline import OUTLINE_FILE
    from selves.files import write_file

    ages = list_ages(house.checkpoints, away=True)
    lineage = choose_lineage(ages, arguments.lineage, house.checkpoints)
    path: Path = arguments.output or books(house) / lineage / OUTLINE_FILE
    if path.exists() and not arguments.force:
        raise UsageError(
            f"there is an outline at {path} already", "name another file with --output, or say --force"
        )
    text = asyncio.run(_propose(house, lineage, ages))
    write_file(path, text)
    if arguments.json:
        print(json.dumps({"outline": str(path), "items": text.count("[[chapter.item]]")}))
    else:
        print(f"{lineage}: edit it, then `selves book build {lineage}`", file=sys.stderr)
        print(path)
    return 0


async def _propose(house: House, lineage: str, ages: list[Age]) -> str:
    from book.plan import Known, propose
    from book.proof import who_learned
    from memory import curate
    from memory.passages import read_material
    from memory.store import open_store

    async with open_store(house.database_url) as store:
        for age in ages:
            await store.register_age(age)
        gone = await who_learned(store, ages)
        writings = [w for w in await store.writings(lineage) if w.generation.address not in gone]
        picks = [pick for pick in await curate.picks(store) if pick.address not in gone]
        newest = await store.scenes(last=SCENES_READ)
        picked = {p.scene_id for p in picks if p.scene_id is not None} - {scene.id for scene in newest}
        scenes = [await store.scene(scene_id) for scene_id in sorted(picked)] + newest
        material = await read_material(
            store,
            samples={w.generation.id for w in writings}
            | {p.pick.generation_id for p in picks if p.pick.generation_id is not None},
            lines={p.pick.message_id for p in picks if p.pick.message_id is not None},
            scenes={scene.id for scene in scenes},
        )
        spoke = {m.scene_id for m in material.lines.values() if (m.address or "").startswith(f"{lineage}@")}
        spoke -= {m.scene_id for m in material.lines.values() if m.address in gone}
        present = [scene for scene in scenes if scene.id in spoke]
        ages = [age for age in ages if age.card.address not in gone]
        return propose(Known(lineage, ages, writings, present, picks, material), datetime.now(UTC).date())


def find_or_plan(name: str | None, house: House) -> Path:
    """Return the outline that is meant; of a lineage that has none, propose one first. Raises SelvesError."""
    from book.cli import choose_lineage
    from book.outline import OUTLINE_FILE
    from selves.files import write_file

    ages = list_ages(house.checkpoints, away=True)
    known = {age.address.lineage for age in ages}
    there = any(books(house).glob(f"*/{OUTLINE_FILE}"))
    if (name is None and not there) or (name in known and not (books(house) / str(name)).exists()):
        lineage = choose_lineage(ages, name, house.checkpoints)
        path = books(house) / lineage / OUTLINE_FILE
        write_file(path, asyncio.run(_propose(house, lineage, ages)))
        print(f"there is no outline yet; one was proposed, edit it as you like: {path}", file=sys.stderr)
        return path
    return find_book(name, house, OUTLINE_FILE)


async def make_book(path: Path, house: House, arguments: argparse.Namespace) -> int:
    """Compose the manuscript and build from it. Raises SelvesError; an older book then stays as it was."""
    from book.build import build, hash_of, used, write_book
    from book.outline import read_outline
    from book.proof import taught, who_learned
    from memory.passages import record_book
    from memory.store import open_store

    outline = read_outline(path)
    ages = list_ages(house.checkpoints, away=True)
    async with open_store(house.database_url) as store:
        for age in ages:
            await store.register_age(age)
        manuscript, material = await compose_from(store, house, outline, ages)
        if wrong := taught(manuscript, await who_learned(store, ages)):
            raise UsageError(
                "\n".join(wrong),
                "take it out of the outline; `selves book plan` proposes what can be printed",
            )
        samples, lines = used(manuscript)
        where = path.parent
        files = build(manuscript, arguments.only or FORMS, where)
        export_id = await record_book(
            store,
            where,
            {name: hash_of(data) for name, data in files.items()},
            of=f"book of {outline.lineage}",
            samples=samples,
            lines=lines,
            forgotten=material.forgotten,
        )
    write_book(where, files)
    count = len(manuscript.passages())
    if arguments.json:
        made = {
            "folder": str(where),
            "export": export_id,
            "chapters": len(manuscript.chapters),
            "passages": count,
        }
        print(json.dumps({**made, "figures": manuscript.figures.model_dump(), "files": sorted(files)}))
    else:
        print(f"{len(manuscript.chapters)} chapters, {count} passages", file=sys.stderr)
        for name in ("book.pdf", "book.epub", "site/index.html"):
            if name in files:
                print(where / name)
    return 0


async def compose_from(
    store: Store, house: House, outline: Outline, ages: list[Age]
) -> tuple[Manuscript, Material]:
    """Return the manuscript of an outline, and what it was made from. Raises UsageError."""
    from book.compose import compose, wanted_by
    from book.metrics import read_metrics
    from memory.passages import count_samples, read_material

    wanted = wanted_by(outline)
    material = await read_material(store, samples=wanted.samples, lines=wanted.lines, scenes=wanted.scenes)
    metrics = read_metrics(house.checkpoints / outline.lineage)
    kept = await count_samples(store, outline.lineage)
    return compose(outline, material, ages, metrics, kept), material


def find_book(name: str | None, house: House, file: str) -> Path:
    """Return what is meant by a path, a folder or a lineage; without a name the only book there is.

    Raises UsageError.
    """
    if name is None:
        found = sorted(books(house).glob(f"*/{file}"))
        if len(found) != 1:
            there = ", ".join(path.parent.name for path in found)
            raise UsageError(
                f"there is more than one book: {there}" if found else f"there is no {file} in {books(house)}",
                "name one" if found else "make an outline first: `selves book plan`",
            )
        return found[0]
    path = books(house) / name if re.fullmatch(LINEAGE_PATTERN, name) else Path(name)
    if path.is_dir():
        path = path / file
    if not path.is_file():
        raise UsageError(f"there is no {path}", "make it first: `selves book plan`, then `selves book build`")
    return path.absolute()


async def check_book(arguments: argparse.Namespace, house: House) -> int:
    """Check a built book; 1 if anything is not as it says."""
    from book.again import say_again
    from book.manuscript import MANUSCRIPT_FILE
    from book.proof import prove

    proof = await prove(house, find_book(arguments.book, house, MANUSCRIPT_FILE))
    sources = [passage.source for passage in proof.manuscript.passages()]
    said = [(source.number, proof.material.samples.get(source.generation_id or 0)) for source in sources]
    known = [(number, sample) for number, sample in said if sample is not None]
    again = await say_again(house, known) if arguments.again else []
    return report(proof.checked, proof.others, again, as_json=arguments.json)


def report(
    checked: Sequence[Checked], others: Sequence[str], again: Sequence[Again], *, as_json: bool
) -> int:
    """Say how checking went; return 1 if anything is wrong."""
    bad = [one for one in checked if one.problems]
    outcomes = Counter(one.outcome for one in again)
    good = not bad and not others and not outcomes["differs"]
    if as_json:
        print(
            json.dumps(
                {
                    "good": good,
                    "passages": [asdict(one) for one in checked],
                    "other_problems": list(others),
                    "again": [asdict(one) for one in again],
                },
                indent=2,
            )
        )
        return 0 if good else 1
    for one in bad:
        print(f"passage {one.number} ({one.where}): {'; '.join(one.problems)}")
    for problem in others:
        print(problem)
    for repeated in again:
        if repeated.outcome == "differs":
            print(f"passage {repeated.number}: said again, {repeated.why}")
    copied = [one.copied for one in checked if one.copied is not None]
    print(f"{len(checked) - len(bad)} of {len(checked)} passages are as they were said and may be published")
    print(f"{sum(one.edited for one in checked)} are marked as edited")
    if copied:
        most = f"the most copied {max(copied):.1%}"
        print(
            f"{len(copied)} were compared with training texts: {sum(c > 0 for c in copied)} copy some, {most}"
        )
    if len(copied) < len(checked):
        hint = "`selves memory score --against FILE` does that"
        print(f"{len(checked) - len(copied)} were not compared with training texts; {hint}")
    if again:
        print(
            f"said again: {outcomes['same']} the same, {outcomes['differs']} not, "
            f"{outcomes['cannot']} cannot be"
        )
        for why, count in Counter(one.why for one in again if one.outcome == "cannot").most_common():
            print(f"  {count}: {why}")
    return 0 if good else 1


def books(house: House) -> Path:
    """Where the house keeps its books."""
    return house.home / "books"
