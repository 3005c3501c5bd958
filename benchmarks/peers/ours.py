"""Ours as a system: `selves train run` on a recipe, as a user would call it, with a clock around it.

The clock runs from the command to its end, with compiling, choosing how to compute, ages and state written;
only reading and tokenizing the text comes before it, as for the others. Ages are then read by transformers,
not by our code, and measured like the others' models.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import fmean
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from benchmarks.peers.hf_trainer import measure
from benchmarks.shared import Job, Result, documents, serve
from selves.lineage import METRICS_FILE, list_ages
from selves.settings import House
from training import base, budget, calibrate, checkpoint, cli, shards, speed
from training.gpt import flops_per_token
from training.recipe import Recipe, load_recipe

MEASURED_AGES = 6
"""The last so many ages make the curve; they stand at 1, 1/2, 1/4, ... of the steps."""


def train(job: Job) -> Result:
    work = Path(job.work) / "ours"
    work.mkdir(parents=True, exist_ok=True)
    os.environ["SELVES_HOME"] = str(work / "home")
    house = House.from_environment()
    if job.settings["compiled"]:
        speed.COMPILE_AFTER_S = 0.0  # so that a run too short for it is compiled
    steps = job.steps or _steps_within(job, work)
    recipe, seconds, lines = _run(job, steps, work, house)
    folder = house.checkpoints / recipe.lineage
    starting_s = seconds - lines[-1]["elapsed_s"]
    at = {line["step"]: line["elapsed_s"] + starting_s for line in lines}
    curve: list[tuple[float, int, float]] = []
    bytes_per_token = None
    ages = [age for age in list_ages(house.checkpoints, recipe.lineage) if age.address.step]
    texts = documents(job.text, "heldout") if job.measured else []
    for age in ages[-MEASURED_AGES:] if job.measured else ():
        model = AutoModelForCausalLM.from_pretrained(age.folder, dtype="float32").eval()
        tokenizer = Tokenizer.from_file(str(age.folder / "tokenizer.json"))
        measured, bytes_per_token = measure(model, tokenizer, texts, recipe.model.context)
        curve.append((round(at[age.address.step], 2), age.address.step, measured))
    state = checkpoint.read_progress(folder)
    tokens = steps * recipe.base.batch_tokens
    result = Result(
        seconds=seconds,
        starting_s=starting_s,
        steps=steps,
        tokens=tokens,
        tokens_per_s=tokens / lines[-1]["elapsed_s"],
        parameters=ages[-1].card.parameters,
        how=f"{state.precision}, {'compiled' if state.compiled else 'eager'}" if state else "",
        bits_per_byte=curve[-1][2] if curve else None,
        bytes_per_token=bytes_per_token,
        flops_per_token=_flops(recipe),
        curve=tuple(curve),
    )
    shutil.rmtree(folder)
    return result


def _run(job: Job, steps: int, work: Path, house: House) -> tuple[Recipe, float, list[dict[str, Any]]]:
    """Train anew for so many steps; return the recipe, the seconds it took, and its lines of metrics."""
    path, recipe = _recipe(job, steps, work)
    shards.prepare(recipe, house, print)
    count = job.settings.get("processes", 1)
    command = ["run", str(path), "--fresh", "--stage", "base", "--threads", str(max(1, job.threads // count))]
    begun = time.perf_counter()
    if count == 1:
        cli.main(command)
    else:
        program = [sys.executable, "-m", "selves", "train", *command, "--processes", str(count)]
        subprocess.run(program, check=True, stdout=sys.stderr)
    seconds = time.perf_counter() - begun
    metrics = house.checkpoints / recipe.lineage / METRICS_FILE
    lines = [json.loads(line) for line in metrics.read_text("utf-8").splitlines()]
    return recipe, seconds, lines


def _steps_within(job: Job, work: Path) -> int:
    """Return how many steps fill the job's minutes, as `selves train run --minutes` measures it."""
    recipe = _recipe(job, 1000, work)[1]
    return calibrate.steps_within(job.minutes, recipe, base.this_machine(job.threads))


def _recipe(job: Job, steps: int, work: Path) -> tuple[Path, Recipe]:
    path = work / "recipe.toml"
    path.write_text(_toml(_tables(job, steps)), "utf-8")
    return path, load_recipe(path)


def _tables(job: Job, steps: int) -> dict[str, Any]:
    """Return the recipe with the benchmark's text, seed and steps; it teaches no chat and writes no diary."""
    recipe = job.settings["recipe"]
    stated = {"heldout_tokens": 1, **recipe.get("base", {}), "steps": steps}
    return {
        **recipe,
        "lineage": "benchmark",
        "seed": job.seed,
        "corpus": [{"folder": job.settings["folder"]}],
        "base": stated,
        "chat": {**recipe.get("chat", {}), "steps": 0},
        "diary": {**recipe.get("diary", {}), "samples": 0},
    }


def _toml(tables: dict[str, Any]) -> str:
    """Write a recipe as TOML, in which its values look as in JSON."""
    lines = [f"{key} = {json.dumps(v)}" for key, v in tables.items() if not isinstance(v, dict | list)]
    for key, value in tables.items():
        for table in value if isinstance(value, list) else [value] if isinstance(value, dict) else []:
            lines.append(f"[[{key}]]" if isinstance(value, list) else f"[{key}]")
            lines += [f"{name} = {json.dumps(inner)}" for name, inner in table.items()]
    return "\n".join(lines) + "\n"


def _flops(recipe: Recipe) -> int:
    """Return the operations per token of a whole run, over the window lengths that its steps have."""
    shape, steps = budget.shape_of(recipe), recipe.base.steps
    return round(fmean(flops_per_token(shape, base.window_tokens(recipe, step)) for step in range(steps)))


if __name__ == "__main__":
    serve(train)
