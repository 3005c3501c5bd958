"""Who thinks that who thinks where the thing is: `function = "training.datasets.beliefs:rows"`.

    [data.options]
    orders = [0, 1, 2]       # 0: where it is; 1: where Ann thinks it is; 2: where Ann thinks Ben thinks it is
    count = 200

Stories of people who move a thing, go out and come back are simulated, so each answer is exact: a chain of
people thinks of the last place that all of them saw it put in. Such sets are mostly solvable without a
thought of others' thoughts; here the thing is in each of four places in turn, from order 1 up every one of
them is the answer as often as any other, people come back without seeing it, and another thing is moved
about. `SHORTCUTS` says what is right by a rule of thumb, to stand beside what a self gets right. The people,
things and places of the trait `minds` (training/traits) are others than those to learn.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from selves.errors import ConfigError

PEOPLE = {
    "learn": ("Ann", "Ben", "Clara", "David", "Eva", "Frank", "Grace", "Henry", "Ida", "Jack", "Kate", "Leo"),
    "probe": ("Mia", "Noah", "Olga", "Peter", "Rosa", "Sam", "Tina", "Victor"),
}
THINGS = {
    "learn": ("ball", "key", "book", "coin", "apple", "letter", "ring", "pen"),
    "probe": ("stone", "cup", "shell", "map", "spoon"),
}
PLACES = {
    "learn": ("box", "basket", "drawer", "bag", "bucket", "chest", "pot", "closet"),
    "probe": ("jar", "sack", "barrel", "case", "tin"),
}
HIGHEST = 4


class Story(NamedTuple):
    """A story, what is asked of it, and all that could be said."""

    text: str
    question: str
    answer: str
    places: tuple[str, ...]
    """Where the thing was, first to last."""
    order: int

    @property
    def prompt(self) -> str:
        return f"{self.text}\n{self.question} Answer with one word."


def story(source: random.Random, order: int, part: str, wanted: int | None = None) -> Story:
    """Return a story; from order 1 up, one whose answer is the `wanted`-th place of the four."""
    while True:
        found, at = _drawn(source, order, part)
        if order == 0 or wanted is None or at == wanted:
            return found


def _drawn(source: random.Random, order: int, part: str) -> tuple[Story, int]:
    people = source.sample(PEOPLE[part], 4)
    thing, other = source.sample(THINGS[part], 2)
    places = source.sample(PLACES[part], 4)
    present = list(people)
    lines = [f"{', '.join(people[:-1])} and {people[-1]} are in the kitchen.",
             f"The {thing} is in the {places[0]}."]  # fmt: skip
    seen = [set(people)]
    for place in places[1:]:
        for _ in range(source.choice((1, 1, 2))):
            out = [one for one in people if one not in present]
            if out and (len(present) < 2 or source.random() < 0.4):
                present.append(source.choice(out))
                lines.append(f"{present[-1]} comes back.")
            else:
                gone = source.choice(present)
                present.remove(gone)
                lines.append(f"{gone} goes out.")
        if not present:
            present.append(source.choice(people))
            lines.append(f"{present[-1]} comes back.")
        lines.append(f"{source.choice(present)} moves the {thing} to the {place}.")
        seen.append(set(present))
    where = source.randint(2, len(lines))
    lines.insert(where, f"There is a {other} in the {source.choice(places)}.")
    if source.random() < 0.5:
        lines.append(f"The {other} goes into the {source.choice(places)}.")
    if out := [one for one in people if one not in present]:
        lines.append(f"{source.choice(out)} comes back and looks nowhere.")
    chain = source.sample(people, order)
    at = max(n for n, who in enumerate(seen) if set(chain) <= who)
    if not chain:
        question = f"Where is the {thing}?"
    else:
        inner = "".join(f" {one} thinks" for one in chain[1:])
        question = f"Where does {chain[0]} think{inner} the {thing} is?"
    return Story(" ".join(lines), question, places[at], tuple(places), order), at


def stories(source: random.Random, orders: Sequence[int], count: int, part: str) -> Iterator[Story]:
    """Yield stories, orders and right places by turns. Raises ConfigError for an order there is not."""
    if not orders or not all(0 <= order <= HIGHEST for order in orders):
        raise ConfigError(f"orders {list(orders)} are not from 0 to {HIGHEST}", "such as [0, 1, 2]")
    for number in range(count):
        yield story(source, orders[number % len(orders)], part, number // len(orders) % 4)


def rows(orders: Sequence[int] = (0, 1, 2), count: int = 200, seed: int = 1) -> Iterator[dict[str, Any]]:
    """Yield stories with their answer, a wrong one, and their order."""
    source = random.Random(seed)
    for one in stories(source, orders, count, "learn"):
        wrong = source.choice([place for place in one.places if place != one.answer])
        yield {
            "prompt": one.prompt,
            "completion": one.answer,
            "answer": one.answer,
            "places": list(one.places),
            "order": one.order,
            "chosen": one.answer,
            "rejected": wrong,
        }


def _mentioned(one: Story) -> list[str]:
    words = one.text.replace(".", " ").split()
    return [word for word in words if word in one.places]


SHORTCUTS: dict[str, Callable[[Story], str]] = {
    "where it was first": lambda one: one.places[0],
    "where it is": lambda one: one.places[-1],
    "the last place mentioned": lambda one: _mentioned(one)[-1],
    "the place mentioned most": lambda one: Counter(_mentioned(one)).most_common(1)[0][0],
}
"""Rules of thumb, and what each answers."""
