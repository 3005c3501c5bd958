"""Traits by selves (pure): how far each self is from whom it was raised from, and what of it is no chance.

A distance is a difference in units of its own error, as in Newcombe's interval of a difference (Statistics in
Medicine 17, 873-890, 1998, method 10): of either figure the side of its interval counts that looks at the
other. It does not know that both were asked the same, so it is careful. Where many are compared, some differ
by chance: Holm's rule (Scandinavian Journal of Statistics 6, 65-70, 1979) says which would not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from selves.lineage import Address, AgeCard
from training.evals.items import Z95
from training.figure import Figure

CHANCE = 0.05
"""How often a difference that is none lies beyond its interval."""
UP, DOWN, FAR_UP, FAR_DOWN = "↑", "↓", "⇑", "⇓"
"""Beyond the interval of the difference; and so far that it is no chance, though so many were compared."""

Row = Mapping[str, Figure]
"""Trait -> its first figure."""


class Cell(NamedTuple):
    """A figure of a self beside that of whom it is compared with."""

    figure: Figure
    far: float = 0.0
    """How many standard errors it is above the other; 0 of who is compared with nobody."""
    stands: bool = False
    """Whether it stands out even among so many (Holm)."""

    @property
    def mark(self) -> str:
        """Which way it went, where that is beyond the interval of the difference."""
        if abs(self.far) < Z95:
            return ""
        return (FAR_UP if self.far > 0 else FAR_DOWN) if self.stands else (UP if self.far > 0 else DOWN)


class Matrix(NamedTuple):
    """Selves, each compared with another, in every trait that both were asked."""

    cells: dict[str, dict[str, Cell]]
    """Address -> trait -> cell."""
    against: dict[str, str]
    """Address -> whom it is compared with; of some there is nobody."""
    compared: int
    """How many cells have something to be compared with."""

    @property
    def traits(self) -> list[str]:
        """All names, in the order of the first that has them."""
        return list(dict.fromkeys(name for row in self.cells.values() for name in row))

    @property
    def asked(self) -> str:
        """What each trait's figure is, in words."""
        return "; ".join(f"{name}: {self.figure_of(name)}" for name in self.traits)

    def figure_of(self, trait: str) -> str:
        """Return what a trait's figure is called."""
        return next(row[trait].figure.name for row in self.cells.values() if trait in row)

    @property
    def foot(self) -> tuple[str, ...]:
        """What a reader has to know, in sentences."""
        if not self.compared:
            return ()
        marks = [cell.mark for row in self.cells.values() for cell in row.values()]
        beyond, stands = sum(map(bool, marks)), sum(mark in (FAR_UP, FAR_DOWN) for mark in marks)
        pairs: dict[str, list[str]] = {}
        for who, other in self.against.items():
            pairs.setdefault(other, []).append(who)
        others = [who for who in self.cells if who not in pairs]
        alone = len(pairs) == 1 and sorted(self.against) == sorted(others)
        whom = (f"with {other}" + ("" if alone else f": {', '.join(some)}") for other, some in pairs.items())
        return (
            f"Compared {'; '.join(whom)}.",
            f"{UP} {DOWN}: beyond the 95 % interval of the difference: {beyond} of {self.compared}; "
            f"by chance alone about {CHANCE * self.compared:.0f} would be.",
            f"{FAR_UP} {FAR_DOWN}: no chance though so many were compared (Holm): {stands}.",
        )


def compared(selves: Mapping[str, Row], against: Mapping[str, str]) -> Matrix:
    """Compare selves, by address, each with the one that `against` names for it."""
    far = {
        (who, name): distance(figure, selves[against[who]][name])
        for who, row in selves.items()
        for name, figure in row.items()
        if who in against and name in selves[against[who]]
    }
    standing = holm({key: math.erfc(abs(one) / math.sqrt(2)) for key, one in far.items()})
    cells = {
        who: {
            name: Cell(figure, far.get((who, name), 0.0), (who, name) in standing)
            for name, figure in row.items()
        }
        for who, row in selves.items()
    }
    return Matrix(cells, {who: other for who, other in against.items() if who in selves}, len(far))


def elders(selves: Sequence[str], cards: Mapping[str, AgeCard]) -> dict[str, str]:
    """Return for selves whom to compare them with: the nearest of another lineage that it was raised from and
    that is one of them; else the first, where both began as the same age. `cards` are all there are, by
    address.
    """
    lives = {who: list(_life(who, cards)) for who in selves}
    first, found = selves[0], {}
    for who, life in lives.items():
        lineage = Address.parse(who).lineage
        near = next((one for one in life if one in lives and Address.parse(one).lineage != lineage), None)
        if near is None and who not in lives[first] and life[-1] == lives[first][-1]:
            near = first
        if near is not None:
            found[who] = near
    return found


def _life(who: str, cards: Mapping[str, AgeCard]) -> Iterator[str]:
    """Yield an address, and those that it was raised from, back to the first that is known of."""
    seen: set[str] = set()
    at: str | None = who
    while at is not None and at not in seen:
        yield at
        seen.add(at)
        at = (card.parent or card.adapter_of) if (card := cards.get(at)) else None


def distance(figure: Figure, other: Figure) -> float:
    """Return how many standard errors a figure is above another; 0 where nothing is known of the error.

    A figure without a width, whose values were all alike, is taken to vary as the other does.
    """
    above = figure.value > other.value
    errors = [
        (one.value - one.low if down else one.high - one.value) / Z95 if one.low < one.high else None
        for one, down in ((figure, above), (other, not above))
    ]
    known = [error for error in errors if error is not None]
    if not known or figure.value == other.value:
        return 0.0
    error = math.hypot(*(max(known) if error is None else error for error in errors))
    return (figure.value - other.value) / error if error else 0.0


def holm(chances: Mapping[tuple[str, str], float]) -> set[tuple[str, str]]:
    """Return what is beyond chance of many, each with how often chance alone does as much."""
    found: set[tuple[str, str]] = set()
    for rank, key in enumerate(sorted(chances, key=lambda key: chances[key])):
        if chances[key] > CHANCE / (len(chances) - rank):
            break
        found.add(key)
    return found


def short(figure: Figure) -> str:
    """Return a figure without its interval."""
    return f"{figure.value:.0%}" if figure.share else f"{figure.value:.3g}"


def ends(figure: Figure) -> str:
    """Return a figure's interval, in few characters."""
    if figure.low == figure.high:
        return "all alike"
    if figure.share:
        return f"{figure.low * 100:.0f} to {figure.high:.0%}"
    return f"{figure.low:.3g} to {figure.high:.3g}"
