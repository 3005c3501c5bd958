"""Rows of visits -> medians, ratios, and tables that can be read. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, median
from typing import Any

from benchmarks.served.work import STREAMS, WORKLOADS, percentile

Row = dict[str, Any]
OURS = "embedded"
MOST_BEYOND = 1.2
"""What eight ages of one lineage may take, in multiples of their weights, beside their cache."""
MIB = 2**20


def summarize(rows: Sequence[Row], machine: Mapping[str, Any], left_out: Mapping[str, str]) -> dict[str, Any]:
    """Return all that can be said of rows with the same threads and plan, model by model."""
    models: dict[str, Any] = {}
    for name in dict.fromkeys(row["model"] for row in rows):
        own = _newest([row for row in rows if row["model"] == name], "weights")
        systems = {
            system: _system(_newest([row for row in own if row["system"] == system], "code"))
            for system in dict.fromkeys(row["system"] for row in own)
        }
        for values in systems.values():
            _add_ratios(values, systems.get(OURS, {}))
        models[name] = {"facts": own[-1]["facts"], "systems": systems}
    known = {row["system"] for row in rows}
    missing = {system: why for system, why in left_out.items() if system not in known}
    return {"machine": dict(machine), "left_out": missing, "models": models}


def _newest(rows: Sequence[Row], key: str) -> list[Row]:
    """Return the rows that have the same value as the last one; others are no longer comparable."""
    return [row for row in rows if row[key] == rows[-1][key]]


def _system(rows: Sequence[Row]) -> dict[str, Any]:
    results = [row["result"] for row in rows if "result" in row]
    failed = [row for row in rows if "error" in row]
    values: dict[str, Any] = {"visits": len(results), "refused": rows[-1].get("refused", {})}
    if failed and (not results or rows[-1] is failed[-1]):
        values["error"] = failed[-1]["error"]
    if results:
        values["version"] = results[-1]["version"]
        values["start_s"] = round(median(result["start_s"] for result in results), 3)
        values["workloads"] = {
            name: _workload([result["workloads"][name] for result in results if name in result["workloads"]])
            for name in WORKLOADS
            if any(name in result["workloads"] for result in results)
        }
        values["weights_bytes"] = results[-1]["weights_bytes"]
        values["memory"] = _memory(results)
    return values


def _workload(measured: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    runs = [run for visit in measured for run in visit["runs"]]
    rates = [run["tokens_per_s"] for run in runs]
    firsts = [first_s for run in runs for first_s in run["first_s"]]
    return {
        "runs": len(runs),
        "tokens_per_s": round(median(rates), 2),
        "lowest": round(min(rates), 2),
        "highest": round(max(rates), 2),
        "first_s": round(median(firsts), 4),
        "first_s_p95": round(percentile(firsts, 0.95), 4),
        "agreement": round(fmean(visit["agreement"] for visit in measured), 4),
    }


def _memory(results: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return medians over visits; `beyond` is what eight ages take more than one did, in the same visit."""
    known = [result["memory"] for result in results if result["memory"].get("one")]
    if not known:
        return None
    last = [memory.get("ages") or memory["one"] for memory in known]
    kinds = ("rss", "pss", "anonymous")
    of_one = {kind: round(median(memory["one"][kind] for memory in known)) for kind in kinds}
    told: dict[str, Any] = {"peak_rss": round(median(m["peak_rss"] for m in last)), "one": of_one}
    both = [memory for memory in known if memory.get("ages")]
    if both:
        told["beyond"] = {
            kind: round(median(memory["ages"][kind] - memory["one"][kind] for memory in both))
            for kind in kinds
        }
    return told


def _add_ratios(values: dict[str, Any], ours: Mapping[str, Any]) -> None:
    for name, measured in values.get("workloads", {}).items():
        own = ours.get("workloads", {}).get(name)
        if own:
            measured["ours_to_it"] = round(own["tokens_per_s"] / measured["tokens_per_s"], 3)


