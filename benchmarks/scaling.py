"""How ours grows: bits per byte against compute for four sizes, and step time on two processes.

    python -m benchmarks.scaling my-text --out results

Each size is trained from the start for several lengths. The power law is a straight line in logarithms,
L = b C^-k, through the best bits per byte at each compute (Kaplan et al. 2020, arXiv:2001.08361).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks import machine, plot
from benchmarks.rows import Row
from benchmarks.systems import Bench, Settings, our_settings, prepare_text
from selves.cli import make_parser, run_command
from selves.errors import UsageError
from selves.files import write_file

EXAMPLES = """
python -m benchmarks.scaling my-text --out results                       about half an hour on two cores
python -m benchmarks.scaling my-text --out results --sizes 2x64 3x96 4x128 --tokens-per-parameter 0.4 0.8
python -m benchmarks.scaling my-text --out results --processes 2         only step time on 1 and 2 processes
"""
SIZES = ("2x64", "3x96", "4x128", "4x192")
LENGTHS = (0.4, 0.8, 1.6)
PROCESS_STEPS = 100


class PowerLaw(NamedTuple):
    """L = factor * C ** -exponent, and the share of the variance of log L that it explains."""

    factor: float
    exponent: float
    r_squared: float

    def at(self, compute: float) -> float:
        return self.factor * float(compute**-self.exponent)


def fit(points: Sequence[tuple[float, float]]) -> PowerLaw:
    """Return the least-squares line through (log compute, log loss). Needs two different computes."""
    import numpy as np

    x, y = np.log(np.array(points, dtype=float)).T
    slope, start = np.polyfit(x, y, 1)
    left, around = ((y - (slope * x + start)) ** 2).sum(), ((y - y.mean()) ** 2).sum()
    return PowerLaw(math.exp(start), float(-slope), float(1 - left / around) if around else 1.0)


def frontier(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points to which none is equal or better for less compute, in order of compute."""
    best: list[tuple[float, float]] = []
    for compute, loss in sorted(points):
        if not best or loss < best[-1][1]:
            best.append((compute, loss))
    return best


def main(argv: Sequence[str]) -> int:
    options = _parser().parse_args(argv)
    work = options.out.absolute() / "work"
    text = prepare_text(options.text, work, lambda line: print(line, file=sys.stderr))
    bench = Bench(text, options.out.absolute(), work, options.threads, (None, sys.executable))
    if options.processes:
        summary = processes(bench, options.processes, options.rounds)
        write_file(options.out / "processes.json", json.dumps(summary, indent=2) + "\n")
        print(json.dumps(summary) if options.json else _processes_told(summary))
        return 0
    rows = {
        size: [_train(bench, size, length) for length in options.tokens_per_parameter]
        for size in options.sizes
    }
    summary = summarize(rows)
    law = PowerLaw(**summary["law"])
    groups = {size: [(p["flops"], p["bits_per_byte"]) for p in points] for size, points in _sizes(summary)}
    svg = plot.log_log(
        groups,
        law.at,
        title=f"Held-out bits per byte = {law.factor:.3g} C^-{law.exponent:.3f}, R² {law.r_squared:.3f}",
        x_label="compute C, floating-point operations of training",
        y_label="bits per byte",
    )
    write_file(options.out / "scaling.svg", svg)
    write_file(options.out / "scaling.json", json.dumps(summary, indent=2) + "\n")
    print(json.dumps(summary) if options.json else _told(summary))
    return 0


def summarize(rows: dict[str, list[Row]]) -> dict[str, Any]:
    """Return the points of every size, and the power law through the best of them."""
    points = [
        {
            "size": size,
            "parameters": row["result"]["parameters"],
            "tokens": row["result"]["tokens"],
            "flops": float(row["result"]["flops_per_token"]) * row["result"]["tokens"],
            "seconds": round(row["result"]["seconds"], 1),
            "bits_per_byte": round(row["result"]["bits_per_byte"], 4),
        }
        for size, own in rows.items()
        for row in own
    ]
    best = frontier([(point["flops"], point["bits_per_byte"]) for point in points])
    if len(best) < 2:
        raise UsageError("one length of one size is no curve", "name more --sizes or --tokens-per-parameter")
    return {"points": points, "frontier": best, "law": fit(best)._asdict()}


