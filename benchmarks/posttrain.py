"""What our layer over TRL costs: ours and TRL's own command line, the same rows and settings, in turn.

    SELVES_HOME=home python -m benchmarks.posttrain ember@chat-000150 --rounds 5

Each run is a process of its own, timed from outside: once with few steps and once with many. What lies
between the two is the steps alone: forward, backward, optimizer, logging, and whatever a layer does at each.
What is left is what a run costs whatever its length: starting, loading, preparing rows, and, of ours,
measuring before and after, writing a diary, and keeping an age. CPU seconds are compared, as other work on
the machine disturbs them least; wall-clock stands beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks import machine
from benchmarks.rows import Row, append_row, read_rows, tell
from selves.cli import make_parser, run_command
from selves.errors import TrainingError
from selves.files import write_file
from selves.lineage import find_age
from selves.settings import House

EXAMPLES = """
python -m benchmarks.posttrain ember@chat-000150 --out results --rounds 5
python -m benchmarks.posttrain smollm2@import-000000 --lora 16 --few 2 --many 8 --rounds 2
"""
SYSTEMS = ("ours", "trl")
WORDS = ("tea", "rain", "old maps", "the sea", "bread", "quiet mornings", "long walks", "books")
BATCH, RATE, LONGEST = 8, 1e-4, 128


class Spent(NamedTuple):
    """What a process took."""

    cpu_s: float
    wall_s: float
    peak_mb: float


def main(argv: Sequence[str]) -> int:
    parser = make_parser("benchmarks.posttrain", "Our layer over TRL, and TRL's own command line.", EXAMPLES)
    parser.add_argument("base", metavar="ADDRESS")
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--few", type=int, default=20, metavar="STEPS")
    parser.add_argument("--many", type=int, default=220, metavar="STEPS")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lora", type=int, default=0, metavar="RANK", help="of an adapter; 0: all weights")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    house = House.from_environment()
    age = find_age(house.checkpoints, options.base)
    work: Path = options.out.absolute() / "posttrain-work"
    tokens = write_data(work / "data", age.folder)
    path = options.out.absolute() / "posttrain.jsonl"
    rows = read_rows(path)
    for number in range(options.rounds):
        for system in SYSTEMS if number % 2 else SYSTEMS[::-1]:
            for steps in (options.few, options.many):
                row: Row = {"system": system, "base": options.base, "steps": steps, "round": number}
                row |= {"threads": options.threads, "lora": options.lora}
                if any(row.items() <= known.items() for known in rows):
                    continue
                tell(f"round {number + 1}: {system}, {steps} steps")
                command = (
                    ours(options, work, steps) if system == "ours" else trl(options, age.folder, work, steps)
                )
                spent = run(command, work / f"{system}.log", options.threads, house)
                rows.append(row | spent._asdict())
                append_row(path, rows[-1])
    same = {"base": options.base, "threads": options.threads, "lora": options.lora}
    wanted = [row for row in rows if same.items() <= row.items()]
    summary = summarize(wanted, options.few, options.many, tokens)
    summary["machine"] = {"cpu": machine.cpu_name(), "cores": machine.cores(), "threads": options.threads}
    write_file(options.out / "posttrain.json", json.dumps(summary, indent=2) + "\n")
    print(json.dumps(summary) if options.json else table(summary))
    return 0


def write_data(folder: Path, model: Path) -> float:
    """Write rows for both systems, and return how many tokens a step reads on the mean."""
    from training.imports import load_tokenizer

    source = random.Random(1)
    rows = []
    for number in range(512):
        first, second, third = source.sample(WORDS, 3)
        asked = f"Tell me of {first} and {second}, please; it is the {number}th time that somebody asks."
        said = f"I like {first} a lot, and {second} too, but of {third} I know nothing. What do you like?"
        prompt, answer = ({"role": r, "content": c} for r, c in (("user", asked), ("assistant", said)))
        rows.append({"prompt": [prompt], "completion": [answer]})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    tokenizer = load_tokenizer(model)
    lengths = [
        min(
            LONGEST,
            len(
                tokenizer.apply_chat_template(row["prompt"] + row["completion"], return_dict=True)[
                    "input_ids"
                ]
            ),
        )
        for row in rows
    ]
    return BATCH * sum(lengths) / len(lengths)


def ours(options: argparse.Namespace, work: Path, steps: int) -> list[str]:
    """Return our command."""
    recipe = f"""
