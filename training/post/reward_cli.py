"""`selves train reward try`: what a reward says of answers, before a run depends on it."""

from __future__ import annotations

import argparse
import json
import tomllib
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from selves.cli import count, make_parser
from selves.config import reasons
from selves.errors import UsageError
from selves.settings import House
from selves.speech import Sampling, seed_from
from training.post.recipe import Data, PostRecipe
from training.post.rows import Row, said

EXAMPLES = """
selves train reward try training.post.rewards:exact --data function=training.datasets.sums:rows
selves train reward try mine:short --data file=prompts.jsonl --say "Yes." --say "I could not say."
selves train reward try mine:short --data file=prompts.jsonl --age ember@chat-000150 --samples 4
"""
SAMPLED_TOKENS = 64


def main(argv: Sequence[str]) -> int | None:
    parser = make_parser("selves train reward", "Look at a reward before a run depends on it.", EXAMPLES)
    verb = parser.add_subparsers(dest="verb", required=True, metavar="try").add_parser(
        "try", help="print what a reward gives to answers: given ones, an age's, or those in the rows"
    )
    verb.add_argument("reward", help="module:function")
    verb.add_argument(
        "--data",
        required=True,
        metavar="KIND=NAME",
        help="rows with prompts: file=, folder=, hub= or function=",
    )
    verb.add_argument(
        "--say", action="append", default=[], metavar="TEXT", help="answer each prompt with this"
    )
    verb.add_argument("--age", metavar="ADDRESS", help="let this age answer")
    verb.add_argument(
        "--samples", type=count, default=1, metavar="N", help="answers of the age to each prompt"
    )
    verb.add_argument(
        "--option", action="append", default=[], metavar="KEY=VALUE", help="as in [reward.options], in TOML"
    )
    verb.add_argument("--rows", type=count, default=5, metavar="N", help="how many prompts")
    verb.add_argument("--json", action="store_true", help="a line of JSON for each answer")
    options = parser.parse_args(argv)
    from training.post import data, rewards

    reward = rewards.load(options.reward, _options(options.option), House.from_environment())
    recipe = _recipe(options)
    rows = data.prepare(recipe).train[: options.rows]
    asked = [(row, text) for row in rows for text in _answers(options, row)]
    if options.age:
        asked += _sampled(recipe, rows, options)
    if not asked:
        raise UsageError("there are no answers to look at", "give --say TEXT or --age ADDRESS")
    names = [name for name in rows[0] if name != "prompt"]
    columns = {name: [row.get(name) for row, _ in asked] for name in names}
    values = reward(
        prompts=[row["prompt"] for row, _ in asked], completions=[text for _, text in asked], **columns
    )
    _show(
        [(said(row["prompt"]), text, value) for (row, text), value in zip(asked, values, strict=True)],
        options,
    )
    return 0


def _recipe(options: argparse.Namespace) -> PostRecipe:
    kind, _, name = options.data.partition("=")
    if kind not in ("file", "folder", "hub", "function") or not name:
        raise UsageError(f"--data {options.data!r} is not KIND=NAME", "such as --data file=prompts.jsonl")
    try:
        return PostRecipe.model_validate(
            {
                "lineage": "try",
                "base": options.age or "try@try-000000",
                "method": "grpo",
                "held_out": 0.0,
                "data": [Data.model_validate({kind: name})],
                "reward": {"functions": [options.reward], "max_tokens": SAMPLED_TOKENS},
            }
        )
    except ValidationError as error:
        raise UsageError(f"--data {options.data}: {reasons(error)}", "see the examples in --help") from error


def _options(lines: Sequence[str]) -> dict[str, Any]:
    try:
        return tomllib.loads("\n".join(lines))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"--option is not TOML: {error}", "such as --option 'weight = 2'") from error


def _answers(options: argparse.Namespace, row: Row) -> list[str]:
    """Return what was given, else the answers that stand in a row."""
    if options.say or options.age:
        return list(options.say)
    found = [row[name] for name in ("completion", "chosen", "rejected") if name in row]
    # what is right is often there twice, as `completion` and as `chosen`
    return list(dict.fromkeys(value if isinstance(value, str) else said(value) for value in found))


def _sampled(recipe: PostRecipe, rows: Sequence[Row], options: argparse.Namespace) -> list[tuple[Row, str]]:
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from selves.speech import ChatMessage, Prompt
    from training.generate import Speaker, say
    from training.post import models
    from training.post.speaking import Stepper, listening, prompt_ids

    age = models.find_base(recipe, House.from_environment(), lambda _: None, dry=True)
    found = []
    with TemporaryDirectory() as scratch, models.quietly():
        base = models.open_base(recipe, age, Path(scratch))
        model = models.placed(models.load(base, recipe.seed))
        speaker = Speaker(Stepper(model), base.tokenizer, age.card.address, "")  # type: ignore[arg-type]
        with listening(model):
            for row in rows:
                prompt = Prompt(
                    form="chat", messages=tuple(ChatMessage.model_validate(m) for m in row["prompt"])
                )
                ids = prompt_ids(base.tokenizer, prompt)
                for number in range(options.samples):
                    seed = seed_from("reward", prompt.sha256, number)
                    sampling = Sampling(max_tokens=SAMPLED_TOKENS, temperature=1.0, top_p=1.0, seed=seed)
                    found.append((row, say(speaker, prompt, ids, sampling, base.ends).text))
    return found


def _show(lines: Sequence[tuple[str, str, float | None]], options: argparse.Namespace) -> None:
    if options.json:
        for prompt, text, value in lines:
            print(json.dumps({"prompt": prompt, "completion": text, "reward": value}, ensure_ascii=False))
        return
    table = Table("prompt", "answer", "reward", box=None, pad_edge=False)
    for prompt, text, value in lines:
        table.add_row(*_cells(prompt, text), "none" if value is None else f"{value:.3f}")
    console: Any = Console(highlight=False, markup=False)
    console.print(table)
    counted = [value for _, _, value in lines if value is not None]
    if counted:
        mean = sum(counted) / len(counted)
        spread = (sum((value - mean) ** 2 for value in counted) / len(counted)) ** 0.5
        warning = "; all alike, so there is nothing to learn from" if spread == 0 else ""
        console.print(f"\n{len(counted)} of {len(lines)}: mean {mean:.3f}, spread {spread:.3f}{warning}")


def _cells(*texts: str) -> list[str]:
    from training.words import printable

    return [printable(text)[:60] for text in texts]
