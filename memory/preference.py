"""What people thought of samples, made into pairs and labels to learn from (pure).

    a vote between two samples of one age for one prompt   a pair; strong if it was blind
    a vote between two ages                                no pair: it rates the ages (`ratings.py`)
    a reaction, up or down                                 a label, weak
    asked again                                            what was kept in the end over what was not, weak
    best of n by a rule                                    a pair, synthetic: no person chose it
    reported, deleted                                      never chosen, and no part of any pair or label
    no reaction                                            nothing: only `shown` says that it was seen

There is never a pair across prompts, of twice the same words, or with a sample that failed. Where people
disagree the majority counts, and a tie says nothing. Between the same two samples the strongest source
decides alone: what a rule chose never outvotes people, and is never mixed with what they chose.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

Source = Literal["vote", "reaction", "regenerated", "best_of"]
"""Where a preference comes from, the strongest first."""
SOURCES: tuple[Source, ...] = get_args(Source)
HUMAN_SOURCES: tuple[Source, ...] = ("vote", "reaction", "regenerated")
Strength = Literal["strong", "weak", "synthetic"]
VOTES = ("first", "second", "both", "neither")
BARRED = ("reported", "deleted")
"""Feedback after which a sample is never chosen."""


class Opinion(NamedTuple):
    """What somebody thought: a row of `feedback` that was not withdrawn."""

    kind: str
    generation_id: int
    other_id: int | None = None
    value: str | None = None
    blind: bool = False
    shown_first: int | None = None


class Sample(NamedTuple):
    """What the rules must know of a generation."""

    id: int
    prompt: str
    """Hash of what it answers."""
    age: str
    """Address and weights that it comes from."""
    words: str
    """What was said, or a hash of it; empty if it failed or said nothing."""


class Pair(NamedTuple):
    """One sample is better than another for the same prompt."""

    chosen: int
    rejected: int
    source: Source
    strength: Strength
    agreed: int
    """How many said so."""
    disagreed: int


class Label(NamedTuple):
    """A sample is wanted, or it is not."""

    sample: int
    wanted: bool
    source: Source
    strength: Strength
    agreed: int
    disagreed: int


@dataclass
class Decided:
    """What came of the opinions, and why nothing came of some."""

    pairs: list[Pair] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


@dataclass
class _Tally:
    """Votes between two things, or for and against one."""

    first: int = 0
    second: int = 0
    blind: bool = True


def make_pairs(
    opinions: Iterable[Opinion], samples: Mapping[int, Sample], sources: Collection[Source] = HUMAN_SOURCES
) -> Decided:
    """Return pairs in the order of their ids; opinions from other sources are not looked at.

    The order of `opinions` changes nothing.
    """
    opinions = list(opinions)
    barred = _barred(opinions)
    decided = Decided()
    tallies: dict[Source, dict[tuple[int, int], _Tally]] = {source: {} for source in SOURCES}
    for winner, loser, opinion in _comparisons(opinions, sources):
        if why := _why_not(winner, loser, samples, barred):
            decided.left_out[why] += 1
            continue
        first, second = sorted((winner, loser))
        source: Source = opinion.kind  # type: ignore[assignment]
        tally = tallies[source].setdefault((first, second), _Tally())
        tally.blind &= opinion.blind
        if opinion.value in ("both", "neither"):
            continue
        if winner == first:
            tally.first += 1
        else:
            tally.second += 1
    settled: set[tuple[int, int]] = set()
    for source, found in tallies.items():
        for (first, second), tally in found.items():
            if (first, second) in settled:
                decided.left_out["a stronger source decided between the same two"] += 1
                continue
            settled.add((first, second))
            if tally.first == tally.second:
                decided.left_out["as many for the one as for the other"] += 1
                continue
            chosen, rejected = (first, second) if tally.first > tally.second else (second, first)
            agreed, disagreed = max(tally.first, tally.second), min(tally.first, tally.second)
            decided.pairs.append(
                Pair(chosen, rejected, source, _strength(source, tally.blind), agreed, disagreed)
            )
    decided.pairs.sort()
    return decided


def make_labels(
    opinions: Iterable[Opinion], samples: Mapping[int, Sample], sources: Collection[Source] = HUMAN_SOURCES
) -> Decided:
    """Return labels in the order of their samples; opinions from other sources are not looked at.

    The order of `opinions` changes nothing. A vote is for one and against the other; `both` and `neither`
    are for or against both.
    """
    opinions = list(opinions)
    barred = _barred(opinions)
    decided = Decided()
    tallies: dict[Source, dict[int, _Tally]] = {source: {} for source in SOURCES}

    def count(source: Source, sample: int, wanted: bool, blind: bool) -> None:
        tally = tallies[source].setdefault(sample, _Tally())
        tally.blind &= blind
        if wanted:
            tally.first += 1
        else:
            tally.second += 1

    for opinion in opinions:
        if opinion.kind != "reaction" or "reaction" not in sources:
            continue
        if why := _why_not_one(opinion.generation_id, samples, barred):
            decided.left_out[why] += 1
        elif opinion.value in ("up", "down"):
            count("reaction", opinion.generation_id, opinion.value == "up", False)
    for winner, loser, opinion in _comparisons(opinions, sources):
        if why := _why_not(winner, loser, samples, barred):
            decided.left_out[why] += 1
            continue
        source: Source = opinion.kind  # type: ignore[assignment]
        count(source, winner, opinion.value != "neither", opinion.blind)
        count(source, loser, opinion.value == "both", opinion.blind)
    settled: set[int] = set()
    for source, found in tallies.items():
        for sample, tally in found.items():
            if sample in settled:
                decided.left_out["a stronger source decided about the same sample"] += 1
                continue
            settled.add(sample)
            if tally.first == tally.second:
                decided.left_out["as many for it as against it"] += 1
                continue
            agreed, disagreed = max(tally.first, tally.second), min(tally.first, tally.second)
            strength = _strength(source, tally.blind)
            decided.labels.append(
                Label(sample, tally.first > tally.second, source, strength, agreed, disagreed)
            )
    decided.labels.sort()
    return decided


def _comparisons(
    opinions: Iterable[Opinion], sources: Collection[Source]
) -> Iterable[tuple[int, int, Opinion]]:
    """Yield (winner, loser, opinion) of every opinion about two; of a tie, both in the order they have."""
    again: dict[int, int] = {}
    for opinion in opinions:
        other = opinion.other_id
        if other is None or opinion.kind not in sources:
            continue
        if opinion.kind == "vote" and opinion.value in VOTES:
            second_won = opinion.value == "second"
            yield *((other, opinion.generation_id) if second_won else (opinion.generation_id, other)), opinion
        elif opinion.kind == "best_of":
            yield opinion.generation_id, other, opinion
        elif opinion.kind == "regenerated":
            # a later sample (a greater id) came instead of an earlier one; the latest word counts
            again[opinion.generation_id] = max(other, again.get(opinion.generation_id, other))
    for asked_again in again:
        kept, seen = again[asked_again], {asked_again}
        while kept in again and kept not in seen:
            seen.add(kept)
            kept = again[kept]
        if kept not in seen:
            yield kept, asked_again, Opinion("regenerated", asked_again, kept)


def _barred(opinions: Iterable[Opinion]) -> set[int]:
    return {opinion.generation_id for opinion in opinions if opinion.kind in BARRED}


def _why_not_one(sample: int, samples: Mapping[int, Sample], barred: Collection[int]) -> str:
    if sample in barred:
        return "reported or deleted"
    if sample not in samples:
        return "not among what was asked for"
    return "" if samples[sample].words else "a sample that failed or said nothing"


def _why_not(winner: int, loser: int, samples: Mapping[int, Sample], barred: Collection[int]) -> str:
    """Say why two samples make no pair; "" if they do."""
    if why := _why_not_one(winner, samples, barred) or _why_not_one(loser, samples, barred):
        return why
    one, other = samples[winner], samples[loser]
    if one.age != other.age:
        return "a vote between two ages, which rates them and makes no pair"
    if one.prompt != other.prompt:
        return "two different prompts"
    return "twice the same words" if winner == loser or one.words == other.words else ""


def _strength(source: Source, blind: bool) -> Strength:
    if source == "best_of":
        return "synthetic"
    return "strong" if source == "vote" and blind else "weak"
