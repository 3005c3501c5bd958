"""What a diary costs: the share of training time that goes into writing, at a recipe's own spacing of ages.

    python -m benchmarks.diary recipes/demo.toml             raises the self in a folder that is dropped
    python -m benchmarks.diary --model smollm2@import-000000     DiaryCallback in transformers' Trainer

Seconds are of CPU time in one thread, so that other work on the machine does not matter. Of a recipe, the
median step counts as often as the recipe has steps; compiling, measuring and keeping ages do not count.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console

from selves.cli import make_parser, run_command
from selves.lineage import find_age, list_ages
from selves.settings import House

EXAMPLES = """
python -m benchmarks.diary recipes/demo.toml --threads 1
python -m benchmarks.diary --model smollm2@import-000000 --steps 64 --batch 4 --threads 1
"""


def main(argv: Sequence[str]) -> int:
    options = _parser().parse_args(argv)
    import torch

    torch.set_num_threads(options.threads)
    found = [of_recipe(path, options.threads, options.part) for path in options.recipe]
    if options.model:
        found.append(of_trainer(options.model, options.steps, options.batch))
    if options.json:
        print(json.dumps(found))
        return 0
    print("| what | moments | writings | writing, s | all, s | share |")
    print("| --- | --- | --- | --- | --- | --- |")
    for row in found:
        share = f"{100 * row['writing_s'] / row['all_s']:.2f} %"
        cells = (
            row["what"],
            row["moments"],
            row["writings"],
            f"{row['writing_s']:.2f}",
            f"{row['all_s']:.1f}",
        )
        print(f"| {' | '.join(map(str, cells))} | {share} |")
    return 0


def of_recipe(path: Path, threads: int, part: int) -> dict[str, Any]:
    """Raise a self by a recipe, with a `part`th of its steps; return what writing and all its steps take."""
    from training import base, chat, diary, loop
    from training.recipe import load_recipe
    from training.watch import Watch

    recipe, house, watch = load_recipe(path), House.from_environment(), Watch(Console(stderr=True))
    stages = {"base": recipe.base.steps, "chat": recipe.chat.steps}
    less = {name: max(8, steps // part) for name, steps in stages.items()}
    recipe = recipe.model_copy(
        update={
            "base": recipe.base.model_copy(update={"steps": less["base"]}),
            "chat": recipe.chat.model_copy(update={"steps": less["chat"]}),
        }
    )
    spent: dict[str, list[float]] = {"write": [], "base": [], "chat": []}
    diary.write = _timed(diary.write, lambda *_: spent["write"])
    loop._Run._train_step = _timed(  # type: ignore[method-assign]
        loop._Run._train_step, lambda run, *_: spent[run.stage.name]
    )
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "corpora").symlink_to(house.corpora)
        house = house.model_copy(update={"home": Path(place)})
        base.train(recipe, house, watch, threads=threads)
        chat.train(recipe, house, watch, threads=threads)
        written = sum(len(age.writings()) for age in list_ages(house.checkpoints))
    steps_s = sum(median(spent[name]) * steps for name, steps in stages.items())
    return {
        "what": str(path),
        "moments": len(spent["write"]),
        "writings": written,
        "writing_s": sum(spent["write"]),
        "all_s": steps_s + sum(spent["write"]),
    }


def _timed(function: Callable[..., Any], where: Callable[..., list[float]]) -> Callable[..., Any]:
    def call(*arguments: Any, **more: Any) -> Any:
        begun = time.process_time()
        try:
            return function(*arguments, **more)
        finally:
            where(*arguments).append(time.process_time() - begun)

    return call


def of_trainer(address: str, steps: int, batch: int) -> dict[str, Any]:
    """Train an age of this house a little with transformers' Trainer, with all kinds of writings."""
    from datasets import Dataset  # type: ignore[import-untyped]
    from transformers import DataCollatorForLanguageModeling, Trainer, TrainingArguments

    from selves.lineage import read_diary
    from training.diary_callback import DiaryCallback
    from training.imports import load_model, load_tokenizer

    age = find_age(House.from_environment().checkpoints, address)
    model, tokenizer = load_model(age.folder).float(), load_tokenizer(age.folder)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    text = " ".join(f"In the year {n} they had tea, and in {n + 1} they had bread." for n in range(2000))
    ids = tokenizer(text)["input_ids"]
    rows = [{"input_ids": ids[n : n + 256]} for n in range(0, len(ids) - 256, 256)]
    with tempfile.TemporaryDirectory() as place:
        callback = DiaryCallback("measured")
        spent: list[float] = []
        callback._write = _timed(callback._write, lambda *_: spent)  # type: ignore[method-assign]
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=place, max_steps=steps, per_device_train_batch_size=batch, save_strategy="no",
                report_to="none", disable_tqdm=True, logging_steps=1,
            ),
            train_dataset=Dataset.from_list(rows),
            data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
            processing_class=tokenizer,
            callbacks=[callback],
        )  # fmt: skip
        begun = time.process_time()
        trainer.train()
        whole = time.process_time() - begun
        written = read_diary(Path(place) / "diary.jsonl")
    return {
        "what": f"{address}, {steps} steps of {batch} x 256 tokens",
        "moments": len({w.utterance.address for w in written}),
        "writings": len(written),
        "writing_s": sum(spent),
        "all_s": whole,
    }


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        "python -m benchmarks.diary", "Measure what share of training goes into writing.", EXAMPLES
    )
    parser.add_argument("recipe", nargs="*", type=Path, help="recipes to train by")
    parser.add_argument(
        "--part",
        type=int,
        default=1,
        metavar="N",
        help="take only an Nth of a recipe's steps, with all its ages; each step counts N times",
    )
    parser.add_argument("--model", metavar="ADDRESS", help="an age of this house for transformers' Trainer")
    parser.add_argument("--steps", type=int, default=64, help="of the Trainer (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=4, help="rows a step (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    return parser


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
