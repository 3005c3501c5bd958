"""`selves report`: one self-contained page about a run, for others to read."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from selves.cli import from_zero, make_parser
from selves.lineage import METRICS_FILE, list_ages
from selves.settings import House

if TYPE_CHECKING:
    from book.report import Report
    from memory.curate import Pick, Picked
    from memory.mishaps import Mishaps
    from memory.passages import Material
    from memory.types import Message, Scene

EXAMPLES = """
selves report                           the report of the one lineage you trained
selves report ember                     home/pages/ember-report.html
selves report ember --price 2.5         with what it cost, at 2.5 an hour
"""


def parser() -> ArgumentParser:
    """Return the parser of `selves report`."""
    report = make_parser("selves report", "one self-contained page about a run, for others to read", EXAMPLES)
    report.add_argument("lineage", nargs="?", help="which one; not needed if only one was trained")
    report.add_argument(
        "--output", type=Path, help="the file to write (default: pages/LINEAGE-report.html in the home)"
    )
    report.add_argument("--price", type=from_zero, metavar="N", help="what an hour of your machine costs")
    report.add_argument("--json", action="store_true", help="say what was made as JSON")
    return report


def main(argv: Sequence[str] | None = None) -> int:
    """Run `selves report`: write the page whole or not at all. Raises SelvesError."""
    from book.cli import choose_lineage
    from book.page import render
    from selves.files import write_file

    options = parser().parse_args(argv)
    house = House.from_environment()
    lineage = choose_lineage(list_ages(house.checkpoints, away=True), options.lineage, house.checkpoints)
    said = asyncio.run(_remembered(house, lineage))
    report = gather(house, lineage, said, price=options.price)
    path: Path = options.output or house.pages / f"{lineage}-report.html"
    data = render("report.html", report=report, life=report.life).encode()
    asyncio.run(_record(house, path, data, report, said))
    write_file(path, data)
    if options.json:
        print(json.dumps({"page": str(path), "lineage": lineage, "bytes": path.stat().st_size}))
    else:
        print(f"{lineage}: a report of {len(report.life.ages)} ages; open it in a browser:", file=sys.stderr)
        print(path)
    return 0


class Remembered(NamedTuple):
    """What memory has about a lineage."""

    scenes: list[tuple[Scene, list[Message]]]
    picks: list[Picked]
    mishaps: Mishaps | None


def gather(house: House, lineage: str, said: Remembered, *, price: float | None) -> Report:
    """Return the report of a lineage from its files and what is remembered. Raises AgeError."""
    from book.life import tell_life
    from book.metrics import read_metrics
    from book.report import make_report, stage_seconds
    from book.sending import withheld
    from selves.cast import load_cast_or_empty
    from training.evals.results import read_results
    from training.receipts import read_receipts

    folder = house.checkpoints / lineage
    metrics = read_metrics(folder)
    events = [
        (a.address.age, w.occasion) for a in list_ages(house.checkpoints, lineage) for w in a.writings()
    ]
    ages = list_ages(house.checkpoints, away=True)
    life = tell_life(
        lineage,
        ages,
        metrics,
        said.scenes,
        load_cast_or_empty(house.cast_path),
        relative_to=house.home.parent,
        withheld=withheld(house, ages),
    )
    return make_report(
        life,
        stage_seconds(_lines(folder / METRICS_FILE)),
        read_results(folder),
        said.picks,
        said.mishaps,
        read_receipts(folder),
        events=list(dict.fromkeys(events)),
        price=price,
        version=made_by(),
    )


def made_by() -> str:
    """Return the version of Selves, and the commit that is checked out if it runs from its repository."""
    version, root = metadata.version("selves"), Path(__file__).resolve().parent.parent
    if not (root / ".git").exists() or shutil.which("git") is None:
        return version
    asked = ["git", "-C", str(root), "rev-parse", "--short=12", "HEAD"]
    said = subprocess.run(asked, capture_output=True, text=True, check=False)
    return f"{version} at {said.stdout.strip()}" if said.returncode == 0 else version


def _lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a record that was read without complaint before; a torn last one is passed over."""
    found = []
    for line in path.read_text("utf-8", errors="replace").splitlines() if path.exists() else []:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


async def _remembered(house: House, lineage: str) -> Remembered:
    """Return what memory has, as far as it may be published. Picks in scenes with people are left out."""
    from book.cli import read_scenes
    from book.sending import has_memory
    from memory.curate import picks
    from memory.mishaps import mishaps_of
    from memory.passages import read_material
    from memory.store import open_store

    if not has_memory(house):
        return Remembered([], [], None)
    scenes = await read_scenes(house)
    people = {scene.id for scene, messages in scenes if any(m.human for m in messages)}
    async with open_store(house.database_url) as store:
        made = [
            one
            for one in await picks(store)
            if (one.address or "").startswith(f"{lineage}@")
            and one.pick.kind in ("star", "quote")
            and one.scene_id not in people
        ]
        material = await read_material(
            store,
            samples={p.pick.generation_id for p in made if p.pick.generation_id is not None},
            lines={p.pick.message_id for p in made if p.pick.message_id is not None},
        )
        shown = [one for one in made if _may_be_shown(one.pick, material)]
        return Remembered(scenes, shown, await mishaps_of(store, lineage))


def _may_be_shown(pick: Pick, material: Material) -> bool:
    if pick.message_id is not None:
        return material.line_verdicts[pick.message_id].allowed
    sample = pick.generation_id or 0
    return sample in material.writings and material.sample_verdicts[sample].allowed


async def _record(house: House, path: Path, data: bytes, report: Report, said: Remembered) -> None:
    """Note in memory what will be on the page, so that it can be called back. Raises StoreError."""
    from book.sending import has_memory
    from memory.pages import record_page
    from memory.store import open_store

    if not has_memory(house):
        return
    lines = {line.message.id for line in report.dialogue.lines} if report.dialogue else set()
    lines |= {p.pick.message_id for p in said.picks if p.pick.message_id is not None}
    async with open_store(house.database_url) as store:
        await record_page(
            store,
            path,
            data,
            of=report.life.lineage,
            message_ids=lines,
            ages={(age.card.address, age.card.weights_sha256) for age in report.life.ages},
        )
