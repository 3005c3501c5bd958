"""Write docs/example.md and docs/example.svg: the life of one lineage that was really raised.

selves train run recipes/tiny.toml --minutes 30
python docs/make_example.py wick

Everything on the page is read from the house or said by an age now, with the seed that the page names; none
of it is chosen among several answers.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from selves.lineage import METRICS_FILE, Age, list_ages
from selves.settings import House
from selves.speech import ChatMessage, Prompt, Sampling
from training import budget, diary
from training import tokenizer as alphabet
from training.evals import cli as evals
from training.generate import Speaker, say
from training.gpt import GPT
from training.keeping import load_weights
from training.recipe import Recipe
from training.words import first_words

PAGE = Path(__file__).with_name("example.md")
ASKED = (
    "Hi! How are you today?",
    "What is your name?",
    "Do you have any pets?",
    "What do you do for fun?",
    "Are you a robot?",
    "Do you like music?",
    "Nice talking to you! Bye!",
)
SEED = 1


def main(lineage: str) -> None:
    house = House.from_environment()
    ages = list_ages(house.checkpoints, lineage)
    chat = next(age for age in reversed(ages) if age.address.stage == "chat")
    page = [*_opening(chat, house), *_ladder(ages), *_curves(lineage), *_conversation(chat), *_young(ages)]
    PAGE.write_text("\n".join(page).rstrip() + "\n", "utf-8")


def _opening(chat: Age, house: House) -> list[str]:
    recipe = Recipe.model_validate(chat.card.recipe)
    lines = (house.checkpoints / recipe.lineage / METRICS_FILE).read_text("utf-8").splitlines()
    logged = [line for line in map(json.loads, lines) if line["stage"] == "base" and line["step"]]
    rates = sorted(line["tokens_per_s"] for line in logged)
    minutes, rate = logged[-1]["elapsed_s"] / 60, rates[len(rates) // 2]
    return [
        f"# {recipe.lineage.title()}: a life of {minutes:.0f} minutes",
        "",
        f"`selves train run` made it: {chat.card.parameters:,} parameters, "
        f"{recipe.base.steps:,} steps of {recipe.base.batch_tokens:,} tokens in {minutes:.1f} minutes on "
        f"{_threads(house, recipe)} ({rate:,.0f} tokens/s at the median), then turns were "
        f"taught. It has read {', '.join(map(str, recipe.corpus))} and nothing else. This page is made by "
        "`docs/make_example.py` from the ages as they are on disk.",
        "",
    ]


def _threads(house: House, recipe: Recipe) -> str:
    from training.checkpoint import read_progress

    progress = read_progress(house.checkpoints / recipe.lineage)
    number = progress.threads * progress.processes if progress else 0
    return f"{number} CPU thread{'' if number == 1 else 's'}"


def _ladder(ages: list[Age]) -> list[str]:
    rows = [
        "## Its ages",
        "",
        "| age | tokens read | bits per byte | one text continued by all |",
        "|---|---|---|---|",
    ]
    for age in ages:
        if age.address.stage in ("base", "chat"):
            rows.append(
                f"| {age.address.age} | {age.card.tokens_seen:,} | {age.card.bits_per_byte:.3f} "
                f"| {_cell(first_words(age))} |"
            )
    return [*rows, ""]


def _curves(lineage: str) -> list[str]:
    only = ["--stage", "base", "--stage", "chat"]
    evals.main(["plot", lineage, *only, "-o", str(PAGE.with_suffix(".svg"))])
    return [
        "## What it could do, by age",
        "",
        "`selves evals run` asked each age the same small tasks; chance is dashed, bands are 95 % intervals.",
        "",
        f"![Evals of {lineage} by age]({PAGE.stem}.svg)",
        "",
    ]


def _conversation(chat: Age) -> list[str]:
    speaker, messages = _speaker(chat), []
    lines = [f"## A conversation with {chat.card.address}", ""]
    for asked in ASKED:
        messages.append(ChatMessage(role="user", content=asked))
        messages.append(ChatMessage(role="assistant", content=_answer(speaker, messages)))
        lines += [
            f"> **You** {asked}  ",
            f"> **{chat.address.lineage.title()}** {_cell(messages[-1].content)}",
            ">",
        ]
    return [*lines[:-1], "", f"Temperature 0.7, top-p 0.9, seed {SEED}; the first answers that came.", ""]


def _young(ages: list[Age]) -> list[str]:
    young = [age for age in ages if age.address.stage in ("young", "chat")]
    rows = [f"## {ASKED[0]!r}, asked of each age that can talk", "", "| age | it says |", "|---|---|"]
    for age in young:
        said = _answer(_speaker(age), [ChatMessage(role="user", content=ASKED[0])])
        rows.append(f"| {age.address.age} | {_cell(said)} |")
    return [*rows, ""]


def _speaker(age: Age) -> Speaker:
    tokenizer = alphabet.load(age.folder / "tokenizer.json")
    recipe = Recipe.model_validate(age.card.recipe)
    model = GPT(budget.shape_of(recipe, tokenizer.get_vocab_size()))
    load_weights(model, age)
    return Speaker(model, tokenizer, age.card.address, age.card.weights_sha256)


def _answer(speaker: Speaker, messages: list[ChatMessage]) -> str:
    prompt = Prompt(form="chat", messages=tuple(messages))
    ids, ends = diary.prepare(speaker.tokenizer, prompt)
    sampling = Sampling(max_tokens=48, temperature=0.7, top_p=0.9, seed=SEED)
    return say(speaker, prompt, ids, sampling, ends).text.strip()


def _cell(text: str) -> str:
    """Return a text for Markdown in which nothing of it is markup."""
    shown = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>|#" else c for c in shown)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1])
