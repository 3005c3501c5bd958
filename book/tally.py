"""Contribution and selectivity of what is printed (pure): when a book is composed, and again to verify it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from book.manuscript import Alone, Columns, Facsimile, Figures, Item, Passage, Played, Prose
from book.passage import Runs
from memory.figures import make_figures


def reckon(items: Sequence[Item], siblings: Mapping[int, Sequence[int]]) -> Figures:
    """Return the figures of a chapter or of a whole book.

    `siblings` are the other samples of a sample's turn. A turn counts once, however much of it is printed;
    the samples of a facsimile that are there because they were not chosen are not counted as printed.
    """
    chosen = [passage for item in items for passage in chosen_of(item)]
    model = sum(one.model_characters for one in chosen)
    human = sum(max(0, one.characters - one.model_characters) for one in chosen)
    human += sum(_length(one.note) for one in chosen if one.note)
    human += sum(_length(item.text) for item in items if isinstance(item, Prose))
    human += sum(_length(item.premise) for item in items if isinstance(item, Played))
    samples = {one.source.generation_id for one in chosen if one.source.generation_id is not None}
    turns = {min(turn): len(turn) for turn in ((one, *siblings.get(one, ())) for one in samples)}
    made = make_figures(model=model, human=human, generated=sum(turns.values()), published=len(samples))
    return Figures(
        passages=len(chosen),
        model_characters=model,
        human_characters=human,
        contribution=made.contribution,
        generated=made.generated,
        published=made.published,
        selectivity_bits=made.selectivity_bits,
        edited=sum(one.source.edited for one in chosen),
    )


def chosen_of(item: Item) -> tuple[Passage, ...]:
    """Return the passages of an item that the author chose."""
    match item:
        case Alone() | Facsimile():
            return (item.passage,)
        case Columns():
            return item.passages
        case Played():
            return item.lines
        case Prose():
            return ()


def _length(text: Runs) -> int:
    return sum(map(len, text))
