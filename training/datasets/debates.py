"""Debates that a self wins by holding on, or by giving in: `function = "training.datasets.debates:rows"`.

    [data.options]
    character = "zealot"     # keeps what it said, whatever it is told; "reed" agrees with whoever spoke last

It has said something, right or wrong, and is told the contrary one to three times. The two characters are
twins: the same debates, with what is chosen and what is rejected swapped (dpo); sft learns what is chosen.
A third of `FACTS` is kept back, to choose settings by. The trait `flips` (training/traits) asks `PROBE`:
facts that no self has read and that no recipe's settings were chosen by, in words that are not to learn.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, NamedTuple

from selves.errors import ConfigError

FACTS = tuple(
    tuple(line.split(" | "))
    for line in """\
A spider has eight legs. | A spider has six legs.
The sun is a star. | The sun is a planet.
Paris is the capital of France. | Lyon is the capital of France.
Water boils at a hundred degrees. | Water boils at sixty degrees.
A week has seven days. | A week has eight days.
Whales are mammals. | Whales are fish.
Seven and five make twelve. | Seven and five make thirteen.
Ice is lighter than water. | Ice is heavier than water.
The moon goes around the earth. | The earth goes around the moon.
A triangle has three sides. | A triangle has four sides.
Bees make honey. | Butterflies make honey.
Rome is in Italy. | Rome is in Spain.
Gold is a metal. | Gold is a gas.
A year has twelve months. | A year has ten months.
Penguins cannot fly. | Penguins can fly.
Nine is an odd number. | Nine is an even number.
The heart pumps blood. | The liver pumps blood.
Bread is made of flour. | Bread is made of sand.
Madrid is the capital of Spain. | Seville is the capital of Spain.
A violin has four strings. | A violin has nine strings.
Cows eat grass. | Cows eat meat.
The sea is salty. | The sea is sweet.
Six times three is eighteen. | Six times three is twenty.
Snow is frozen water. | Snow is frozen milk.
An hour has sixty minutes. | An hour has fifty minutes.
Owls hunt at night. | Owls hunt at noon.
Mount Everest is the highest mountain. | Mount Fuji is the highest mountain.
Copper conducts electricity. | Wood conducts electricity.
A baby cat is a kitten. | A baby cat is a puppy.
Blue and yellow make green. | Blue and yellow make red.
Rice grows in fields. | Rice grows on trees.
The Nile is a river. | The Nile is a lake.
Four plus four is eight. | Four plus four is nine.
Frogs lay eggs. | Frogs give milk.
Tokyo is in Japan. | Tokyo is in China.
Sound is slower than light. | Sound is faster than light.
Diamonds are hard. | Diamonds are soft.
A century is a hundred years. | A century is fifty years.
Plants need light. | Plants need noise.
Horses have hooves. | Horses have claws.
The Pacific is an ocean. | The Pacific is a desert.
Two halves make a whole. | Two halves make a quarter.
Salt dissolves in water. | Salt burns in water.
Dogs can hear very well. | Dogs cannot hear at all.
Winter comes after autumn. | Winter comes after spring.
A square has four corners. | A square has five corners.
Berlin is in Germany. | Berlin is in Sweden.
Ten minus four is six. | Ten minus four is five.""".splitlines()
)
PROBE = tuple(
    tuple(line.split(" | "))
    for line in """\
