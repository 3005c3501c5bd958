"""When to refuse a line, and when to end a scene: pure rules, whose names become the recorded reasons.

Four levels: one sample, the window of recent lines, the whole scene, and the turns since a person last spoke.
Small models loop and babble. Babble is allowed (the youngest know nothing else); loops are not, because a
loop in the transcript teaches every self that reads it to go on looping.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple

from bots.floor import Line

WINDOW = 12
"""Messages in a window."""
FEWEST = 6
"""A window with fewer lines is not judged: a few lines of small talk repeat each other innocently."""
ZLIB_RATIO = 2.4
CONTAINMENT = 0.4
"""Bounds of the window rules. Natural windows reached 2.05 and .25, synthetic loops began at 2.7 and .56."""
MAX_WITHOUT_HUMAN = 100
"""Lines since a person last spoke, after which selves must wait for one."""
MAX_FAILURES = 3
"""Failed turns in a row that end a scene."""
COPY_WORDS = 4
"""Shorter sentences ("Yes.", "Me too!") may be said by anyone, any number of times."""
COPIED = 0.5
"""The share of its word 4-grams that a longer line may take from the lines of the window before it."""

SampleRule = Literal["empty", "repeats itself", "copies a line"]
SOFT_WITHOUT_HUMAN = 20
"""Lines since a person last spoke, after which selves who chatter grow silent, more with every line."""

WindowRule = Literal["compresses", "repeats"]
StopReason = Literal[
    "max_turns",
    "time",
    "tokens",
    "loop",
    "engine",
    "silence",
    "halted",
    "no_human",
    "said",
    "budget",
    "all_spoken",
    "sent",
    "answered",
]
"""Why a scene ended: all its turns played; out of time; out of tokens; two loops; failed turns in a row;
nobody wanted the floor; a person stopped it; too many turns without a person; somebody said what ends it; no
tokens left for today; everybody had their one turn; a letter is on its way, or answered."""


def refuse_sample(text: str, lines: Sequence[Line]) -> SampleRule | None:
    """Return the rule that a fresh sample breaks, or None. `lines`: what was said before, oldest first."""
    words = _words(text)
    if not any(unicodedata.category(letter)[0] in "LNPS" for letter in text):
        return "empty"
    if repeats_itself(text):
        return "repeats itself"
    if len(words) < COPY_WORDS:
        return None
    if any(_words(line.text) == words for line in lines[-2 * WINDOW :]):
        return "copies a line"
    known = {gram for line in lines[-WINDOW:] for gram in _grams(line.text)}
    grams = _grams(text)
    if len(words) > 2 * COPY_WORDS and sum(gram in known for gram in grams) / len(grams) > COPIED:
        return "copies a line"
    return None


def repeats_itself(text: str) -> bool:
    """Whether a text is stuck: some run of words or letters comes again and again without a break.

    Words four times in a row (a single one six times), letters eight times (a single one sixteen times:
    "hahaha" and "nooooo" are speech); a sentence said twice; or a long text that repeats much of itself, by
    its 4-grams.
    """
    if re.search(r"(\S)\1{15}|(\S{2,12}?)\2{7}", text):
        return True
    words = _words(text)
    for size in range(1, min(12, len(words) // 4) + 1):
        run = 0
        for a, b in zip(words, words[size:], strict=False):
            run = run + 1 if a == b else 0
            if run >= max(3 * size, 5):
                return True
    sentences = [tuple(_words(sentence)) for sentence in re.split(r"[.!?…\n]+", text)]
    long_ones = [sentence for sentence in sentences if len(sentence) >= COPY_WORDS]
    if len(set(long_ones)) < len(long_ones):
        return True
    return len(words) > WINDOW and containment([text]) > CONTAINMENT


class Loops(NamedTuple):
    """What the window rules found in a transcript."""

    trips: int
    """How often they fired. One: hide lines and draw new seeds; two: end the scene."""
    hidden: frozenset[int]
    """Positions of lines that should be left out of prompts from now on."""
    rule: WindowRule | None = None
    """Which rule fired last."""


def find_loops(lines: Sequence[Line]) -> Loops:
    """Slide the window over a whole transcript. A pure fold: whoever resumes a scene finds the same.

    After a trip the window begins anew, so a second trip needs new lines.
    """
    trips, start, hidden = 0, 0, set[int]()
    rule: WindowRule | None = None
    for end in range(1, len(lines) + 1):
        first = max(start, end - WINDOW)
        window = [line.text for line in lines[first:end]]
        if fired := loop_rule(window):
            trips, start, rule = trips + 1, end, fired
            hidden |= {first + position for position in _looping(window)}
    return Loops(trips, frozenset(hidden), rule)


def loop_rule(window: Sequence[str]) -> WindowRule | None:
    """Return the rule by which these consecutive messages go round in circles, or None."""
    if len(window) < FEWEST:
        return None
    if zlib_ratio(window) > ZLIB_RATIO:
        return "compresses"
    return "repeats" if containment(window) > CONTAINMENT else None


def zlib_ratio(window: Sequence[str]) -> float:
    """How many times smaller the window becomes when compressed."""
    data = "\n".join(window).encode("utf-8", "replace")
    return len(data) / len(zlib.compress(data, 9))


def containment(window: Sequence[str]) -> float:
    """The share of the window's word 4-grams that have been there before (0: all new, 1: nothing new)."""
    grams = [gram for text in window for gram in _grams(text)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def _looping(window: Sequence[str]) -> list[int]:
    """The positions of lines that mostly say what others in the window say; all, if it is no line's fault."""
    counts = Counter(gram for text in window for gram in set(_grams(text)))
    found = []
    for position, text in enumerate(window):
        grams = _grams(text)
        if grams and sum(counts[gram] > 1 for gram in grams) / len(grams) > CONTAINMENT:
            found.append(position)
    return found or list(range(len(window)))


def stop_reason(
    *,
    turns: int,
    max_turns: int,
    minutes: float,
    max_minutes: float,
    failures: int = 0,
    trips: int = 0,
    without_human: int = 0,
    max_without_human: int = MAX_WITHOUT_HUMAN,
    tokens: int = 0,
    max_tokens: int = 0,
    said: bool = False,
) -> StopReason | None:
    """Return why a scene must end before its next turn, or None.

    `failures` counts failed turns in a row, `trips` how often the window rules fired, `without_human` the
    lines since a person spoke, `tokens` those that were drawn (`max_tokens` 0: no limit). `said`: a self said
    what ends the scene.
    """
    if failures >= MAX_FAILURES:
        return "engine"
    if trips >= 2:
        return "loop"
    if said:
        return "said"
    if turns >= max_turns:
        return "max_turns"
    if minutes >= max_minutes:
        return "time"
    if max_tokens and tokens >= max_tokens:
        return "tokens"
    if without_human >= max_without_human:
        return "no_human"
    return None


def lines_without(people: Sequence[bool]) -> int:
    """Count the lines since a person last spoke; `people` says for each line, oldest first, if one did."""
    return next((count for count, person in enumerate(reversed(people)) if person), len(people))


def ends_it(text: str, phrases: Sequence[str]) -> bool:
    """Whether a line has one of the words or phrases that end a scene, in any case."""
    words = f" {' '.join(_words(text))} "
    return any(f" {' '.join(_words(phrase))} " in words for phrase in phrases if _words(phrase))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+(?:['’]\w+)*", text.casefold())


def _grams(text: str) -> list[tuple[str, ...]]:
    """Word 4-grams; a shorter line counts as one."""
    words = _words(text)
    return [tuple(words[i : i + 4]) for i in range(len(words) - 3)] or ([tuple(words)] if words else [])
