"""The house's own suites. Each makes its items from a seed; nothing in them is copied from anywhere.

words        the word that goes on a held-out line, among frequent words that begin with the same letters
spelling     a word letter by letter, after examples
arithmetic   sums, differences and products of small numbers, after examples
copying      the next word of a row that is begun a second time, among the words of that row
agreement    is or are, after a subject in singular or plural, with another noun in between
facts        the name that follows in the text it was raised on, among names as frequent
dialogue     it ends its turn and leaves the next to the other
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from selves.speech import ChatMessage
from training.corpus import NAMES
from training.evals.items import Choice, Completion, Given, Item, Said

SHORT = (
    *("bread", "tea", "rain", "tree", "moon", "cup", "hat", "fish", "bird", "lamp", "road"),
    *("boat", "ship", "star", "king", "rose", "milk", "salt", "snow", "wind", "coat", "ring"),
    *("shoe", "hand", "foot", "song", "book", "door", "wall", "hill", "lake", "leaf", "seed"),
    *("corn", "goat", "lion", "wolf", "duck", "frog", "nest", "drum", "bell", "clock"),
)
NOUNS = (
    ("dog", "dogs"),
    ("boy", "boys"),
    ("girl", "girls"),
    ("friend", "friends"),
    ("bird", "birds"),
    ("king", "kings"),
    ("tree", "trees"),
    ("house", "houses"),
    ("brother", "brothers"),
    ("teacher", "teachers"),
    ("story", "stories"),
    ("child", "children"),
    ("man", "men"),
    ("woman", "women"),
)
VERBS = (
    ("is", "are"),
    ("was", "were"),
    ("has", "have"),
    ("does", "do"),
    ("likes", "like"),
    ("knows", "know"),
)
BETWEEN = ("", "", " near the {}", " behind the {}", " with the {}", " that saw the {}")
OPENINGS = (
    "Hi! How are you today?",
    "Hello, what did you do this morning?",
    "What is your favourite food?",
    "Do you have any pets?",
    "It rained all day here. And where you are?",
    "I am learning to cook.",
    "What kind of music do you like?",
    "Have you read a good book lately?",
    "Where would you like to travel?",
    "I have to work tomorrow.",
    "Do you like winter?",
    "My sister came to visit me.",
)
ANSWERS = (
    "I am fine, thank you.",
    "Not much, how about you?",
    "That sounds nice.",
    "I like it a lot.",
    "I do not know yet.",
    "Yes, I do.",
)


def words(given: Given) -> list[Item]:
    """Which of up to four frequent words that begin alike goes on a held-out line.

    All options are real words of about the same frequency: against a misspelling, which takes more tokens,
    even random weights would win.
    """
    counts = Counter(word for word in _plain_words(given.text.train) if len(word) > 4)
    ranked = [word for word, count in counts.most_common() if count > 4]
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for word in ranked:
        alike[word[:2]].append(word)
    items: list[Item] = []
    for before, word in _words_in_place(given, set(ranked)):
        family = alike[word[:2]]
        at = family.index(word)
        near = [other for other in family[max(0, at - 2) : at + 3] if other != word][:3]
        if near and len(items) < given.wanted:
            options = given.rng.sample([word, *near], 1 + len(near))
            items.append(Choice(before, tuple(f" {option}" for option in options), options.index(word)))
    return items


def _words_in_place(given: Given, known: set[str]) -> list[tuple[str, str]]:
    """Return (what comes before, word) for known words in held-out lines, in random order."""
    found = []
    for line in _lines(given.text.heldout):
        for match in re.finditer(r"(?<= )[a-z]{5,}(?=[ .,!?])", line):
            before = line[: match.start()].split()[-10:]
            if match[0] in known and len(before) > 2:
                found.append((" ".join(before), match[0]))
    given.rng.shuffle(found)
    return found


def spelling(given: Given) -> list[Item]:
    """`rain: r-a-i-n`, after four examples."""
    items: list[Item] = []
    for _ in range(given.wanted):
        *shown, asked = given.rng.sample(SHORT, 5)
        examples = "".join(f"{word}: {'-'.join(word)}\n" for word in shown)
        items.append(Completion(f"{examples}{asked}:", Says("-".join(asked)), 2 * len(asked) + 4))
    return items


class Says:
    """Passes what begins with the answer and goes on with something else than more of it."""

    def __init__(self, answer: str) -> None:
        self.pattern = re.compile(rf"\s*{re.escape(answer)}(?![\w-])")

    def __call__(self, said: Said) -> bool:
        return self.pattern.match(said.text) is not None


def arithmetic(given: Given) -> list[Item]:
    """Five kinds by turns, from single digits up, each after four examples of its kind."""
    items: list[Item] = []
    for number in range(given.wanted):
        *shown, asked = (_sum(number % 5, given.rng) for _ in range(5))
        examples = "".join(f"{left} = {answer}\n" for left, answer in shown)
        items.append(Completion(f"{examples}{asked[0]} =", Says(str(asked[1])), 6))
    return items


def _sum(kind: int, rng: random.Random) -> tuple[str, int]:
    """Return a task and its answer: kinds 0 and 1 add, 2 subtracts, 3 adds two digits, 4 multiplies."""
    a, b = rng.randint(0, 9), rng.randint(0, 9)
    match kind:
        case 0:
            a, b = rng.randint(0, 4), rng.randint(0, 5)
            return f"{a} + {b}", a + b
        case 1:
            return f"{a} + {b}", a + b
        case 2:
            return f"{max(a, b)} - {min(a, b)}", max(a, b) - min(a, b)
        case 3:
            a, b = rng.randint(10, 49), rng.randint(10, 49)
            return f"{a} + {b}", a + b
        case _:
            return f"{a} x {b}", a * b


def copying(given: Given) -> list[Item]:
    """A row of four to seven words, as another before it, stands twice: which of its words comes next."""
    items: list[Item] = []
    for number in range(given.wanted):
        length = 4 + number % 4
        drawn = given.rng.sample(SHORT, 2 * length)
        example, row = " ".join(drawn[:length]), drawn[length:]
        known = given.rng.randint(1, length - 1)
        prompt = f"{example}\n{example}\n\n{' '.join(row)}\n{' '.join(row[:known])}"
        others = [word for word in row if word != row[known]]
        options = given.rng.sample([row[known], *given.rng.sample(others, 3)], 4)
        items.append(Choice(prompt, tuple(f" {option}" for option in options), options.index(row[known])))
    return items


def agreement(given: Given) -> list[Item]:
    """As many singular as plural subjects; the noun in between, if any, is of the other number."""
    items: list[Item] = []
    for number in range(given.wanted):
        right = number % 2
        subject, other = given.rng.sample(NOUNS, 2)
        between = BETWEEN[number // 2 % len(BETWEEN)].format(other[1 - right])
        verb = given.rng.choice(VERBS)
        prompt = f"{given.rng.choice(('The', 'My', 'Your'))} {subject[right]}{between}"
        items.append(Choice(prompt, (f" {verb[0]}", f" {verb[1]}"), right))
    return items


def facts(given: Given) -> list[Item]:
    """Which of four names follows, where the text that was trained on leaves no doubt.

    Names that followed the same three words more than once, and never another, come first.
    """
    follows: defaultdict[str, Counter[str]] = defaultdict(Counter)
    places: dict[str, str] = {}
    names: Counter[str] = Counter()
    for line in _lines(given.text.train):
        for match in re.finditer(r"(?<=[a-z,] )[A-Z][a-z]{2,}\b", line):
            before = line[: match.start()].split()[-12:]
            if len(before) > 3:
                key = " ".join(before[-3:])
                follows[key][match[0]] += 1
                names[match[0]] += 1
                places.setdefault(key, " ".join(before))
    lower = Counter(_plain_words(given.text.train))
    ranked = [name for name, count in names.most_common() if lower[name.lower()] < count]
    position = {name: n for n, name in enumerate(ranked)}
    sure = [key for key, found in follows.items() if len(found) == 1 and next(iter(found)) in position]
    given.rng.shuffle(sure)
    sure.sort(key=lambda key: follows[key].total() < 2)
    items: list[Item] = []
    for key in sure[: given.wanted] if len(ranked) > 3 else ():
        name = next(iter(follows[key]))
        near = ranked[max(0, position[name] - 8) : position[name] + 9]
        others = given.rng.sample([other for other in near if other != name] or ranked, 3)
        options = given.rng.sample([name, *others], 4)
        items.append(Choice(places[key], tuple(f" {option}" for option in options), options.index(name)))
    return items


class TakesTurns:
    """Passes one line, and then the other's name."""

    def __init__(self, other: str) -> None:
        self.pattern = re.compile(rf"[^\n<]*\w[^\n<]*\n<{re.escape(other)}>")

    def __call__(self, said: Said) -> bool:
        return self.pattern.match(said.text) is not None


