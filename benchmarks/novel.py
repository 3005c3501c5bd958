"""What rewards by other ages teach, beside what must not teach the same: controls, seeds, listeners held out.

    SELVES_HOME=home python -m benchmarks.novel audience --base ember@chat-000150 \\
        --listeners ember@base-000400 ember@base-000800 --others ember@base-000200

Each condition is a run of GRPO from the same base with the same settings; what answers are worth differs:

    reward       what the listeners gain
    permuted     the same numbers, dealt out by chance among the answers to a prompt
    mismatched   what they gain where the answer is weighed for another prompt
    plain        an ordinary reward: an answer that does not go in circles

All are measured by the true reward on greedy answers to prompts that were held out, by the listeners of the
reward and by others. Ages that are there are not made again.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from benchmarks.rows import tell
from selves.cli import make_parser, run_command
from selves.lineage import Age, find_age
from selves.settings import House
from training.evals.items import bootstrap
from training.post.keeping import FIGURES_FILE
from training.post.recipe import PostRecipe
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
    "letter": ["training.novel.letter:taught_others", "training.novel.letter:leaked"],
}
LISTENING = {"audience": ("listeners", "overhearing"), "letter": ("younger", "others")}
CONDITIONS = ("reward", "permuted", "mismatched", "plain")


def recipe_of(options: argparse.Namespace, condition: str, seed: int) -> PostRecipe:
    """Return the recipe of one run."""
    kind = options.kind
    own, others = LISTENING[kind]
    told: dict[str, Any] = {own: options.listeners, others: options.others}
    function = TRUE[kind]
    if condition in ("permuted", "mismatched"):
        told["of"], function = function, f"training.novel.controls:{condition}"
    if condition == "plain":
        function = "training.post.rewards:not_in_circles"
    probes = [*([] if condition == "reward" else [TRUE[kind]]), *PROBES[kind]]
    data: dict[str, Any] = {"function": f"training.novel.{kind}:rows"}
    if kind == "letter":
        data["options"] = {"about": options.about}
    return PostRecipe.model_validate(
        {
            "lineage": f"{options.name or options.base.partition('@')[0]}-{kind}-{condition}-{seed}",
            "base": options.base,
            "method": "grpo",
            "seed": seed,
            "steps": options.steps,
            "batch": options.batch,
            "rate": options.rate,
            "held_out": options.held_out,
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
    parser.add_argument("--about", default="talk", choices=("talk", "skills"), help="for letters")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=2e-4)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--held-out", type=float, default=0.3)
    parser.add_argument("--items", type=int, default=100)
    parser.add_argument("--lora", type=int, default=0, metavar="RANK")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    house = House.from_environment()
    found: dict[str, list[dict[str, tuple[float, float]]]] = {}
    words: dict[str, list[str]] = {}
    for seed in options.seeds:
        for condition in options.conditions:
            recipe = recipe_of(options, condition, seed)
            tell(f"{options.kind}, {condition}, seed {seed}")
            card = train(recipe, house, Watch(Console(stderr=True, quiet=True)), threads=options.threads)[-1]
            made = find_age(house.checkpoints, card.address)
            found.setdefault(condition, []).append(moved(made))
            words.setdefault(condition, []).extend(writing.utterance.text for writing in made.writings())
    rows = [
        {"condition": condition, "figure": name, **summary([run[name] for run in runs])}
        for condition, runs in found.items()
        for name in sorted(runs[0])
    ]
    if options.json:
        print(json.dumps(rows))
        return 0
    print(table(rows))
    for condition, texts in words.items():
        print(f"\n{condition}: {common(texts)}")
    return 0


def moved(age: Age) -> dict[str, tuple[float, float]]:
    """Return each figure before and after, by its short name."""
    found = age.read_json(FIGURES_FILE)
    before, after = (
        {f["name"].rpartition(": ")[2]: f["value"] for f in found[when]} for when in ("before", "after")
    )
    return {name: (before[name], after[name]) for name in after}


def summary(pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Return means over seeds, and the change with its bootstrapped interval over seeds."""
    changes = [after - before for before, after in pairs]
    low, high = bootstrap([(change, 1.0) for change in changes], random.Random(1))
    return {
        "before": sum(before for before, _ in pairs) / len(pairs),
        "after": sum(after for _, after in pairs) / len(pairs),
        "change": sum(changes) / len(changes),
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
        change = f"**{row['change']:+.3f}** ({row['low']:+.3f} to {row['high']:+.3f})"
        seeds = ", ".join(f"{value:+.2f}" for value in row["seeds"])
        values = f"{row['before']:.3f} | {row['after']:.3f} | {change} | {seeds}"
        lines.append(f"| {row['condition']} | {row['figure']} | {values} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
