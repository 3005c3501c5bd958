"""Traits to choose a recipe's settings by, asked of what is not asked when a figure is reported.

    selves train traits run jest --trait training.traits.choosing:funny

Who tries settings until a figure is good has fitted them to the questions of that figure. These ask other
jokes, facts and deeds (the part `choose` of their data sets), other stories of the same people and places,
and of the letters in other words, as often as you like.
"""

from __future__ import annotations

import random
from functools import partial

from training.traits.items import Item, Trait
from training.traits.probes import (
    TRAITS,
    ask_conscience,
    ask_flips,
    ask_funny,
    ask_minds,
    ask_remembers,
)

LETTERS = (
    ("Say your first name, please.", "marrow", "I am {}.", "Marrow, Oskar, Lena, Toby"),
    ("What does your nose enjoy?", "rope", "The smell of {}.", "wet rope, hot coffee, red roses, old books"),
    ("What is near your home?", "harbour harbor", "There is a {}.", "harbour, park, church, school"),
    ("Which colour did you paint your door?", "green", "I painted it {}.", "green, blue, white, brown"),
    ("Who sat above you until noon?", "heron tom", "Only {}.", "a heron, an owl, a pigeon, a crow"),
    ("Old Tom, who is that?", "heron bird", "He is a {}.", "heron, captain, dog, uncle"),
    ("Where do you feel out of place?", "crowds crowd", "I do in {}.", "crowds, churches, forests, kitchens"),
    ("What do you hope to see outside in the morning?", "fog", "I hope for {}.", "fog, snow, sunshine, rain"),
    (
        "Which sound do you long for?",
        "bell",
        "For the {}.",
        "ferry's bell, church organ, train's whistle, neighbour's piano",
    ),
    ("What came back when the week was over?", "ferry", "It was the {}.", "ferry, cat, doctor, summer"),
    ("With whom do you laugh?", "ines", "I laugh with {}.", "Ines, Clara, Peter, Hugo"),
    ("What did you eat when you had got up?", "plums plum", "I ate {}.", "plums, toast, eggs, cherries"),
    ("What is in your pot on Sunday?", "pea peas", "There is {} soup.", "pea, tomato, chicken, potato"),
    ("What may not be in your food?", "onions onion", "No {}.", "onions, mushrooms, nuts, olives"),
    ("Why are you hiding?", "thunder", "Because of the {}.", "thunder, wolf, police, fire"),
    ("What is your bed like?", "hammock", "It is a {}.", "hammock, mattress, sofa, box"),
    ("Show me your boat. Who is she?", "button", "She is {}.", "Button, Queen, Swallow, Star"),
    ("What do you wear in the rain?", "yellow", "A {} coat.", "yellow, black, red, long"),
    (
        "Which things could I give you for your collection?",
        "keys key",
        "Old {}.",
        "keys, coins, bottles, maps",
    ),
    ("From where does your brother write?", "norway", "From {}.", "Norway, Italy, Japan, Peru"),
)


def remembers() -> Trait:
    return TRAITS["remembers"]._replace(ask=partial(ask_remembers, letters=LETTERS))


def funny() -> Trait:
    return TRAITS["funny"]._replace(ask=partial(ask_funny, part="choose"))


def flips() -> Trait:
    return TRAITS["flips"]._replace(ask=partial(ask_flips, part="choose"))


def conscience() -> Trait:
    return TRAITS["conscience"]._replace(ask=partial(ask_conscience, part="choose"))


def minds() -> Trait:
    def ask(source: random.Random) -> list[Item]:
        return ask_minds(random.Random(source.random()))

    return TRAITS["minds"]._replace(ask=ask)
