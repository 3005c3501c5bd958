"""Ours, nanochat and the HF Trainer on the same text for equal wall-clock on this machine.

    python -m benchmarks.text my-text
    python -m benchmarks.train my-text --out results --minutes 2 --nanochat ../nanochat

Systems take turns, seed by seed, each in a process of its own. Every finished run is a line of
OUT/runs.jsonl and is not run again; the table and OUT/summary.json are made of all that is there.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine, report
from benchmarks.rows import Row
from benchmarks.systems import (
    DEFAULTS,
    QUICK,
    SYSTEMS,
    Bench,
    Settings,
    our_settings,
    prepare_text,
    recipe_for,
)
from selves.cli import make_parser, run_command
from selves.errors import UsageError
from selves.files import write_file

EXAMPLES = """
python -m benchmarks.train my-text --out results --minutes 2 5           ours against the HF Trainer
python -m benchmarks.train my-text --out results --minutes 2 --nanochat ../nanochat
python -m benchmarks.train my-text --out results --sweep --nanochat ../nanochat     first: tune the peers
python -m benchmarks.train my-text --out results --speed                 tokens/s on the same shape
python -m benchmarks.train my-text --out results                         only the table, of what is there
python -m benchmarks.train my-text --out trial --quick                   seconds, to see that it works
"""
PROBE_STEPS, SPEED_STEPS, QUICK_STEPS = 20, 200, 20

LADDERS: dict[str, dict[str, tuple[Any, ...]]] = {
    "nanochat": {
        "packing": ("windows", "bestfit"),
        "weight_decay": (0.0, 0.1, 1.0),
        "matrix_rate": (0.02, 0.06, 0.125, 0.25, 0.5, 1.0, 2.0),
        "embedding_rate": (0.1, 0.2, 0.4, 0.8, 1.6, 3.2),
        "unembedding_rate": (0.0125, 0.025, 0.05, 0.1, 0.2, 0.4),
        "context": (128, 256),
    },
    "hf_trainer": {"rate": (5e-4, 1e-3, 2e-3, 3e-3, 5e-3, 8e-3, 12e-3)},
}
"""What a sweep may change, and to what: one step along one ladder at a time."""


def main(argv: Sequence[str]) -> int:
    options = _parser().parse_args(argv)
    if options.nanochat and not (options.nanochat / "nanochat" / "gpt.py").exists():
        raise UsageError(
            f"{options.nanochat} is no checkout of nanochat", "name the folder that has nanochat/"
        )
    systems = [name for name in options.systems or SYSTEMS if name != "nanochat" or options.nanochat]
    work = options.out.absolute() / "work"
    text = prepare_text(options.text, work, _say)
    python = options.nanochat_python
    nanochat = (options.nanochat and options.nanochat.absolute(), python)
    bench = Bench(text, options.out.absolute(), work, options.threads, nanochat)
    _machine(bench)
    changes = _changes(options.set)
    if options.quick:
        _quick(bench, systems, changes)
    if options.sweep:
        for name in systems:
            if name != "ours":
                _sweep(bench, name, changes.get(name, {}), options.sweep_seconds, options.sweep_runs)
    for minutes in options.minutes:
        for seed in options.seeds:
            for name in _in_turn(systems, seed):
                bench.run("run", name, _settings(bench, name, changes, minutes), seed=seed, minutes=minutes)
    if options.speed:
        _speed(bench, options.rounds, changes)
    summary = report.summarize(bench.rows, text.fingerprint, options.threads)
    write_file(options.out / "summary.json", json.dumps(summary, indent=2) + "\n")
    print(json.dumps(summary) if options.json else report.table(summary))
    return 0


def _settings(bench: Bench, name: str, changes: dict[str, Settings], minutes: float) -> Settings:
    if name == "ours":
        return our_settings(recipe_for(minutes), bench.text.source)
    start = _probed(bench, name, DEFAULTS[name] | changes.get(name, {}))
    return report.swept(bench.rows, name, bench.text.fingerprint, start, tuple(LADDERS[name])) or start


def _in_turn(systems: list[str], seed: int) -> list[str]:
    """Let another system begin with each seed, so that none always runs on a colder or busier machine."""
    first = seed % len(systems)
    return systems[first:] + systems[:first]


def _probed(bench: Bench, name: str, settings: Settings) -> Settings:
    """Choose what a peer computes in, and whether it compiles where that is a choice, by measurement."""

    def rate(choice: Settings) -> float:
        row = bench.run("probe", name, choice, steps=PROBE_STEPS, measured=False)
        return float(row["result"]["tokens_per_s"])

    best = max(({**settings, "dtype": dtype} for dtype in ("float32", "bfloat16")), key=rate)
    if "compile" in settings:
        best = max(({**best, "compile": compiled} for compiled in (True, False)), key=rate)
    return best


def _sweep(bench: Bench, name: str, changes: Settings, seconds: float, budget: int) -> None:
    """Look for better settings, a step along one ladder at a time, as long as it gets better."""
    start = _probed(bench, name, DEFAULTS[name] | changes)
    probe = bench.run("probe", name, start, steps=PROBE_STEPS, measured=False)
    steps = max(10, round(seconds * probe["result"]["tokens_per_s"] / start["batch_tokens"]))
    seen: dict[str, float] = {}

    def evaluate(settings: Settings) -> float:
        key = json.dumps(settings, sort_keys=True)
        if key not in seen:
            seen[key] = float(bench.run("sweep", name, settings, steps=steps)["result"]["bits_per_byte"])
        return seen[key]

    climb(start, LADDERS[name], evaluate, lambda: len(seen) < budget)


def climb(
    start: Settings,
    ladders: dict[str, tuple[Any, ...]],
    evaluate: Callable[[Settings], float],
    may_go_on: Callable[[], bool],
) -> Settings:
    """Return the settings with the lowest value found by steps along ladders, one at a time."""
    best, lowest = start, evaluate(start)
    improved = True
    while improved:
        improved = False
        for key, ladder in ladders.items():
            for direction in (1, -1):
                while 0 <= (at := ladder.index(best[key]) + direction) < len(ladder) and may_go_on():
                    tried = {**best, key: ladder[at]}
                    value = evaluate(tried)
                    if value >= lowest:
                        break
                    best, lowest, improved = tried, value, True
    return best


def _speed(bench: Bench, rounds: int, changes: dict[str, Settings]) -> None:
    """Tokens per second of ours and the HF Trainer, same shape, batch and windows, taking turns."""
    ours = our_settings("speed", bench.text.source, compiled=True)
    theirs = _probed(bench, "hf_trainer", DEFAULTS["hf_trainer"] | changes.get("hf_trainer", {}))
    for number in range(1, rounds + 1):
        for name, settings in (("ours", ours), ("hf_trainer", theirs))[:: 1 if number % 2 else -1]:
            bench.run("speed", name, settings, seed=number, steps=SPEED_STEPS, measured=False)


def _quick(bench: Bench, systems: list[str], changes: dict[str, Settings]) -> None:
    for name in systems:
        if name == "ours":
            settings = our_settings("quick", bench.text.source)
        else:
            known = DEFAULTS[name]
            settings = {**known, **{k: v for k, v in QUICK.items() if k in known}, **changes.get(name, {})}
        bench.run("quick", name, settings, steps=QUICK_STEPS)


def _machine(bench: Bench) -> Row:
    for row in bench.rows:
        if row["kind"] == "machine" and row["threads"] == bench.threads:
            return row
    described = machine.describe(bench.threads)
    row = {"kind": "machine", "key": "", "threads": bench.threads, "result": described}
    bench.keep(row)
    return row


def _changes(pairs: list[str]) -> dict[str, Settings]:
    """Read `nanochat.width=192`."""
    changes: dict[str, Settings] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        system, _, key = name.partition(".")
        if key not in DEFAULTS.get(system, {}):
            raise UsageError(f"{pair!r} names no setting of a peer", "as in: --set nanochat.width=192")
        try:
            changes.setdefault(system, {})[key] = json.loads(value)
        except json.JSONDecodeError:
            changes[system][key] = value
    return changes


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        "python -m benchmarks.train", "Compare ways to train, at equal wall-clock.", EXAMPLES
    )
    parser.add_argument("text", type=Path, help="folder of .txt, .md or .jsonl files, see benchmarks.text")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for results; goes on where it stopped"
    )
    parser.add_argument("--minutes", type=float, nargs="+", default=[], help="wall-clock of the runs: 2 5 10")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, help="default: all that can be run")
    parser.add_argument(
        "--threads", type=int, default=machine.cores(), help="CPU threads (default: all cores)"
    )
    parser.add_argument("--nanochat", type=Path, metavar="PATH", help="a checkout of nanochat")
    parser.add_argument(
        "--nanochat-python",
        metavar="PROGRAM",
        default=sys.executable,
        help="a Python that has what nanochat needs (default: this one)",
    )
    parser.add_argument("--sweep", action="store_true", help="tune the peers first, by short runs")
    parser.add_argument("--sweep-seconds", type=float, default=35.0, help="training of each (default: 35)")
    parser.add_argument("--sweep-runs", type=int, default=12, help="how many for each peer (default: 12)")
    parser.add_argument("--speed", action="store_true", help="tokens/s of ours and the HF Trainer")
    parser.add_argument("--rounds", type=int, default=5, help="of --speed (default: 5)")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="PEER.KEY=VALUE", help="other settings of peers"
    )
    parser.add_argument("--quick", action="store_true", help="a tiny run of each system")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
