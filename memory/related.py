"""Opinions in groups that have nothing to do with each other (pure).

The rules of `preference.py` connect opinions only through the samples that they are about. So a house full of
them can be gone through a few thousand at a time, with the same outcome as all at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from memory.preference import Opinion


def related(opinions: Sequence[Opinion], at_once: int) -> Iterator[list[Opinion]]:
    """Yield the opinions, all that are about connected samples together, `at_once` of them or somewhat more.

    They come in the order of the least sample that each group is about.
    """
    leader: dict[int, int] = {}

    def find(sample: int) -> int:
        leader.setdefault(sample, sample)
        while leader[sample] != sample:
            leader[sample] = sample = leader[leader[sample]]
        return sample

    for opinion in opinions:
        one = find(opinion.generation_id)
        other = one if opinion.other_id is None else find(opinion.other_id)
        leader[max(one, other)] = min(one, other)
    groups: defaultdict[int, list[Opinion]] = defaultdict(list)
    for opinion in opinions:
        groups[find(opinion.generation_id)].append(opinion)
    part: list[Opinion] = []
    for first in sorted(groups):
        part += groups[first]
        if len(part) >= at_once:
            yield part
            part = []
    if part:
        yield part
