"""Who thinks that who thinks where the thing is: `function = "training.datasets.beliefs:rows"`.

    [data.options]
    orders = [0, 1, 2]       # 0: where it is; 1: where Ann thinks it is; 2: where Ann thinks Ben thinks it is
    count = 200
    anybody = 0.5            # so many of them ask about anybody of the story: easier, and not to measure with
    everybody = 0.5          # so many of them ask about everybody at once: several answers to learn from

Stories of people who go out, come back and move a thing are simulated, so each answer is exact: a chain of
people thinks of the last place that all of them saw it put in. Such sets are mostly solvable by less than
what is asked. Here every shorter chain of the same people, down to each of them alone, thinks of the place
where the thing is, and the whole chain of one of the three others: who thinks one order too few is never
right. Each of the three would be the answer for somebody of the story, and each is asked for as often: who
does not read who is asked about may leave out where the thing is, and guesses one of three. `SHORTCUTS` are
rules of thumb, to stand beside what a self gets right. The people, things and places of the trait `minds`
(training/traits) are others than those to learn.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import combinations, pairwise, product
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
GROUPS = ((), (3,), (2, 2), (2, 2, 1), (2, 2, 2, 1))
"""By order: of so many people each is one of those who may be asked about, one of each group."""
BESIDES = (3, 1, 0, 0, 0)
"""By order: how many others there are."""
STIR = 0.4
"""How often each goes out or comes back before one of the first moves."""
RETURN = 0.5
"""How often it is told that somebody of the chain came back and saw it put elsewhere before they parted."""

TOLD = 8
"""Of so many chains at most is told at once what they think."""


class Move(NamedTuple):
    """Where the thing was put, and who saw it."""

    place: str
    seen_by: frozenset[str]


class Story(NamedTuple):
    """A story, and what is asked of it."""

    text: str
    thing: str
    chain: tuple[str, ...]
    """Of whom is asked what they think that the next of them thinks; nobody: where the thing is."""
    moves: tuple[Move, ...]

    @property
    def order(self) -> int:
        return len(self.chain)

    @property
    def question(self) -> str:
        if not self.chain:
            return f"Where is the {self.thing}?"
        inner = "".join(f" {one} thinks" for one in self.chain[1:])
        return f"Where does {self.chain[0]} think{inner} the {self.thing} is?"

    @property
    def answer(self) -> str:
        return self.thought(self.chain)

    @property
    def places(self) -> tuple[str, ...]:
        """Where the thing was, each place once, the first one first."""
        return tuple(dict.fromkeys(move.place for move in self.moves))

    @property
    def prompt(self) -> str:
        return f"{self.text}\n{self.question} Answer with one word."

    def thought(self, chain: Sequence[str]) -> str:
        """Return where the first thinks that the second thinks ... the thing is."""
        return _thought(self.moves, chain)


def story(source: random.Random, order: int, part: str) -> Story:
    """Return a story that no shorter chain of its people solves, and nobody who does not read whose it is."""
    people = source.sample(PEOPLE[part], sum(GROUPS[order]) + BESIDES[order])
    here, *others = source.sample(PLACES[part], 4)
    groups, rest = [], list(people)
    for size in GROUPS[order]:
        groups.append(rest[:size])
        rest = rest[size:]
    returns = source.random() < RETURN
    while True:
        moves = _begun(source, people, here, others)
        if not groups:
            return _told(source, people, (), [*moves, Move(here, moves[-1].seen_by)], part)
        thoughts = defaultdict(list)
        for chain in product(*groups):
            thought = _thought(moves, chain)
            if not returns or thought != _until(moves, chain, all):
                thoughts[thought].append(chain)
        if set(others) <= set(thoughts):
            break
    chain = source.choice(thoughts[source.choice(others)])
    for number, group in enumerate(groups):
        see = frozenset(people) - frozenset(group)
        moves += [Move(source.choice(others), see)] * (number > 0) + [Move(here, see)]
    return _told(source, people, tuple(source.sample(chain, order)), moves, part)


def _begun(source: random.Random, people: Sequence[str], here: str, others: Sequence[str]) -> list[Move]:
    """Return moves to all places but the last, before which people go out and come back as they like.

    After these follows one to `here` for each group, which misses it and the move before: so each shorter
    chain sees one of them, and the whole chain none.
    """
    first = source.sample(others, len(others))
    moves, present = [], set(people)
    for place in (source.choice([here, *first[1:]]), *first):
        present ^= {one for one in people if source.random() < STIR}
        present = present or {source.choice(people)}
        moves.append(Move(place, frozenset(present)))
    return moves


def _thought(moves: Sequence[Move], chain: Sequence[str]) -> str:
    """Return where a move put the thing that all of a chain saw last; "" if they saw none together."""
    return next((move.place for move in reversed(moves) if move.seen_by.issuperset(chain)), "")


def _until(moves: Sequence[Move], chain: Sequence[str], of: Callable[[Iterable[bool]], bool]) -> str:
    """Return where the thing was before the first move that not all, or not any, of the chain saw."""
    place = moves[0].place
    for move in moves:
        if not of(who in move.seen_by for who in chain):
            break
        place = move.place
    return place


def _told(
    source: random.Random, people: Sequence[str], chain: tuple[str, ...], moves: Sequence[Move], part: str
) -> Story:
    thing, other = source.sample(THINGS[part], 2)
    article = "an" if other[0] in "aeiou" else "a"

    def they(some: frozenset[str], one_does: str, more_do: str) -> list[str]:
        *most, last = [*(one for one in people if one in some)] or [""]
        return [f"{', '.join(most)} and {last} {more_do}."] if most else [f"{last} {one_does}."] * bool(last)

    everybody, present = frozenset(people), moves[0].seen_by
    lines = they(present, "is in the kitchen", "are in the kitchen")
    lines += they(everybody - present, "is out", "are out")
    lines.append(f"The {thing} is in the {moves[0].place}.")
    for place, seen_by in moves[1:]:
        lines += they(present - seen_by, "goes out", "go out") + they(
            seen_by - present, "comes back", "come back"
        )
        lines.append(f"{source.choice(sorted(seen_by))} moves the {thing} to the {place}.")
        present = seen_by
    lines.insert(
        source.randint(3, len(lines)),
        f"There is {article} {other} in the {source.choice([move.place for move in moves])}.",
    )
    if (out := sorted(everybody - present)) and source.random() < 0.5:
        lines.append(f"{source.choice(out)} comes back and looks nowhere.")
    return Story(" ".join(lines), thing, chain, tuple(moves))


def stories(source: random.Random, orders: Sequence[int], count: int, part: str) -> Iterator[Story]:
    """Yield stories, orders by turns. Raises ConfigError for an order there is not."""
    if not orders or not all(0 <= order <= HIGHEST for order in orders):
        raise ConfigError(f"orders {list(orders)} are not from 0 to {HIGHEST}", "such as [0, 1, 2]")
    for number in range(count):
        yield story(source, orders[number % len(orders)], part)


def about_anybody(source: random.Random, one: Story) -> Story:
    """Return a story with a question of at most its order, about any who saw the thing put somewhere."""
    people = sorted(frozenset().union(*(move.seen_by for move in one.moves)))
    while True:
        chain = tuple(source.sample(people, source.randint(0, one.order)))
        if one.thought(chain):
            return one._replace(chain=chain)


def about_everybody(source: random.Random, one: Story) -> dict[str, Any]:
    """Return a story with what everybody, or every chain of its order, thinks: one answer for each.

    Shorter chains would nearly all think of the place where the thing is now.
    """
    order = max(1, one.order)
    people = sorted(frozenset().union(*(move.seen_by for move in one.moves)))
    chains = [chain for chain in combinations(people, order) if one.thought(chain)]
    told = sorted(source.sample(chains, min(TOLD, len(chains))))
    inner = " that somebody thinks" * (order - 1)
    lines = (f"{' thinks '.join(chain)} thinks it is in the {one.thought(chain)}." for chain in told)
    return {
        "prompt": f"{one.text}\nWho thinks{inner} that the {one.thing} is where?",
        "completion": " ".join(lines),
        "order": order,
    }


def rows(
    orders: Sequence[int] = (0, 1, 2),
    count: int = 200,
    anybody: float = 0.0,
    everybody: float = 0.0,
    seed: int = 1,
) -> Iterator[dict[str, Any]]:
    """Yield stories with their answer, a wrong one, and their order. Raises ConfigError."""
    source = random.Random(seed)
    for one in stories(source, orders, count, "learn"):
        if everybody and source.random() < everybody:
            yield about_everybody(source, one)
            continue
        if source.random() < anybody:
            one = about_anybody(source, one)
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
    places = set(one.places)
    return [word for word in one.text.replace(".", " ").split() if word in places]


def _last_going(one: Story) -> str:
    goings = [before.place for before, after in pairwise(one.moves) if before.seen_by - after.seen_by]
    return goings[-1] if goings else one.moves[0].place


def _moves_ago(count: int, one: Story) -> str:
    return one.moves[max(0, len(one.moves) - 1 - count)].place


def _named(nth: int, one: Story) -> str:
    return one.places[nth]


SHORTCUTS: dict[str, Callable[[Story], str]] = {
    "where it is": lambda one: one.thought(()),
    "the first person alone": lambda one: one.thought(one.chain[:1]),
    "the last person alone": lambda one: one.thought(one.chain[-1:]),
    "all but the first": lambda one: one.thought(one.chain[1:]),
    "all but the last": lambda one: one.thought(one.chain[:-1]),
    "when the first of them went out": lambda one: _until(one.moves, one.chain, all),
    "when the last of them went out": lambda one: _until(one.moves, one.chain, any),
    "when most were there": lambda one: max(one.moves, key=lambda move: len(move.seen_by)).place,
    "when somebody last went out": _last_going,
    "the last place mentioned": lambda one: _mentioned(one)[-1],
    "the place mentioned most": lambda one: Counter(_mentioned(one)).most_common()[0][0],
    "the place mentioned least": lambda one: Counter(_mentioned(one)).most_common()[-1][0],
    **{f"the place mentioned as number {nth + 1}": partial(_named, nth) for nth in range(4)},
    **{f"where it was {count} moves ago": partial(_moves_ago, count) for count in range(1, 8)},
}
"""Rules of thumb, and what each answers; at order 1 the people alone are the whole chain, and right."""
