"""Rows of systems -> a summary, and a page of Markdown. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = dict[str, Any]
NAMES = {"sqlite": "ours, SQLite", "postgresql": "ours, PostgreSQL", "llm": "llm"}


def summarize(rows: Sequence[Row], here: Mapping[str, Any]) -> dict[str, Any]:
    """Return the newest result of each system, with what can be said of growth."""
    systems = {row["system"]: row["result"] for row in rows}
    return {
        "machine": dict(here),
        "lines": rows[-1]["lines"] if rows else 0,
        "systems": {
            name: result | {"growth": _growth(result)} if "filled" in result else result
            for name, result in systems.items()
        },
    }


def _growth(result: Row) -> dict[str, float]:
    """How much more it costs, divided by how much more there was to do: 1 is fair.

    Of search and pages, whose results are as many in a large house as in a small one: simply how much more.
    """
    small, large = result["filled"]
    grown = {
        kind: round(large["search"][kind]["p50_ms"] / small["search"][kind]["p50_ms"], 2)
        for kind in large["search"]
    }
    grown |= {
        kind: round(large["pages"][kind]["p50_ms"] / small["pages"][kind]["p50_ms"], 2)
        for kind in large["pages"]
    }
    for name, size in (("exports", "rows"), ("forgets", "messages")):
        few, many = result[name]
        if few[size] and few["seconds"]:
            grown[name] = round((many["seconds"] / few["seconds"]) / (many[size] / few[size]), 2)
    return grown


def table(summary: Mapping[str, Any]) -> str:
    """Return the summary as Markdown."""
    systems = summary["systems"]
    lines = [
        f"{summary['lines']:,} lines; {summary['machine']['cpu']}, {summary['machine']['cores']} cores",
        "",
    ]
    lines += [_row("", *(NAMES[name] for name in systems)), _row("---", *["---"] * len(systems))]
    facts = {name: _facts(result) for name, result in systems.items()}
    known = dict.fromkeys(fact for own in facts.values() for fact in own)
    lines += [_row(fact, *(own.get(fact, "") for own in facts.values())) for fact in known]
    return "\n".join(lines)


def _facts(result: Row) -> dict[str, str]:
    facts: dict[str, str] = {}
    batched = [part["batched"] for part in result["filled"]] if "filled" in result else [result["batched"]]
    rate = sum(part["lines"] for part in batched) / sum(part["seconds"] for part in batched)
    facts["lines a second, batched"] = f"{rate:,.0f}"
    single = result["single"]
    for name, what in (("keep", "a turn kept"), ("mark", "marked as posted"), ("hear", "a person heard")):
        if name in single:
            facts[f"{what}, ms: median, 95 %"] = _spread(single[name])
    if "p50_ms" in single:
        facts["a turn kept, ms: median, 95 %"] = _spread(single)
    whole = result["filled"][-1] if "filled" in result else result
    grown = result.get("growth", {})
    for kind, value in {**whole["search"], **whole.get("pages", {})}.items():
        name = kind if kind.startswith("page") else f"search: {kind}"
        facts[f"{name}, ms: median, 95 %"] = _spread(value) + _times(grown.get(kind))
    for made, growth in zip(result.get("exports", []), (None, grown.get("exports")), strict=False):
        facts[f"export of {made['rows']:,} pairs, s"] = f"{made['seconds']:.1f}" + _times(growth)
    for gone, growth in zip(result.get("forgets", []), (None, grown.get("forgets")), strict=False):
        facts[f"forgetting {gone['messages']:,} messages of {gone['lines_in_house']:,}, s"] = (
            f"{gone['seconds']:.2f}" + _times(growth)
        )
    if backup := result.get("backup"):
        facts["backup, s"] = f"{backup['seconds']:.1f} ({backup['rows']:,} rows)"
    size = whole["bytes"]
    facts["on disk, MB"] = f"{size / 1e6:,.0f}"
    return facts


def _spread(value: Mapping[str, float]) -> str:
    return f"{value['p50_ms']:.2f}, {value['p95_ms']:.2f}"


def _times(growth: float | None) -> str:
    return "" if growth is None else f" (×{growth:.2f})"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"
