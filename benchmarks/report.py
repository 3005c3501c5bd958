"""Rows of runs.jsonl -> medians over seeds, ratios, and a table that can be read."""

from __future__ import annotations

import json
import math
from statistics import median
from typing import Any

from benchmarks.rows import Row

Settings = dict[str, Any]
HEADINGS = (
    *("minutes", "system", "held-out bits per byte", "to ours", "tokens/s", "tokens", "steps"),
    *("seconds", "of them starting", "parameters", "bytes per token", "share of peak", "how"),
)


def swept(rows: list[Row], system: str, text: str, start: Settings, keys: tuple[str, ...]) -> Settings | None:
    """Return the best settings that a sweep found around `start`; `keys` are those that it may change."""

    def fixed(settings: Settings) -> Settings:
        return {key: value for key, value in settings.items() if key not in keys}

    found = [
        row
        for row in rows
        if (row["kind"], row.get("system"), row.get("text")) == ("sweep", system, text)
        and fixed(row["settings"]) == fixed(start)
    ]
    best = min(found, key=lambda row: float(row["result"]["bits_per_byte"]), default=None)
    return best and dict(best["settings"])


def summarize(rows: list[Row], text: str, threads: int) -> dict[str, Any]:
    """Return all that can be said of the runs on one text with so many threads."""
    rows = [row for row in rows if row["threads"] == threads and row.get("text", text) == text]
    machine: dict[str, Any] = next((row["result"] for row in reversed(rows) if row["kind"] == "machine"), {})
    runs: dict[str, dict[str, Any]] = {}
    for minutes in sorted({row["minutes"] for row in rows if row["kind"] == "run"}):
        of_minutes = [row for row in rows if row["kind"] == "run" and row["minutes"] == minutes]
        runs[f"{minutes:g}"] = {
            system: _medians(_latest(of_minutes, system), machine)
            for system in dict.fromkeys(row["system"] for row in of_minutes)
        }
    summary: dict[str, Any] = {"text": text, "machine": machine, "runs": runs}
    for systems in runs.values():
        for values in systems.values():
            if "ours" in systems:
                values["bits_per_byte_to_ours"] = round(
                    values["bits_per_byte"] / systems["ours"]["bits_per_byte"], 4
                )
    summary["when_ours_had_nanochats"] = _overtaken(rows, runs)
    sweeps = [row for row in rows if row["kind"] == "sweep"]
    summary["sweeps"] = [
        {key: row[key] for key in ("system", "steps", "settings")}
        | {"bits_per_byte": row["result"]["bits_per_byte"]}
        for row in sorted(sweeps, key=lambda row: (row["system"], row["result"]["bits_per_byte"]))
    ]
    summary["speed"] = _speed(rows, machine)
    summary["quick"] = {
        row["system"]: row["result"]["bits_per_byte"] for row in rows if row["kind"] == "quick"
    }
    return summary


def _latest(rows: list[Row], system: str) -> list[Row]:
    """Return a system's rows with the settings that it was run with last: others are no longer its own."""
    own = [row for row in rows if row["system"] == system]
    newest = json.dumps(own[-1]["settings"], sort_keys=True)
    return [row for row in own if json.dumps(row["settings"], sort_keys=True) == newest]


def _medians(rows: list[Row], machine: dict[str, Any]) -> dict[str, Any]:
    results = [row["result"] for row in rows]

    def middle(key: str, digits: int = 0) -> float:
        return round(median(float(result[key]) for result in results), digits)

    values = [result["bits_per_byte"] for result in results]
    return {
        "seeds": sorted(row["seed"] for row in rows),
        "bits_per_byte": round(median(values), 4),
        "lowest": round(min(values), 4),
        "highest": round(max(values), 4),
        "tokens_per_s": middle("tokens_per_s"),
        "tokens": middle("tokens"),
        "steps": middle("steps"),
        "seconds": middle("seconds", 1),
        "starting_s": middle("starting_s", 1),
        "parameters": results[0]["parameters"],
        "bytes_per_token": round(results[0]["bytes_per_token"], 3),
        "how": results[0]["how"],
        "mfu": _mfu(results[0]["flops_per_token"], middle("tokens_per_s"), results[0]["how"], machine),
        "settings": rows[0]["settings"],
    }


def _mfu(flops: int | None, tokens_per_s: float, how: str, machine: dict[str, Any]) -> float | None:
    """Return the share of the machine's measured peak of matrix products in the dtype of the run."""
    peak = machine.get("peak_gflops", {}).get(how.partition(",")[0])
    return round(flops * tokens_per_s / 1e9 / float(peak), 3) if flops and peak else None