def _train(bench: Bench, size: str, length: float) -> Row:
    settings = our_settings("2-minutes", bench.text.source)
    model: Settings = settings["recipe"]["model"]
    depth, _, width = size.partition("x")
    if not (depth.isdigit() and width.isdigit()) or int(width) % 32:
        raise UsageError(f"{size!r} is no size", "write layers x width, such as 4x128")
    head_dim = 64 if int(width) % 64 == 0 else 32
    model.update(depth=int(depth), width=int(width), head_dim=head_dim)
    settings["recipe"]["base"]["ages"] = 2
    parameters = 12 * int(depth) * int(width) ** 2 + model["vocabulary"] * int(width)
    steps = max(20, round(length * parameters / settings["recipe"]["base"]["batch_tokens"]))
    return bench.run("scaling", "ours", settings, steps=steps)


def processes(bench: Bench, most: int, rounds: int) -> dict[str, Any]:
    """Return the speed of one process with all threads, and of several that share threads and batch."""
    rates: dict[int, list[float]] = {1: [], most: []}
    for number in range(1, rounds + 1):
        for count in rates:
            settings = {**our_settings("speed", bench.text.source), "processes": count}
            row = bench.run("processes", "ours", settings, seed=number, steps=PROCESS_STEPS, measured=False)
            rates[count].append(row["result"]["tokens_per_s"])
    batch = settings["recipe"]["base"]["batch_tokens"]
    return {
        str(count): {
            "threads_each": max(1, bench.threads // count),
            "tokens_per_s": round(median(measured)),
            "step_ms": round(1000 * batch / median(measured), 1),
            "rounds": len(measured),
        }
        for count, measured in rates.items()
    }


def _sizes(summary: dict[str, Any]) -> list[tuple[str, list[dict[str, Any]]]]:
    names = dict.fromkeys(point["size"] for point in summary["points"])
    return [(name, [point for point in summary["points"] if point["size"] == name]) for name in names]


def _told(summary: dict[str, Any]) -> str:
    lines = ["| size | parameters | tokens | compute | seconds | bits per byte |", "| --- " * 6 + "|"]
    for point in summary["points"]:
        lines.append(
            f"| {point['size']} | {point['parameters']:,} | {point['tokens'] / 1e6:.2f} M | "
            f"{point['flops']:.2e} | {point['seconds']:.0f} | {point['bits_per_byte']:.3f} |"
        )
    law = PowerLaw(**summary["law"])
    lines += [
        "",
        f"bits per byte = {law.factor:.3g} C^-{law.exponent:.4f} through the {len(summary['frontier'])} best "
        f"points, R² {law.r_squared:.3f}",
    ]
    return "\n".join(lines)


def _processes_told(summary: dict[str, Any]) -> str:
    return "\n".join(
        f"{count} x {values['threads_each']} threads: {values['step_ms']} ms a step, "
        f"{values['tokens_per_s']:,} tokens/s (median of {values['rounds']})"
        for count, values in summary.items()
    )


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("python -m benchmarks.scaling", "How ours grows with compute.", EXAMPLES)
    parser.add_argument("text", type=Path, help="folder of .txt, .md or .jsonl files, see benchmarks.text")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for results; goes on where it stopped"
    )
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="LAYERSxWIDTH")
    parser.add_argument(
        "--tokens-per-parameter", type=float, nargs="+", default=LENGTHS, help="how long each is trained"
    )
    parser.add_argument(
        "--threads", type=int, default=machine.cores(), help="CPU threads (default: all cores)"
    )
    parser.add_argument(
        "--processes", type=int, metavar="N", help="instead: step time on 1 and on N processes"
    )
    parser.add_argument("--rounds", type=int, default=5, help="of --processes (default: 5)")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