def table(summary: Mapping[str, Any]) -> str:
    """Return the summary as a page of Markdown."""
    machine = summary["machine"]
    lines = [f"{machine['cpu']}, {machine['cores']} cores; each system has {machine['threads']} threads"]
    for name, model in summary["models"].items():
        lines += _model(name, model)
    versions = {
        system: values["version"]
        for model in summary["models"].values()
        for system, values in model["systems"].items()
        if "version" in values
    }
    if versions:
        lines += ["", "Versions: " + "; ".join(f"{system}: {said}" for system, said in versions.items())]
    lines += [f"\nLeft out: {system}: {why}" for system, why in summary["left_out"].items()]
    return "\n".join(lines)


def _model(name: str, model: Mapping[str, Any]) -> list[str]:
    facts, systems = model["facts"], model["systems"]
    lines = [
        "",
        f"## {name}: {facts['parameters'] / 1e6:.1f} M parameters, {facts['prompt_tokens']} tokens read, "
        f"{facts['new_tokens']} written",
    ]
    for workload, title in WORKLOADS.items():
        lines += _speeds(workload, title, systems)
    lines += _costs(systems, facts)
    lines += [f"\nFailed: {system}: {v['error']}" for system, v in systems.items() if "error" in v]
    return lines


def _speeds(workload: str, title: str, systems: Mapping[str, Any]) -> list[str]:
    measured = {s: v["workloads"][workload] for s, v in systems.items() if workload in v.get("workloads", {})}
    if not measured:
        return []
    lines = ["", f"### {name_of(title)}", ""]
    lines += _head(
        "system", "tokens/s (lowest-highest)", "ours to it", "first token", "95 % within", "same tokens"
    )
    for system, v in measured.items():
        lines.append(
            _row(
                system,
                f"{v['tokens_per_s']:,.1f} ({v['lowest']:,.1f}-{v['highest']:,.1f})",
                f"{v['ours_to_it']:.2f}" if "ours_to_it" in v and system != OURS else "",
                f"{v['first_s']:.3f} s",
                f"{v['first_s_p95']:.3f} s",
                f"{v['agreement']:.1%}",
            )
        )
    refused = {s: v["refused"][workload] for s, v in systems.items() if workload in v["refused"]}
    return [*lines, *(f"\nNot {system}: {why}." for system, why in refused.items())]


def _costs(systems: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    if not any("start_s" in v for v in systems.values()):
        return []
    lines = ["", "### Start and memory", ""]
    lines += _head(
        *("system", "start to first token", "weights on disk", "peak RSS", "one age: PSS", "anonymous"),
        *(f"{STREAMS - 1} ages more: PSS", "anonymous"),
    )
    for system, v in systems.items():
        if "start_s" not in v:
            continue
        memory = v["memory"] or {}
        one, beyond = memory.get("one", {}), memory.get("beyond", {})
        lines.append(
            _row(
                system,
                f"{v['start_s']:.1f} s",
                _mib(v["weights_bytes"]),
                *(_mib(value) for value in (memory.get("peak_rss"), one.get("pss"), one.get("anonymous"))),
                *(_mib(beyond.get(kind)) for kind in ("pss", "anonymous")),
            )
        )
    if any((v.get("memory") or {}).get("beyond") for v in systems.values()):
        weights, cache = (STREAMS - 1) * facts["weights_bytes"], facts["cache_bytes"]
        lines.append(
            f"\n{STREAMS - 1} ages weigh {_mib(weights)}; {MOST_BEYOND} times that and the cache of "
            f"{STREAMS} streams ({_mib(cache)}) is {_mib(MOST_BEYOND * weights + cache)}."
        )
    return lines


def name_of(title: str) -> str:
    return title[0].upper() + title[1:]


def _mib(value: float | None) -> str:
    return "" if value is None else f"{value / MIB:,.1f} MiB"


def _head(*cells: str) -> list[str]:
    return [_row(*cells), _row(*["---"] * len(cells))]


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"
