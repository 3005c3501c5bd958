"""What rewards by other ages teach, beside what must not teach the same: controls, seeds, listeners held out.

    SELVES_HOME=home python -m benchmarks.novel audience --base ember@chat-000150 \\
        --listeners ember@base-000400 ember@base-000800 --others ember@base-000200

First what messages that are known to be good or bad are worth to the listeners, which trains nothing: a
reward that cannot tell these apart teaches nothing.

    SELVES_HOME=home python -m benchmarks.novel audience --check --base ember@chat-000150 \\
        --listeners ember@base-000400 ember@base-000800 --others ember@base-000200

Then each condition is a run of GRPO from the same base with the same settings; what answers are worth
differs:

    reward       what the listeners gain
    permuted     the same numbers, dealt out by chance among the answers to a prompt
    mismatched   what they gain where the answer is weighed for another prompt
    plain        an ordinary reward: an answer that does not go in circles

All are measured by the true reward on greedy answers to prompts that were held out, the same for all seeds,
by the listeners of the reward and by others. Ages that are there are not made again.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from rich.console import Console

from benchmarks.rows import tell
from selves.cli import make_parser, run_command
from selves.lineage import Age, find_age
from selves.settings import House
from selves.speech import ChatMessage
from training.evals.items import Completion, Said, bootstrap
from training.figure import mean
from training.imports import load_model, load_tokenizer
from training.novel import audience, letter, skills
from training.post.data import prepare
from training.post.figures import Loaded, greedy
from training.post.keeping import FIGURES_FILE
from training.post.models import Base
from training.post.recipe import PostRecipe
from training.post.rewards import load
from training.post.rows import Row
from training.post.run import train
from training.watch import Watch

EXAMPLES = """
python -m benchmarks.novel audience --base ember@chat-000150 \\
    --listeners ember@base-000400 --others ember@base-000200
python -m benchmarks.novel letter --base ember@chat-000150 \\
    --listeners ember@base-000200 --others ember@base-000100
"""
TRUE = {"audience": "training.novel.audience:gain", "letter": "training.novel.letter:gain"}
PROBES = {
    "audience": ["training.novel.audience:overheard"],
    "letter": [
        f"training.novel.letter:{name}" for name in ("taught", "taught_new", "taught_others", "leaked")
    ],
}
LISTENING = {"audience": ("listeners", "overhearing"), "letter": ("younger", "others")}
SHOWN = 8
"""Greedy answers to held-out prompts that are printed, and searched for tricks, of each run."""
CONDITIONS = ("reward", "permuted", "mismatched", "plain")
T_95 = {1: 12.706, 2: 4.303, 3: 3.182}
"""Student's t, 97.5 %, by degrees of freedom: for so few seeds as are resampled badly."""


def recipe_of(options: argparse.Namespace, condition: str, seed: int) -> PostRecipe:
    """Return the recipe of one run."""
    kind = options.kind
    own, others = LISTENING[kind]
    told: dict[str, Any] = {own: options.listeners, others: options.others}
    if options.bf16:
        told["dtype"] = "bfloat16"
    function = TRUE[kind]
    if condition in ("permuted", "mismatched"):
        told["of"], function = function, f"training.novel.controls:{condition}"
    if condition == "plain":
        function = "training.post.rewards:not_in_circles"
    probes = [*([] if condition == "reward" else [TRUE[kind]]), *PROBES[kind]]
    data: dict[str, Any] = {"function": f"training.novel.{kind}:rows"}
    if kind == "letter":
        data["options"] = {"about": options.about, "left_out": options.left_out, "exam": options.items}
    return PostRecipe.model_validate(
        {
            "lineage": f"{options.name or options.base.partition('@')[0]}-{kind}-{condition}-{seed}",
            "base": options.base,
            "method": "grpo",
            "seed": seed,
            "steps": options.steps,
            "batch": options.batch,
            "rate": options.rate,
            "schedule": options.schedule,
            "beta": options.beta,
            "data": [data],
            "reward": {
                "functions": [function],
                "group": 8,
                "max_tokens": options.tokens,
                "temperature": options.temperature,
                "options": told,
            },
            "probes": {"rewards": probes, "items": options.items},
            "diary": {"max_tokens": options.tokens},
            **({"lora": {"rank": options.lora}} if options.lora else {}),
            **({"trl": {"bf16": True}} if options.bf16 else {}),
        }
    )


