"""How long a book takes to make: reading memory, PDF, EPUB and website, by the number of its passages.

    python -m benchmarks.book --out results
    python -m benchmarks.book --out trial --passages 30 --repeat 1      # seconds, to see that it works

A house is filled with a lineage of twenty ages whose writings are generated words, 210 characters on average.
An outline names them all; from there on it is what `selves book build` does, part by part. PDFs are set in a
new process each, since typst remembers what it set before. Of several repetitions the least counts.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import math
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, TypeVar

from benchmarks import machine
from book.build import build, write_book
from book.cli_book import compose_from
from book.manuscript import Manuscript
from book.outline import ChapterPlan, Outline, Piece
from memory.store import open_store
from selves.cli import make_parser, run_command
from selves.errors import UsageError
from selves.files import write_file
from selves.lineage import AgeCard, list_ages
from selves.settings import House
from selves.speech import Prompt, Sampling, Utterance, Writing

AGES = 20
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SYLLABLES = ("ka", "lo", "mi", "ne", "ru", "sa", "to", "vi", "wen", "dor", "fel", "gar", "hin", "jas", "pel")
EXAMPLES = """
python -m benchmarks.book --out results                                 300, 1,000, 3,000 and 10,000 passages
python -m benchmarks.book --out trial --passages 30 --repeat 1          seconds, to see that it works
"""
Row = dict[str, Any]
Made = TypeVar("Made")


def main(argv: Sequence[str]) -> int:
    parser = make_parser("python -m benchmarks.book", "How long a book takes to make.", EXAMPLES)
    parser.add_argument("--out", type=Path, required=True, help="folder for book.json")
    parser.add_argument("--passages", type=int, nargs="+", default=[300, 1000, 3000, 10_000])
    parser.add_argument("--repeat", type=int, default=3, help="how often each part is done (default: 3)")
    options: argparse.Namespace = parser.parse_args(argv)
    if min(options.passages) < AGES or options.repeat < 1:
        raise UsageError(f"at least {AGES} passages, done at least once")
    rows = []
    for passages in options.passages:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(asyncio.run(measure(Path(folder), passages, options.repeat)))
        print(json.dumps(rows[-1]), file=sys.stderr)
    summary = {"cpu": machine.cpu_name(), "cores": machine.cores(), "rows": rows}
    write_file(options.out / "book.json", json.dumps(summary, indent=2) + "\n")
    print(table(rows))
    return 0


class Seconds(NamedTuple):
    wall: float
    cpu: float
    """Of all threads of this process: what it would take on one core that nobody else uses."""


class Watch:
    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def seconds(self) -> Seconds:
        """Return the seconds since this was made."""
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        return Seconds(round(wall, 3), round(cpu, 3))


async def measure(folder: Path, passages: int, repeat: int) -> Row:
    """Make a book of so many passages; return seconds by part, and how many pages it has."""
    house = House(home=folder / "home", cast_path=folder / "selves.toml")
    fill(house, passages)
    ages = list_ages(house.checkpoints)
    row: Row = {"passages": passages}
    async with open_store(house.database_url) as store:
        for age in ages:
            await store.register_age(age)
        outline = outline_of([w.generation.id for w in await store.writings("bench")])
        row["read"] = []
        for _ in range(repeat):
            watch = Watch()
            manuscript, _ = await compose_from(store, house, outline, ages)
            row["read"].append(watch.seconds())
    files: dict[str, bytes] = {}
    row["pdf"] = []
    for _ in range(repeat):
        seconds, files["book.pdf"] = in_new_process(manuscript.to_json())
        row["pdf"].append(seconds)
    for form in ("epub", "site"):
        files |= timed(row, form, repeat, lambda form=form: build(manuscript, (form,)))  # type: ignore[misc]
    timed(row, "write", repeat, lambda: write_book(folder / "book", files))
    row["pages"] = pages_of(files["book.pdf"])
    row["megabytes"] = {
        form: round(sum(len(data) for name, data in files.items() if form in name) / 1e6, 1)
        for form in ("pdf", "epub", "site")
    }
    _check(manuscript, passages)
    return row


def in_new_process(manuscript: str) -> tuple[Seconds, bytes]:
    """Set a PDF in a process of its own; return the seconds from its manuscript on, and the PDF."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_set, (manuscript,))


