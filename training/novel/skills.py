"""Small tasks with one right answer (pure), for letters that are to teach them.

Who is asked sees one word and is told neither what to do with it nor to be brief; the writer of a letter sees
three words with their answers. The words of each kind are parted by a hash of each: a third is asked, of that
kind, only in lessons that are held out, and what those show is never among them. A word of two kinds may be
held out under one and learned under the other. Kinds that are left out are in no lesson that is learned.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from selves.files import sha256_text

SHOWN = 3
"""Examples that the writer of a letter sees."""
ASK = "{}?"
Part = Literal["train", "test"]
Pair = tuple[str, str]


def _pairs(text: str) -> tuple[Pair, ...]:
    """Return `a:b c:d` as pairs."""
    return tuple((one, two) for one, _, two in (word.partition(":") for word in text.split()))


KINDS: dict[str, tuple[Pair, ...]] = {
    "opposites": _pairs(
        "hot:cold big:small up:down old:young fast:slow dark:light wet:dry rich:poor hard:soft full:empty "
        "long:short loud:quiet early:late open:closed near:far high:low sad:happy weak:strong"
    ),
    "plurals": _pairs(
        "cat:cats box:boxes child:children mouse:mice city:cities man:men leaf:leaves foot:feet dog:dogs "
        "bus:buses baby:babies tooth:teeth knife:knives tree:trees dish:dishes goose:geese"
    ),
    "pasts": _pairs(
        "go:went see:saw eat:ate walk:walked run:ran give:gave take:took play:played write:wrote sing:sang "
        "come:came buy:bought know:knew swim:swam call:called drive:drove"
    ),
    "capitals": _pairs(
        "France:Paris Italy:Rome Spain:Madrid Japan:Tokyo Egypt:Cairo Germany:Berlin Greece:Athens "
        "Russia:Moscow Norway:Oslo Cuba:Havana Austria:Vienna Ireland:Dublin Peru:Lima Kenya:Nairobi "
        "Poland:Warsaw"
    ),
    "colours": _pairs(
        "grass:green snow:white coal:black blood:red sky:blue banana:yellow carrot:orange chocolate:brown "
        "elephant:grey milk:white tomato:red leaf:green lemon:yellow night:black sea:blue"
    ),
    "comparatives": _pairs(
        "tall:taller good:better bad:worse nice:nicer warm:warmer cold:colder thick:thicker small:smaller "
        "great:greater strong:stronger cheap:cheaper deep:deeper safe:safer wide:wider clean:cleaner"
    ),
    "young animals": _pairs(
        "dog:puppy cat:kitten cow:calf horse:foal sheep:lamb hen:chick duck:duckling pig:piglet goat:kid "
        "bear:cub lion:cub swan:cygnet frog:tadpole deer:fawn goose:gosling"
    ),
    "sounds": _pairs(
        "dog:bark cat:meow cow:moo duck:quack sheep:baa lion:roar bee:buzz snake:hiss wolf:howl pig:oink "
        "owl:hoot horse:neigh frog:croak crow:caw mouse:squeak"
    ),
}


class Lesson(NamedTuple):
    """What a letter is to be written about, and what it is measured by."""

    kind: str
    shown: list[Pair]
    items: list[Pair]

    @property
    def prompt(self) -> str:
        return (
            f"{examples(self.shown)} Your younger self must learn to answer like this, with one word. "
            "Write a short lesson for it."
        )


def examples(pairs: Sequence[Sequence[str]]) -> str:
    """Return words and their answers as text."""
    return " ".join(f"{word}: {answer}." for word, answer in pairs)


def parted(pairs: Sequence[Pair], part: Part) -> list[Pair]:
    """Return the pairs of a part: a third is `test`, by a hash of each word."""
    order = sorted(pairs, key=lambda pair: sha256_text(pair[0]))
    held = len(order) // 3
    return order[:held] if part == "test" else order[held:]


def lessons(
    source: random.Random, count: int, asked: int, part: Part, left_out: Sequence[str] = ()
) -> Iterator[Lesson]:
    """Yield lessons, the kinds by turns; no word is both shown and asked."""
    kinds = [kind for kind in KINDS if part == "test" or kind not in left_out]
    for number in range(count):
        kind = kinds[number % len(kinds)]
        learned = parted(KINDS[kind], "train")
        shown = source.sample(learned, SHOWN)
        pool = parted(KINDS[kind], "test") if part == "test" else [p for p in learned if p not in shown]
        items = source.sample(pool, asked)
        yield Lesson(kind, shown, [(ASK.format(word), answer) for word, answer in items])
