"""Whether each method of post-training moves what it is meant to move: the same questions before and after.

    SELVES_HOME=home python -m benchmarks.methods ember@chat-000150 smollm2@import-000000

A self learns by example, preference and approval to end a joke; one-digit sums by reward, and by what it says
itself when the right answer lies before it; a very small one, which can do neither, to ask back. It learns to
judge, and it grows old. What is asked was held out. An age that is there is not made again; the table is made
of what stands in the ages.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from typing import Any

from rich.console import Console

from selves.cli import make_parser, run_command
from selves.lineage import find_age
from selves.settings import House
from training.datasets import sums
from training.documents import Document
from training.figure import Figure
from training.post.keeping import FIGURES_FILE
from training.post.recipe import PostRecipe
from training.post.run import train
from training.watch import Watch

EXAMPLES = """
python -m benchmarks.methods ember@chat-000150                     a minute or two
python -m benchmarks.methods smollm2@import-000000 --threads 1     about half an hour
"""
SMALL = 10_000_000
"""Parameters: a smaller self learns in larger steps, and all of its weights."""
READING = "{privileged_context}\n\n{prompt}"
LONGEST = 160
"""Characters of a line that is shown."""
Changes = dict[str, Any]


def known() -> Iterator[dict[str, Any]]:
    """Yield each sum with a text that says what it is."""
    for one in sums.rows():
        said = f"{one['prompt']} {one['completion']}"
        yield {name: one[name] for name in ("prompt", "answer", "group")} | {"privileged_context": said}


def asking_back(labels: bool = False, pairs: int = 600) -> Iterator[dict[str, Any]]:
    """Yield what people said to each other, with an answer that asks something and one that does not.

    With `labels` each is a row of its own. No age of the demo has read any of it.
    """
    said: dict[bool, list[tuple[str, str]]] = {True: [], False: []}
    for talk in held_out_talks(House.from_environment()):
        for heard, answer in pairwise(talk.turns):
            if len(heard.text) < LONGEST and len(answer.text.split()) > 1 and len(answer.text) < LONGEST:
                said[answer.text.rstrip().endswith("?")].append((heard.text, answer.text))
    for (to, asks), (_, tells) in islice(zip(said[True], said[False], strict=False), pairs):
        if labels:
            yield {"prompt": to, "completion": asks, "label": True}
            yield {"prompt": to, "completion": tells, "label": False}
        else:
            yield {"prompt": to, "completion": asks, "chosen": asks, "rejected": tells}


def held_out_talks(house: House) -> list[Document]:
    """Return the conversations of the chit-chat package that training leaves out."""
    from training.corpus import read
    from training.recipe import Source

    return [talk for talk in read(Source(package="chitchat"), house) if talk.held_out and talk.turns]


def recipes(parameters: int) -> dict[str, Changes]:
    """Return what each method is told, by its name."""
    return _of_small() if parameters < SMALL else _of_large()


def _of_small() -> dict[str, Changes]:
    worth = "training.post.rewards:asks"
    rows = {"data": [{"function": "benchmarks.methods:asking_back"}], "held_out": 0.25}
    labels = {"function": "benchmarks.methods:asking_back", "options": {"labels": True}}
    probed = rows | {"probes": {"rewards": [worth]}, "reward": {"max_tokens": 32}}
    reward = {"functions": [worth], "max_tokens": 32, "group": 8}
    return {
        "sft": probed | {"steps": 120, "rate": 3e-4},
        "dpo": probed | {"steps": 120, "rate": 1e-4},
        "kto": probed | {"steps": 240, "rate": 1e-4, "data": [labels]},
        "grpo": rows | {"steps": 120, "batch": 32, "rate": 2e-4, "reward": reward},
        "reward": rows | {"steps": 120, "rate": 1e-4},
        "ageing": {"ageing": {"ages": 4, "until": 0.6}},
    }


def _of_large() -> dict[str, Changes]:
    worth = "training.post.rewards:last_number"
    lora = {"lora": {"rank": 16}}
    sums = lora | {"data": [{"function": "training.datasets.sums:rows"}], "held_out": 0.4}
    jokes = lora | {"data": [{"function": "training.datasets.jokes:rows"}], "held_out": 0.0}
    asked = {"probes": {"traits": ["funny"]}}
    thumbs = {"function": "training.datasets.jokes:thumbs"}
    reward = {"max_tokens": 16, "temperature": 0.6}
    return {
        "sft": jokes | asked | {"steps": 16, "rate": 5e-4},
        "dpo": jokes | asked | {"steps": 16, "rate": 5e-4},
        "kto": jokes | asked | {"steps": 16, "rate": 1e-3, "data": [thumbs]},
        "grpo": sums | {"steps": 16, "batch": 16, "rate": 2e-4, "reward": reward | {"functions": [worth]}},
        "sdft": sums
        | {"steps": 16, "rate": 2e-4, "data": [{"function": "benchmarks.methods:known"}]}
        | {"distill": {"max_tokens": 16, "temperature": 0.6, "reading": READING}}
        | {"probes": {"rewards": [worth]}, "reward": reward},
        "reward": sums | {"steps": 16, "rate": 2e-4},
        "ageing": {"ageing": {"ages": 4, "until": 0.1}},
    }


def main(argv: Sequence[str]) -> int:
    parser = make_parser("benchmarks.methods", "What each method moves, before and after.", EXAMPLES)
    parser.add_argument("bases", nargs="+", metavar="ADDRESS")
    parser.add_argument("--methods", nargs="*", metavar="METHOD", help="only these")
    parser.add_argument("--threads", type=int, metavar="N")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    house = House.from_environment()
    rows = []
    for address in options.bases:
        age = find_age(house.checkpoints, address)
        for method, changes in recipes(age.card.parameters).items():
            if options.methods and method not in options.methods:
                continue
            told: Changes = {
                "lineage": f"{address.partition('@')[0]}-{method}",
                "base": address,
                "method": method,
            }
            told["diary"] = {"max_tokens": 24}
            recipe = PostRecipe.model_validate(told | changes)
            card = train(recipe, house, Watch(Console(stderr=True)), threads=options.threads)[-1]
            made = find_age(house.checkpoints, card.address)
            steps = 0 if method == "ageing" else recipe.steps
            rows += [
                {"base": address, "method": method, "steps": steps, **row}
                for row in moved(made.read_json(FIGURES_FILE))
            ]
    print(json.dumps(rows) if options.json else table(rows))
    return 0


def moved(found: Any) -> list[dict[str, Any]]:
    """Return what each figure was and what it became."""
    before = {figure["name"]: Figure.model_validate(figure) for figure in found["before"]}
    after = [Figure.model_validate(figure) for figure in found["after"]]
    return [{"figure": a.name, "before": str(before[a.name]), "after": str(a), "n": a.n} for a in after]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows in Markdown."""
    head = ("base", "method", "steps", "figure", "before", "after", "n")
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    lines += [f"| {' | '.join(str(row[name]) for name in head)} |" for row in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
