"""`selves memory export|exports|import`: data sets out, talk from elsewhere in."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from pydantic import ValidationError

from memory import show
from memory.formats import OF_SCENES, Format
from memory.preference import HUMAN_SOURCES, SOURCES
from memory.verbs import Verbs, moment
from selves.cli import count
from selves.errors import SelvesError, UsageError
from selves.settings import House

if TYPE_CHECKING:
    from rich.console import Console

    from memory.export import Exported, Progress
    from memory.importing import Imported
    from memory.store import Store
    from memory.wanted import Wanted

log = logging.getLogger("memory")

FROM_FEEDBACK = ("dpo", "kto", "sft")
PURPOSES = ("publish", "train", "store", "diary")


def add_verbs(verbs: Verbs) -> None:
    """Add this file's verbs to `selves memory`."""
    export = verbs.add(
        "export",
        _export,
        "write a data set into a new folder: pairs, labels, answers, prompts or scenes",
        "selves memory export pairs --format dpo --lineage ember --split 0.1\n"
        "  selves memory export --format transcript --dry-run\n"
        "  selves memory export pairs-once-more --again 3",
    )
    export.add_argument(
        "folder", nargs="?", type=Path, metavar="FOLDER", help="where to; it must not exist yet"
    )
    what = export.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--format",
        choices=get_args(Format),
        help="dpo, kto, sft and grpo-prompts have TRL's columns; transcript is whole scenes, "
        "dce the same as DiscordChatExporter writes them",
    )
    what.add_argument("--again", type=int, metavar="ID", help="write an earlier export once more")
    export.add_argument("--dry-run", action="store_true", help="only count, and say what is left out and why")
    export.add_argument("--lineage", help="only this lineage")
    export.add_argument("--age", help="only this age: ember@base-000400, or base-000400 of any lineage")
    export.add_argument("--scene-kind", metavar="KIND", help="only scenes of this kind")
    export.add_argument("--since", type=moment, metavar="DATE", help="only from this day on, or ISO time")
    export.add_argument("--until", type=moment, metavar="DATE", help="only before this day, or ISO time")
    export.add_argument(
        "--source",
        action="append",
        choices=SOURCES,
        help="only this feedback; may be said several times (default: what people said: "
        f"{', '.join(HUMAN_SOURCES)}; of sft: every line that was posted)",
    )
    export.add_argument(
        "--split", type=float, default=0.0, metavar="SHARE", help="put this share of the scenes aside to test"
    )
    export.add_argument("--parquet", action="store_true", help="write parquet, not lines of JSON")
    export.add_argument("--limit", type=count, metavar="N", help="at most so many rows")
    export.add_argument(
        "--purpose", choices=PURPOSES, help="what scenes are for (default: publish); the others are to train"
    )

    verbs.add("exports", _exports, "list what was exported", "selves memory exports")

    imported = verbs.add(
        "import",
        _import,
        "bring talk in: DiscordChatExporter's JSON, logs of models that talk with each other",
        "selves memory import export.json opus_opus_20241018_131801.txt --dry-run",
        creates=lambda _house: None,
    )
    imported.add_argument("files", nargs="+", type=Path, metavar="FILE")
    imported.add_argument("--dry-run", action="store_true", help="only say what would come in")


async def _export(store: Store, _house: House, arguments: argparse.Namespace) -> None:
    from memory.export import export, export_again, preview

    if arguments.dry_run and arguments.again is not None:
        raise UsageError("--again writes what was counted before", "leave --dry-run out")
    if arguments.folder is None and not arguments.dry_run:
        raise UsageError(
            "an export needs a folder", "name one that does not exist yet, or only count: --dry-run"
        )
    if arguments.again is not None:
        exported = await export_again(store, arguments.again, arguments.folder)
    elif arguments.dry_run:
        with _bar("reading") as progress:
            exported = await preview(store, _wanted(arguments), progress)
    else:
        with _bar("writing") as progress:
            exported = await export(store, _wanted(arguments), arguments.folder, progress)
    if arguments.json:
        print(show.to_json(exported))
        return
    _print_export(show.make_console(), exported, arguments.folder)