lineage = "bench-posttrain"
base = "{options.base}"
method = "sft"
stage = "s{steps}"
steps = {steps}
batch = {BATCH}
rate = {RATE}
schedule = "linear"
warmup = 0.0
max_tokens = {LONGEST}
held_out = 0.02
[[data]]
file = "{work / "data" / "train.jsonl"}"
[diary]
max_tokens = 16
"""
    if options.lora:
        recipe += f"[lora]\nrank = {options.lora}\nalpha = {options.lora}\n"
    path = work / f"ours-{steps}.toml"
    path.write_text(recipe)
    return [
        sys.executable,
        "-m",
        "selves",
        "train",
        "post",
        str(path),
        "--fresh",
        "--threads",
        str(options.threads),
    ]


def trl(options: argparse.Namespace, folder: Path, work: Path, steps: int) -> list[str]:
    """Return TRL's command, with the settings that ours gives it."""
    told: dict[str, Any] = {
        "model_name_or_path": folder,
        "dataset_name": work / "data",
        "output_dir": work / "trl",
        "max_steps": steps,
        "per_device_train_batch_size": BATCH,
        "learning_rate": RATE,
        "lr_scheduler_type": "linear",
        "max_length": LONGEST,
        "completion_only_loss": True,
        "gradient_checkpointing": False,
        "use_cpu": True,
        "bf16": False,
        "dtype": "float32",
        "seed": 1,
        "data_seed": 1,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    if options.lora:
        told |= {"use_peft": True, "lora_r": options.lora, "lora_alpha": options.lora, "lora_dropout": 0.0}
        told["lora_target_modules"] = "all-linear"
    command = [str(Path(sys.executable).parent / "trl"), "sft"]
    for name, value in told.items():
        command += [f"--{name}", str(value)]
    return command


def run(command: list[str], log: Path, threads: int, house: House) -> Spent:
    """Run a command to its end. Raises TrainingError with the last of what it said."""
    env = os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "SELVES_HOME": str(house.home),
        "GOMP_SPINCOUNT": "1000",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    with log.open("wb") as out:
        begun = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=env)
        _, status, used = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        said = log.read_text("utf-8", "replace").strip().splitlines()
        raise TrainingError(
            f"{' '.join(command[:4])} ended with {process.returncode}: {said[-1] if said else ''}",
            f"see {log}",
        )
    return Spent(round(used.ru_utime + used.ru_stime, 3), round(wall_s, 3), round(used.ru_maxrss / 1024, 1))


def summarize(rows: Sequence[Row], few: int, many: int, tokens: float) -> dict[str, Any]:
    """Return for each system what a step and what the rest takes, and ours to TRL's (pure)."""
    found: dict[str, Any] = {}
    steps_s: dict[str, list[float]] = {}
    for system in SYSTEMS:
        taken = {(row["round"], row["steps"]): row for row in rows if row["system"] == system}
        rounds = sorted({number for number, _ in taken})
        pairs = [(taken[n, few], taken[n, many]) for n in rounds if {(n, few), (n, many)} <= taken.keys()]
        each = [(late["cpu_s"] - early["cpu_s"]) / (many - few) for early, late in pairs]
        walls = [(late["wall_s"] - early["wall_s"]) / (many - few) for early, late in pairs]
        rest = [early["cpu_s"] - few * step for (early, _), step in zip(pairs, each, strict=True)]
        steps_s[system] = each
        found[system] = {
            "step_cpu_s": round(median(each), 5),
            "range": [round(min(each), 5), round(max(each), 5)],
            "tokens_per_cpu_s": round(tokens / median(each)),
            "tokens_per_s": round(tokens / median(walls)),
            "rest_cpu_s": round(median(rest), 1),
            "peak_mb": round(median(late["peak_mb"] for _, late in pairs)),
            "rounds": len(pairs),
        }
    ratios = [a / b for a, b in zip(steps_s["ours"], steps_s["trl"], strict=False)]
    return {
        "systems": found,
        "step_to_trl": round(found["ours"]["step_cpu_s"] / found["trl"]["step_cpu_s"], 4),
        "of_each_round": [round(ratio, 3) for ratio in ratios],
        "tokens_per_step": round(tokens, 1),
    }


def table(summary: dict[str, Any]) -> str:
    """Return the summary in Markdown."""
    lines = [
        "| | CPU s per step | tokens per CPU s | tokens per s | the rest of a run, CPU s | peak MB |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for system, one in summary["systems"].items():
        low, high = one["range"]
        lines.append(
            f"| {system} | {one['step_cpu_s']:.4f} ({low:.4f}-{high:.4f}) | {one['tokens_per_cpu_s']:,} "
            f"| {one['tokens_per_s']:,} | {one['rest_cpu_s']} | {one['peak_mb']} |"
        )
    rounds = ", ".join(map(str, summary["of_each_round"]))
    lines.append(f"\na step of ours to one of TRL's: {summary['step_to_trl']} (each round: {rounds})")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