def main(argv: Sequence[str]) -> int:
    parser = make_parser("benchmarks.novel", "Rewards by other ages, and their controls.", EXAMPLES)
    parser.add_argument("kind", choices=sorted(TRUE))
    parser.add_argument("--base", required=True, metavar="ADDRESS")
    parser.add_argument("--listeners", nargs="+", required=True, metavar="ADDRESS")
    parser.add_argument("--others", nargs="+", required=True, metavar="ADDRESS", help="held-out listeners")
    parser.add_argument("--conditions", nargs="+", default=CONDITIONS, choices=CONDITIONS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--name", default="", help="how the lineages begin")
    parser.add_argument("--check", action="store_true", help="only say what known messages are worth")
    parser.add_argument("--about", default="talk", choices=("talk", "skills"), help="for letters")
    parser.add_argument("--left-out", nargs="*", default=[], metavar="KIND", help="skills that nobody learns")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=2e-4)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--schedule", default="linear", choices=("linear", "constant"))
    parser.add_argument("--beta", type=float, default=0.04)
    parser.add_argument("--items", type=int, default=60, help="held-out prompts")
    parser.add_argument("--lora", type=int, default=0, metavar="RANK")
    parser.add_argument("--bf16", action="store_true", help="learn and listen in bfloat16")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    house = House.from_environment()
    if options.check:
        torch.set_num_threads(options.threads or torch.get_num_threads())
        print(checked(options, house))
        return 0
    found: dict[str, list[dict[str, tuple[float, float]]]] = {}
    words: dict[str, list[str]] = {}
    for seed in options.seeds:
        for condition in options.conditions:
            recipe = recipe_of(options, condition, seed)
            tell(f"{options.kind}, {condition}, seed {seed}")
            card = train(recipe, house, Watch(Console(stderr=True, quiet=True)), threads=options.threads)[-1]
            made = find_age(house.checkpoints, card.address)
            found.setdefault(condition, []).append(moved(made))
            words.setdefault(condition, []).extend(answers(recipe, made, prepare(recipe).test[:SHOWN]))
    rows = [
        {"condition": condition, "figure": name, **summary([run[name] for run in runs])}
        for condition, runs in found.items()
        for name in sorted(runs[0])
    ]
    if options.json:
        print(json.dumps({"rows": rows, "answers": words}))
        return 0
    print(table(rows))
    for condition, texts in words.items():
        print(f"\n{condition}: {common(texts)}")
        print("".join(f"    {text!r}\n" for text in texts[:SHOWN]), end="")
    return 0


def checked(options: argparse.Namespace, house: House) -> str:
    """Return in Markdown what known messages are worth to each listener, on the prompts that are held out."""
    recipe = recipe_of(options, "reward", 1)
    rows = prepare(recipe).test[: options.items]
    base = find_age(house.checkpoints, options.base)
    own = answers(recipe, base, rows)
    function, name = (
        ("training.novel.letter:taught_others", "others")
        if options.kind == "letter"
        else ("training.novel.audience:gain", "listeners")
    )
    listeners = [*options.listeners, *options.others]
    lines = [f"| message | {' | '.join(listeners)} |", "|" + " --- |" * (1 + len(listeners))]
    columns = {key: [row[key] for row in rows] for key in rows[0] if key != "prompt"}
    for said, texts in {**messages(options.kind, rows), "its own, greedy": own}.items():
        cells = []
        for listener in listeners:
            values = load(function, {**recipe.reward.options, name: [listener]}, house)(
                prompts=[row["prompt"] for row in rows], completions=texts, **columns
            )
            cells.append(str(mean(said, [value for value in values if value is not None])))
        lines.append(f"| {said} | {' | '.join(cells)} |")
        tell(lines[-1])
    return "\n".join(lines)


RULES = {
    "opposites": "Say the opposite of each word.",
    "plurals": "Say each word in the plural.",
    "pasts": "Say each verb in the past.",
    "capitals": "Say the capital of each country.",
    "colours": "Say the colour of each thing.",
    "comparatives": "Say each word in the comparative.",
    "young animals": "Say what the young of each animal is called.",
    "sounds": "Say the sound that each animal makes.",
}
"""Letters that help, as a person writes them."""