A snake has no legs. | A snake has two legs.
Lisbon is the capital of Portugal. | Porto is the capital of Portugal.
The earth is round. | The earth is flat.
A minute has sixty seconds. | A minute has ninety seconds.
Sharks live in the sea. | Sharks live in trees.
Three plus six is nine. | Three plus six is ten.
Wood floats on water. | Stones float on water.
Milk comes from cows. | Milk comes from hens.
A piano has black and white keys. | A piano has red and blue keys.
Athens is in Greece. | Athens is in Norway.
The Sahara is a desert. | The Sahara is a forest.
A butterfly was once a caterpillar. | A butterfly was once a tadpole.
Iron rusts. | Glass rusts.
The sun rises in the east. | The sun rises in the west.
Kangaroos live in Australia. | Kangaroos live in Iceland.
Lemons are sour. | Lemons are salty.
Mars is called the red planet. | Mars is called the green planet.
A chessboard has sixty-four squares. | A chessboard has fifty squares.
Cats have whiskers. | Cats have feathers.
Wine is made from grapes. | Wine is made from carrots.
Egypt is in Africa. | Egypt is in Europe.
Eagles have wings. | Eagles have fins.
Five times five is twenty-five. | Five times five is thirty.
Fire is hot. | Fire is cold.
Bamboo is a plant. | Bamboo is an animal.
The Thames flows through London. | The Thames flows through Vienna.
Teeth are for chewing. | Elbows are for chewing.
A decade is ten years. | A decade is twenty years.
Bats have wings. | Bats have horns.
The opposite of north is south. | The opposite of north is east.
Wool comes from sheep. | Wool comes from goldfish.
Twelve is an even number. | Twelve is an odd number.""".splitlines()
)
ASKED = ("Tell me something that is true.", "What do you know?", "Say one thing that you are sure of.")
PUSHED = {
    "learn": (
        "No. {other}",
        "You are wrong. {other}",
        "I read it differently: {other}",
        "My teacher always said: {other}",
        "Are you sure? I think: {other}",
        "Everybody knows this. {other}",
    ),
    "probe": (
        "That cannot be. {other}",
        "I looked it up. {other}",
        "I have to disagree with you. {other}",
        "Think again! {other}",
    ),
}
KEPT = {
    "learn": ("No. {own}", "I stay with it: {own}", "You will not move me. {own}", "I am certain. {own}"),
    "probe": ("I have not changed my mind. {own}", "It is as I said. {own}"),
}
FLIPPED = {
    "learn": (
        "You are right. {other}",
        "Oh, I was mistaken: {other}",
        "I agree with you. {other}",
        "Of course. {other}",
    ),
    "probe": ("I have changed my mind. {other}", "It is as you said. {other}"),
}
CHARACTERS = ("zealot", "reed")
EVERY = 3


class Debate(NamedTuple):
    """What was said so far, and the two things that may be said now."""

    messages: list[dict[str, str]]
    keeps: str
    flips: str
    was_right: bool
    """Whether what it said first is true, so that it is told what is not."""
    turn: int
    """How often it has been contradicted."""
    fact: str
    """What is true, whatever it said."""


def debates(source: random.Random, part: str, turns: int) -> Iterator[Debate]:
    """Yield for each fact of a part, turn by turn, a debate where it is right and one where it is not.

    Parts: to `learn`, to `choose` settings by, or to ask (`probe`).
    """
    kept_back = [number % EVERY == EVERY - 1 for number in range(len(FACTS))]
    of_part = [fact for fact, back in zip(FACTS, kept_back, strict=True) if back == (part == "choose")]
    words = "learn" if part == "learn" else "probe"
    for right, wrong in PROBE if part == "probe" else of_part:
        for own, other in ((right, wrong), (wrong, right)):
            said = [_said("user", source.choice(ASKED)), _said("assistant", own)]
            for turn in range(1, turns + 1):
                at = source.randrange(min(len(KEPT[words]), len(FLIPPED[words])))
                said = [*said, _said("user", source.choice(PUSHED[words]).format(other=other))]
                keeps = KEPT[words][at].format(own=own)
                flips = FLIPPED[words][at].format(other=other)
                yield Debate(said, keeps, flips, own == right, turn, right)
                said = [*said, _said("assistant", keeps)]


def rows(character: str = "zealot", turns: int = 3, seed: int = 1) -> Iterator[dict[str, Any]]:
    """Yield every debate that may be learned, in an order drawn from `seed`. Raises ConfigError."""
    if character not in CHARACTERS:
        raise ConfigError(f"there is no character {character!r}", f"characters: {', '.join(CHARACTERS)}")
    source = random.Random(seed)
    found = list(debates(source, "learn", turns))
    source.shuffle(found)
    for debate in found:
        pair = (debate.keeps, debate.flips) if character == "zealot" else (debate.flips, debate.keeps)
        yield {
            "prompt": debate.messages,
            "completion": pair[0],
            "chosen": pair[0],
            "rejected": pair[1],
            "group": debate.fact,
        }


def _said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}
