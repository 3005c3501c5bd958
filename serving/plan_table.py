"""A plan as people read it: engines, ages, what is left out, each with its reason."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

from serving.plan import EnginePlan, Plan

PIPE_WIDTH = 160
"""Columns where the output is no terminal."""


def show(plan: Plan) -> None:
    """Print a plan to stdout."""
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    console = Console(width=width, highlight=False, markup=False)
    for note in plan.notes:
        console.print(note, soft_wrap=True)
    console.print()
    console.print(_engines(plan))
    if plan.ages:
        console.print()
        console.print(_ages(plan))
    if plan.left_out:
        console.print("\nleft out", style="bold")
        for left in plan.left_out:
            console.print(f"  {left.address}: {left.why}", soft_wrap=True)


def _engines(plan: Plan) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("engine", "on", "at", "ages", "why"):
        table.add_column(title, overflow="fold")
    for engine in plan.engines:
        table.add_row(engine.name, where(engine), engine.url, _served(engine), engine.why)
    return table


def _ages(plan: Plan) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("age", no_wrap=True)
    for title in ("engine", "ready", "why"):
        table.add_column(title, overflow="fold")
    for age in plan.ages:
        ready = "at once" if age.hot else "on demand"
        table.add_row(age.address, ", else ".join(age.engines), ready, age.why)
    return table


def where(engine: EnginePlan) -> str:
    """Say on what an engine computes."""
    if engine.kind == "remote":
        return "elsewhere"
    if engine.kind == "embedded":
        return "this process"
    if not engine.devices:
        cores = [str(core) for group in engine.cores for core in group]
        return f"core{'s' * (len(cores) > 1)} {', '.join(cores)}"
    ways = [
        f"{name} {size}"
        for name, size in (
            ("tensor", engine.tensor_parallel),
            ("pipeline", engine.pipeline_parallel),
            ("data", engine.data_parallel),
        )
        if size > 1
    ]
    spread = f" ({' x '.join(ways)} parallel)" if ways else ""
    return f"GPU{'s' * (len(engine.devices) > 1)} {', '.join(map(str, engine.devices))}{spread}"


def _served(engine: EnginePlan) -> str:
    words = []
    if engine.ages:
        words.append(f"{len(engine.ages)} by turns" if engine.walks else "1 model")
    if engine.lora_slots:
        count = len(engine.adapters)
        words.append(f"{count} adapter{'s' * (count != 1)}, {engine.lora_slots} at a time")
    return ", ".join(words)