def _set(text: str) -> tuple[Seconds, bytes]:
    manuscript = Manuscript.model_validate_json(text)
    watch = Watch()
    data = build(manuscript, ("pdf",))["book.pdf"]
    return watch.seconds(), data


def timed(row: Row, part: str, repeat: int, do: Callable[[], Made]) -> Made:
    """Do a part several times, and note the seconds."""
    row[part] = []
    for _ in range(repeat):
        watch = Watch()
        made = do()
        row[part].append(watch.seconds())
    return made


def fill(house: House, passages: int) -> None:
    """Lay out a lineage on disk: cards, writings and a training record; the weights are of no concern."""
    dice = Random(passages)
    lineage = house.checkpoints / "bench"
    for number in range(AGES):
        step = 2**number
        card = AgeCard(
            address=f"bench@base-{step:06d}",
            created_at=NOON,
            form="transcript",
            architecture="none",
            parameters=1,
            context_tokens=256,
            tokens_seen=step * 4096,
            train_loss=6 - 4 * number / AGES,
            bits_per_byte=4 - 2 * number / AGES,
            weights_sha256=f"{number:064x}",
        )
        share = passages // AGES + (number < passages % AGES)
        lines = "".join(_writing(dice, card, n).model_dump_json() + "\n" for n in range(share))
        write_file(lineage / f"base-{step:06d}" / "age.json", card.model_dump_json())
        write_file(lineage / f"base-{step:06d}" / "diary.jsonl", lines)
    record = [
        {"stage": "base", "step": step, "loss": 6 - math.log1p(step) / 4} for step in range(0, 500_000, 500)
    ]
    write_file(lineage / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in record))


def _writing(dice: Random, card: AgeCard, number: int) -> Writing:
    words = ("".join(dice.choices(SYLLABLES, k=dice.randint(1, 3))) for _ in range(dice.randint(20, 80)))
    return Writing(
        kind="diary",
        number=number,
        utterance=Utterance(
            address=card.address,
            weights_sha256=card.weights_sha256,
            engine="training",
            engine_version="1",
            prompt=Prompt(form="transcript", text=f"<Bench> Dear diary {number}, today I"),
            sampling=Sampling(seed=dice.getrandbits(31)),
            text=f" {' '.join(words)}.",
            started_at=NOON,
        ),
    )


def outline_of(samples: Sequence[int]) -> Outline:
    """Return an outline with all samples, a chapter an age."""
    share = math.ceil(len(samples) / AGES)
    return Outline(
        title="Bench",
        lineage="bench",
        date=date(2026, 1, 1),
        chapter=tuple(
            ChapterPlan(
                title=f"Age {number + 1}",
                age=f"base-{2**number:06d}",
                item=tuple(Piece(sample=n) for n in samples[number * share : (number + 1) * share]),
            )
            for number in range(AGES)
        ),
    )


def pages_of(pdf: bytes) -> int:
    """Return how many pages a PDF has."""
    from pypdf import PdfReader

    return len(PdfReader(io.BytesIO(pdf)).pages)


def _check(manuscript: Manuscript, passages: int) -> None:
    printed = len(manuscript.passages())
    if printed != passages:
        raise AssertionError(f"{printed} passages are in the book, not {passages}")


def table(rows: Sequence[Row]) -> str:
    """Return a Markdown table: the least seconds of each part, and in brackets those of CPU."""
    lines = [
        "| passages | pages | reading memory, s | PDF, s | EPUB, s | website, s | writing, s "
        "| PDF, ms of CPU a page |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        parts = [
            (min(wall for wall, _ in row[part]), min(cpu for _, cpu in row[part]))
            for part in ("read", "pdf", "epub", "site", "write")
        ]
        cells = [
            f"{row['passages']:,}",
            f"{row['pages']:,}",
            *(f"{wall:.2f} ({cpu:.2f})" for wall, cpu in parts),
        ]
        lines.append(
            f"| {' | '.join(cells)} | {min(cpu for _, cpu in row['pdf']) / row['pages'] * 1000:.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
