"""Numbers with their 95 % intervals, and how they come of answers (pure): shares, rates and means.

No model is known here, so what shows figures loads none.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from pydantic import Field

from selves.speech import Frozen, seed_from
from training.evals.items import bootstrap, wilson


class Figure(Frozen):
    """One number, with its 95 % interval."""

    name: str
    value: float
    low: float
    high: float
    n: int
    higher_is_better: bool = True
    share: bool = False
    """Whether it is shown in percent."""
    each: tuple[float, ...] = Field((), exclude=True, repr=False)
    """What each item got, in the order asked, where the value is their mean: so that two who were asked the
    same can be compared item by item. It is not written down."""

    def __str__(self) -> str:
        form = ".0%" if self.share else ".3f"
        if self.low == self.high:
            return f"{self.value:{form}} (all {self.n} alike)" if self.n > 1 else f"{self.value:{form}}"
        return f"{self.value:{form}} ({self.low:{form}} to {self.high:{form}})"


def share(name: str, found: Sequence[bool], *, better: bool = True) -> Figure:
    """Return how often something is so, with Wilson's interval."""
    low, high = wilson(sum(found), len(found))
    each = tuple(map(float, found))
    value = sum(found) / len(found)
    return Figure(
        name=name,
        value=value,
        low=low,
        high=high,
        n=len(found),
        higher_is_better=better,
        share=True,
        each=each,
    )


def share_of(name: str, parts: Sequence[tuple[int, int]], *, better: bool = True) -> Figure:
    """Return how often something is so over parts (so many, of so many), resampled by part: what belongs
    together goes wrong together. Where all parts are alike, see `mean`. Parts of nothing are left out.
    """
    counted = [(float(some), float(of)) for some, of in parts if of]
    value = sum(some for some, _ in counted) / sum(of for _, of in counted)
    low, high = bootstrap(counted, _source(name))
    if low == high:
        low, high = _alike(value, len(counted), 0.0, 1.0)
    each = tuple(some / of for some, of in parts) if len({of for _, of in parts}) == 1 else ()
    return Figure(
        name=name,
        value=value,
        low=low,
        high=high,
        n=len(counted),
        higher_is_better=better,
        share=True,
        each=each,
    )


def rate(name: str, parts: Sequence[tuple[int, int]], per: int, *, better: bool = True) -> Figure:
    """Return how many of something there are in `per` of something else, over parts (so many, in so many).

    It is resampled by part. Where no part has any, the interval ends where each part that Wilson's has room
    for would have one.
    """
    total = sum(of for _, of in parts)
    value = per * sum(some for some, _ in parts) / total
    low, high = (per * end for end in bootstrap([(float(a), float(b)) for a, b in parts], _source(name)))
    if not value:
        high = per * wilson(0, len(parts))[1] * len(parts) / total
    return Figure(name=name, value=value, low=low, high=high, n=len(parts), higher_is_better=better)


def mean(
    name: str, values: Sequence[float], *, better: bool = True, bounds: tuple[float, float] | None = None
) -> Figure:
    """Return a mean with its bootstrapped interval.

    Where all values are alike there is nothing to resample. If it is known what the least and the greatest
    value can be (`bounds`), as many others as Wilson's interval has room for could be either; else the
    interval has no width.
    """
    each = tuple(map(float, values))
    value = sum(each) / len(each)
    low, high = bootstrap([(one, 1.0) for one in each], _source(name))
    if low == high and bounds is not None:
        low, high = _alike(value, len(each), *bounds)
    return Figure(name=name, value=value, low=low, high=high, n=len(each), higher_is_better=better, each=each)


def _alike(value: float, count: int, least: float, greatest: float) -> tuple[float, float]:
    others = wilson(0, count)[1]
    return value - others * (value - least), value + others * (greatest - value)


def _source(name: str) -> random.Random:
    return random.Random(seed_from("figure", name))


def table(columns: Sequence[tuple[str, Sequence[Figure]]]) -> list[list[str]]:
    """Return rows of cells: names, and for each age its figures; the first row is the head."""
    names = list(dict.fromkeys(figure.name for _, figures in columns for figure in figures))
    rows = [["", *(name for name, _ in columns)]]
    for name in names:
        cells = [next((str(f) for f in figures if f.name == name), "") for _, figures in columns]
        rows.append([name, *cells])
    return rows
