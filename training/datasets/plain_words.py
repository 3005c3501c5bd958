"""A small thing told plainly and told in worn words: `function = "training.datasets.plain_words:rows"`.

What is chosen names things one could touch; what is rejected is made of phrases that fit anything. Both are
put together from lists here, so that the writer learns the manner and not a matter. The subjects and the
sentences that the trait `prose` (training/traits) asks about are not among those to learn.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

SUBJECTS = {
    "learn": (
        *("a bakery", "the harbour", "an old bicycle", "the first snow", "a night train", "my grandmother"),
        *("a broken clock", "the market", "a letter", "the garden", "a ferry", "the kitchen", "a stray dog"),
        *("the library", "a funeral", "the river", "a wedding", "the mountain hut", "a radio", "the well"),
    ),
    "probe": (
        *("a lighthouse", "the school yard", "a violin", "the storm", "a fisherman", "the attic", "a bridge"),
        *("the orchard", "a key", "the station", "a lost glove", "the mill", "a birthday", "the desert"),
    ),
}
ASK = {
    "learn": ("Write two sentences about {it}.", "Describe {it}.", "Tell me about {it}, briefly."),
    "probe": ("Write a short passage about {it}.",),
}
WHO = (
    *("The postman", "A girl with wet hair", "My uncle", "The cook", "Somebody from the second floor"),
    *("An old man", "The youngest", "Our neighbour", "A soldier on leave", "The woman who sells eggs"),
)
DOES = (
    *("puts two cold coins on the sill", "ties the gate shut with a red string", "counts the cups again"),
    *("leaves a bag of onions at the door", "wipes the glass with her sleeve", "sharpens a pencil and waits"),
    *("sleeps with his boots on", "eats the bread without butter", "writes the date on the wall in chalk"),
    *("lifts the lid and shuts it", "asks what time it is, and does not listen", "carries the ladder home"),
)
THERE = (
    *(
        "Near {it} the tar smells of noon",
        "By {it} nobody talks before seven",
        "{It} has a crack that lets in ants",
    ),
    *("Behind {it} lie nine blue tiles", "{It} is where the wasps go in August", "Salt dries white on {it}"),
    *("Around {it} the dogs walk slowly", "{It} cost eleven crowns, paid in March"),
)
WORN = (
    "{It} stands as a testament to the resilience of the human spirit.",
    "{It} is not just a part of life, but a vibrant tapestry of memories and emotions.",
    "In today's world, {it} plays a crucial role in fostering a profound sense of connection.",
    "It is important to note that {it} can be a powerful way to embark on a transformative journey.",
    "Nestled in a bustling landscape, {it} whispers of timeless and boundless beauty.",
    "{It} serves as a beacon of hope, seamlessly blending the intricate and the ethereal.",
    "With unwavering grace, {it} invites us to delve into a realm of captivating wonder.",
    "{It} is a symphony of shimmering moments, a reminder to embrace the myriad colours of life.",
)


def rows(seed: int = 1, each: int = 6) -> Iterator[dict[str, Any]]:
    """Yield `each` pairs for every subject that may be learned."""
    source = random.Random(seed)
    for subject in SUBJECTS["learn"]:
        for _ in range(each):
            chosen = plain(source, subject)
            yield {
                "prompt": source.choice(ASK["learn"]).format(it=subject),
                "completion": chosen,
                "chosen": chosen,
                "rejected": worn(source, subject),
                "group": subject,
            }


def plain(source: random.Random, subject: str) -> str:
    """Return two sentences that name things."""
    sentences = [f"{source.choice(WHO)} {source.choice(DOES)}.", f"{_told(source.choice(THERE), subject)}."]
    source.shuffle(sentences)
    return " ".join(sentences)


def worn(source: random.Random, subject: str) -> str:
    """Return two sentences that say nothing."""
    return " ".join(_told(one, subject) for one in source.sample(WORN, 2))


def _told(frame: str, subject: str) -> str:
    text = frame.format(it=subject, It=subject)
    return text[0].upper() + text[1:]