def _wanted(arguments: argparse.Namespace) -> Wanted:
    from memory.wanted import Wanted

    if arguments.source and arguments.format not in FROM_FEEDBACK:
        raise UsageError(
            f"{arguments.format} is not made from feedback", "leave --source out, or ask for dpo, kto or sft"
        )
    sources = arguments.source or (HUMAN_SOURCES if arguments.format in ("dpo", "kto") else ())
    purpose = arguments.purpose or ("publish" if arguments.format in OF_SCENES else "train")
    try:
        return Wanted(
            format=arguments.format,
            purpose=purpose,
            lineage=arguments.lineage,
            age=arguments.age,
            scene_kind=arguments.scene_kind,
            since=arguments.since,
            until=arguments.until,
            sources=tuple(dict.fromkeys(sources)),
            test_share=arguments.split,
            parquet=arguments.parquet,
            limit=arguments.limit,
        )
    except ValidationError as error:
        wrong = error.errors()[0]
        name = "--split" if "test_share" in wrong["loc"] else ""
        raise UsageError(
            f"{name} {wrong['msg'].removeprefix('Value error, ')}".strip(),
            "see `selves memory export --help`",
        ) from error


def _print_export(console: Console, exported: Exported, folder: Path | None) -> None:
    summary = exported.summary
    splits = ", ".join(f"{rows:,} {split}" for split, rows in summary["rows"].items())
    what = "lines" if exported.format in OF_SCENES else "rows"
    made = "would make" if exported.id is None else f"export {exported.id}: {folder}:"
    each = f" ({splits})" if len(summary["rows"]) > 1 else ""
    show.write_lines(console, [f"{made} {exported.rows:,} rows of {exported.format}{each}"])
    for title, name in (
        ("feedback", "sources"),
        ("origin", "origins"),
        ("may be used because", "basis"),
        ("left out because", "left_out"),
    ):
        if summary[name]:
            _print_counts(console, title, what, summary[name])


def _print_counts(console: Console, title: str, what: str, counts: Mapping[str, int]) -> None:
    table = show.make_table(title, what)
    for name, number in counts.items():
        table.add_row(show.visible(name), f"{number:,}")
    show.print_table(console, table, "")


async def _exports(store: Store, _house: House, arguments: argparse.Namespace) -> None:
    from memory.export import exports

    found = await exports(store)
    if arguments.json:
        print(show.to_json(found))
        return
    table = show.make_table("id", "format", "purpose", "rows", "made", "folder", "")
    for one in found:
        state = f"invalid: {one.invalid_reason}" if one.invalid_at else ""
        table.add_row(
            str(one.id),
            one.format,
            one.purpose,
            f"{one.rows:,}",
            show.show_time(one.created_at),
            show.visible(one.folder),
            show.visible(state),
        )
    show.print_table(show.make_console(), table, "nothing was exported yet: `selves memory export --help`")


async def _import(store: Store, _house: House, arguments: argparse.Namespace) -> None:
    from memory.importing import import_talk

    came: list[Imported] = []
    failed: SelvesError | None = None
    for path in arguments.files:
        try:
            with _bar(path.name) as progress:
                came.append(await import_talk(store, path, dry_run=arguments.dry_run, progress=progress))
        except UsageError as error:
            # one bad file among many does not keep the others out
            if len(arguments.files) > 1:
                log.error("%s", error)
            failed = error
    if arguments.json:
        print(show.to_json(came))
    else:
        _print_imports(show.make_console(), came, dry_run=arguments.dry_run)
    if failed is not None:
        raise failed


def _print_imports(console: Console, came: Sequence[Imported], *, dry_run: bool) -> None:
    table = show.make_table("file", "scene", "would come" if dry_run else "new", "known", "skipped", "people")
    for one in came:
        scene = one.scene if one.scene_id is None else f"{one.scene_id} {one.scene}"
        numbers = (one.new, one.known, one.skipped, one.people)
        table.add_row(show.visible(one.file), show.visible(scene), *(f"{number:,}" for number in numbers))
    if came:
        show.print_table(console, table, "")


@contextmanager
def _bar(doing: str) -> Iterator[Progress | None]:
    """A progress bar on stderr, when that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(show.visible(doing), total=None)
        yield lambda done, of: progress.update(task, completed=done, total=of)