def answers_and_ends(said: Said) -> bool:
    """Whether something was said and then ended."""
    return said.ended and re.search(r"\w", said.text) is not None


def dialogue(given: Given) -> list[Item]:
    """In a transcript: one line, then the other's name. In a chat: an answer, then its end."""
    items: list[Item] = []
    for _ in range(given.wanted):
        first, second = given.rng.sample(OPENINGS, 2)
        answer = given.rng.choice(ANSWERS)
        me, other = given.rng.sample(NAMES, 2)
        if given.form == "chat":
            turns = (("user", first), ("assistant", answer), ("user", second))
            messages = tuple(ChatMessage.model_validate({"role": r, "content": c}) for r, c in turns)
            items.append(Completion(messages, answers_and_ends, 64))
        else:
            prompt = f"<{other}> {first}\n<{me}> {answer}\n<{other}> {second}\n<{me}>"
            items.append(Completion(prompt, TakesTurns(other), 64))
    return items


def _lines(documents: Iterable[str]) -> Iterable[str]:
    """Yield the lines of documents without their speakers' names."""
    for document in documents:
        for line in document.splitlines():
            yield re.sub(r"^<[^>]*> ", "", line)


def _plain_words(documents: Sequence[str]) -> Iterable[str]:
    for line in _lines(documents):
        yield from re.findall(r"\b[a-z]+\b", line)