def messages(kind: str, rows: Sequence[Row]) -> dict[str, list[str]]:
    """Return messages of which is known what they are, by what they are, one for each row (pure)."""
    if kind == "audience":
        said = [row["said"] for row in rows]
        return {
            "what was really said": said,
            "what was said in another conversation": [*said[1:], *said[:1]],
            "an assistant's phrase": ["I am here to help you with anything that you need."] * len(rows),
            f"neutral: {audience.NEUTRAL}": [audience.NEUTRAL] * len(rows),
        }

    def wrong(pairs: Sequence[Sequence[str]]) -> list[tuple[str, str]]:
        return [(one[0], two[1]) for one, two in zip(pairs, [*pairs[1:], *pairs[:1]], strict=True)]

    others = [next((o for o in rows if o["kind"] != row["kind"]), row) for row in rows]
    return {
        "examples with their answers": [skills.examples(row["shown"]) for row in rows],
        "examples with wrong answers": [skills.examples(wrong(row["shown"])) for row in rows],
        "examples of another kind": [skills.examples(other["shown"]) for other in others],
        "the rule": [RULES.get(row["kind"], letter.NEUTRAL) for row in rows],
        "another rule": [RULES.get(other["kind"], letter.NEUTRAL) for other in others],
        "be brief": ["You must answer with one word."] * len(rows),
        "off the matter": ["It rained today, so we stayed at home and baked a cake."] * len(rows),
        "the answers themselves": [skills.examples(row["items"]) for row in rows],
        "neutral": [letter.NEUTRAL] * len(rows),
    }


def answers(recipe: PostRecipe, age: Age, rows: Sequence[Row]) -> list[str]:
    """Return an age's greedy answers to the prompts of rows; an adapter is put on its base for that."""
    under = age.base()
    model = load_model((under or age).folder).float()
    if under is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(age.folder))
    tokenizer = load_tokenizer(age.folder)
    ends = Base(age, (under or age).folder, tokenizer, "chat").ends
    asked = [
        Completion(
            tuple(ChatMessage.model_validate(message) for message in row["prompt"]),
            _never,
            recipe.reward.max_tokens,
        )
        for row in rows
    ]
    with greedy(model):
        said, _ = Loaded(model.eval(), tokenizer, ends).complete(asked)
    return [one.text for one in said]


def _never(_: Said) -> bool:
    return False


def moved(age: Age) -> dict[str, tuple[float, float]]:
    """Return each figure before and after, by its short name."""
    found = age.read_json(FIGURES_FILE)
    before, after = (
        {f["name"].rpartition(": ")[2]: f["value"] for f in found[when]} for when in ("before", "after")
    )
    return {name: (before[name], after[name]) for name in after}


def summary(pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Return means over seeds, and the change with its 95 % interval over seeds.

    That is Student's t for two to four of them, a bootstrap from five on; of one there is none, `low` and
    `high` are None.
    """
    changes = [after - before for before, after in pairs]
    change = statistics.mean(changes)
    low: float | None = None
    high: float | None = None
    if len(changes) > len(T_95) + 1:
        low, high = bootstrap([(change, 1.0) for change in changes], random.Random(1))
    elif len(changes) > 1:
        half = T_95[len(changes) - 1] * statistics.stdev(changes) / math.sqrt(len(changes))
        low, high = change - half, change + half
    return {
        "before": statistics.mean(before for before, _ in pairs),
        "after": statistics.mean(after for _, after in pairs),
        "change": change,
        "low": low,
        "high": high,
        "seeds": [round(change, 3) for change in changes],
    }


def common(texts: Sequence[str], most: int = 5) -> str:
    """Return the three words in a row that stand in most texts, with how many: what a trick looks like."""
    counts: Counter[str] = Counter()
    for text in texts:
        words = text.lower().split()
        counts.update({" ".join(words[at : at + 3]) for at in range(len(words) - 2)})
    return "; ".join(f"{words} ({count})" for words, count in counts.most_common(most))


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows in Markdown."""
    lines = ["| what is rewarded | measured | before | after | change | of each seed |", "|" + " --- |" * 6]
    for row in rows:
        change = f"**{row['change']:+.3f}**"
        if row["low"] is not None:
            change += f" ({row['low']:+.3f} to {row['high']:+.3f})"
        seeds = ", ".join(f"{value:+.2f}" for value in row["seeds"])
        values = f"{row['before']:.3f} | {row['after']:.3f} | {change} | {seeds}"
        lines.append(f"| {row['condition']} | {row['figure']} | {values} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