def _overtaken(rows: list[Row], runs: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Say, for each wall-clock of nanochat, when ours had its bits per byte.

    Twice: on the way, at an age of ours between its first and last step, whose learning rates had not come
    down yet; and by a complete run of ours, the shortest that got there.
    """
    told = []
    for minutes, systems in runs.items():
        if not {"ours", "nanochat"} <= systems.keys():
            continue
        goal = systems["nanochat"]["bits_per_byte"]
        own = _latest([r for r in rows if r["kind"] == "run" and r["minutes"] == float(minutes)], "ours")
        times = [_reached(row["result"]["curve"], goal) for row in own]
        seconds = None if None in times else median(time for time in times if time is not None)
        shorter = [float(m) for m, s in runs.items() if "ours" in s and s["ours"]["bits_per_byte"] <= goal]
        told.append(
            {
                "nanochat_minutes": float(minutes),
                "bits_per_byte": goal,
                "on_the_way_s": seconds and round(seconds, 1),
                "by_a_run_of_minutes": min(shorter, default=None),
            }
        )
    return told


def _reached(curve: list[list[float]], goal: float) -> float | None:
    """Return when a curve of (seconds, step, bits per byte) went through `goal`, straight in log time."""
    points = sorted((float(seconds), float(value)) for seconds, _, value in curve)
    for number, (seconds, value) in enumerate(points):
        if value <= goal:
            if number == 0:
                return seconds
            before, above = points[number - 1]
            share = (above - goal) / (above - value)
            return math.exp(math.log(before) + share * (math.log(seconds) - math.log(before)))
    return None


def _speed(rows: list[Row], machine: dict[str, Any]) -> dict[str, Any]:
    speeds: dict[str, Any] = {}
    for system in ("ours", "hf_trainer"):
        own = [row for row in rows if row["kind"] == "speed" and row["system"] == system]
        if own:
            results = [row["result"] for row in _latest(own, system)]
            rates = [result["tokens_per_s"] for result in results]
            speeds[system] = {
                "rounds": len(rates),
                "tokens_per_s": round(median(rates)),
                "lowest": round(min(rates)),
                "highest": round(max(rates)),
                "parameters": results[0]["parameters"],
                "how": results[0]["how"],
                "mfu": _mfu(results[0]["flops_per_token"], median(rates), results[0]["how"], machine),
            }
    if len(speeds) == 2:
        speeds["ratio"] = round(speeds["ours"]["tokens_per_s"] / speeds["hf_trainer"]["tokens_per_s"], 3)
    return speeds


def table(summary: dict[str, Any]) -> str:
    """Return the summary as a page of Markdown."""
    machine = summary["machine"]
    peaks = ", ".join(f"{rate:,.0f} GFLOP/s in {dtype}" for dtype, rate in machine["peak_gflops"].items())
    lines = [
        f"{machine['cpu']}, {machine['threads']} threads, torch {machine['torch']}; matrix products: {peaks}",
        f"text {summary['text']}; bits per byte and rates are medians over seeds, ranges in brackets",
    ]
    if summary["runs"]:
        lines += ["", _row(*HEADINGS), _row(*["---"] * len(HEADINGS))]
    for minutes, systems in summary["runs"].items():
        for system, v in sorted(systems.items(), key=lambda item: float(item[1]["bits_per_byte"])):
            spread = (
                f"{v['bits_per_byte']:.3f} ({v['lowest']:.3f}-{v['highest']:.3f}, {len(v['seeds'])} seeds)"
            )
            lines.append(
                _row(
                    minutes,
                    system,
                    spread,
                    f"{v['bits_per_byte_to_ours']:.3f}" if "bits_per_byte_to_ours" in v else "",
                    f"{v['tokens_per_s']:,.0f}",
                    f"{v['tokens'] / 1e6:.2f} M",
                    f"{v['steps']:.0f}",
                    f"{v['seconds']:.0f}",
                    f"{v['starting_s']:.0f}",
                    f"{v['parameters'] / 1e6:.2f} M",
                    f"{v['bytes_per_token']:.2f}",
                    f"{v['mfu']:.0%}" if v["mfu"] else "",
                    v["how"],
                )
            )
    for told in summary["when_ours_had_nanochats"]:
        way, run = told["on_the_way_s"], told["by_a_run_of_minutes"]
        lines += [
            "",
            f"nanochat after {told['nanochat_minutes']:g} minutes: {told['bits_per_byte']:.3f}. "
            + (f"Ours, on the way: after {way:.0f} s. " if way else "Ours, on the way: not reached. ")
            + (f"A whole run of ours: {run:g} minutes." if run else "No whole run of ours had it."),
        ]
    speed = summary["speed"]
    for system in sorted(speed.keys() - {"ratio"}, reverse=True):
        v = speed[system]
        share = f", {v['mfu']:.0%} of peak" if v["mfu"] else ""
        lines += [
            "",
            f"same shape, {system}: {v['tokens_per_s']:,} tokens/s ({v['lowest']:,}-{v['highest']:,}, "
            f"{v['rounds']} rounds, {v['parameters'] / 1e6:.2f} M parameters, {v['how']}{share})",
        ]
    if "ratio" in speed:
        lines += ["", f"ours / HF Trainer: {speed['ratio']:.2f}"]
    for system in sorted({row["system"] for row in summary["sweeps"]}):
        own = [row for row in summary["sweeps"] if row["system"] == system]
        lines += ["", f"{system}: best of {len(own)} settings tried for {own[0]['steps']} steps: "]
        lines[-1] += f"{own[0]['bits_per_byte']:.3f} with {json.dumps(own[0]['settings'])}"
    for system, value in summary["quick"].items():
        lines += ["", f"quick, {system}: {value:.3f} bits per byte (a trial of the benchmark; means nothing)"]
    return "\n".join(lines)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"
