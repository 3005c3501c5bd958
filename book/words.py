"""The words a book says by itself: what stands beneath a passage, in a chapter's head, and in the appendix.

All builders take them from here, so that paper, EPUB and website say the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from book.manuscript import Figures, Manuscript, Opener, Passage, Source
from book.page import many, thin
from book.passage import plain, runs

APPENDIX = "Where it all comes from"
APPENDIX_SAYS = (
    "Every passage by its number in the house's memory: which weights said it, how they were sampled, from "
    "which prompt, with which seed. With the same weights and engine the same words come again. Of weights, "
    "prompt and text stand the SHA-256 sums. Where no share of copied words is told, none was looked for."
)


def colophon(source: Source, *, beside: bool = False) -> str:
    """Return the line beneath a passage; a short one `beside` others of the same age or sampling."""
    parts = [] if beside else [source.address or _WHO.get(source.origin, source.origin)]
    sampling = source.sampling
    if sampling:
        parts.append(f"seed {sampling['seed']}")
    if sampling and not beside:
        parts.append(f"T {sampling['temperature']:g}")
        parts.append(f"top-p {sampling['top_p']:g}")
    parts.append(place_of(source))
    if source.drawn > 1 and not beside:
        parts.append(f"one of {source.drawn}")
    if source.edited:
        parts.append("edited")
    elif source.excerpt:
        parts.append("excerpt")
    if source.copied:
        parts.append(f"{source.copied:.0%} copied")
    return _seen(" · ".join(parts))


def _seen(text: str) -> str:
    """Return a text whose unseen characters are written out: engines have versions of any kind."""
    return plain(runs(text))


_WHO = {"operator": "written by the operator", "self": "a self"}


def place_of(source: Source) -> str:
    """Return `message 12` or `sample 17`."""
    if source.message_id is not None:
        return f"message {source.message_id}"
    return f"sample {source.generation_id}"


def head_of(opener: Opener) -> str:
    """Return the line beneath a chapter's title: `step 400 · 1.64 million tokens · loss 2.83 · ...`."""
    parts = [f"step {thin(opener.step)}", f"{many(opener.tokens_seen)} tokens"]
    if opener.train_loss is not None:
        parts.append(f"loss {opener.train_loss:.2f}")
    if opener.bits_per_byte is not None:
        parts.append(f"{opener.bits_per_byte:.2f} bits per byte")
    return " · ".join(parts)


def figures_of(figures: Figures) -> str:
    """Return contribution and selectivity in words; empty where nothing was said."""
    if figures.contribution is None:
        return ""
    said = f"A model wrote {_share(figures)} of this."
    if figures.selectivity_bits is None:
        chosen = ""
    elif figures.published == figures.generated:
        chosen = f" Nothing was chosen: of {figures.generated} samples drawn, all are printed."
    else:
        chosen = (
            f" Of {figures.generated} samples drawn for these turns, {figures.published} are printed "
            f"({figures.selectivity_bits:.1f} bits)."
        )
    return said + chosen + (f" The author edited {figures.edited}." if figures.edited else "")


def _share(figures: Figures) -> str:
    """Never `100%` where a single character is somebody else's."""
    if not figures.human_characters:
        return "all"
    return f"{min(figures.contribution or 0.0, 0.99):.0%}"


class Cited(NamedTuple):
    """What the appendix says of one passage beside what it shares with others."""

    passage: Passage
    head: str
    facts: list[tuple[str, str]]


class Shared(NamedTuple):
    """Passages of a chapter that were said by the same weights, sampled in the same way."""

    title: str
    facts: list[tuple[str, str]]
    cited: list[Cited]


def sources_of(passages: Iterable[Passage]) -> list[Shared]:
    """Return what the appendix says of a chapter, in the order in which voices come up in it."""
    found: dict[tuple[str, tuple[tuple[str, str], ...]], list[Cited]] = {}
    for passage in passages:
        found.setdefault(_shared(passage.source), []).append(_cited(passage))
    return [Shared(title, list(facts), cited) for (title, facts), cited in found.items()]


def _shared(source: Source) -> tuple[str, tuple[tuple[str, str], ...]]:
    if not source.address:
        return _WHO.get(source.origin, f"origin: {source.origin}"), ()
    drawn = ", ".join(
        f"{name} {value}"
        for name, value in source.sampling.items()
        if name != "seed" and value not in ([], ())
    )
    engine = f"{source.engine} {source.engine_version}"
    facts = (("weights", source.weights_sha256), ("engine", engine), ("sampling", drawn))
    return _seen(source.address), tuple((name, _seen(value)) for name, value in facts)


def _cited(passage: Passage) -> Cited:
    source = passage.source
    head = [passage.label, place_of(source)]
    if source.sampling:
        head.append(f"seed {source.sampling['seed']}")
    if source.drawn > 1:
        head.append(f"one of {source.drawn}")
    if source.copied is not None:
        head.append(f"{source.copied:.1%} copied")
    head.append(source.said_at[:19].replace("T", " "))
    facts = []
    if source.address:
        facts.append(("prompt", source.prompt_sha256))
        if source.prompt_from:
            facts.append(("made of", "messages " + ", ".join(map(str, source.prompt_from))))
    facts.append(("text", source.text_sha256))
    if source.edited:
        facts.append(("edited", "by the author; what was said follows"))
    elif source.excerpt:
        facts.append(("excerpt", f"characters {source.start} to {source.end} of {source.length}"))
    return Cited(passage, _seen(" · ".join(head)), [(name, _seen(value)) for name, value in facts])


def about(manuscript: Manuscript) -> list[str]:
    """Return the paragraphs on how the book was made."""
    figures = manuscript.figures
    said = [
        f"Edition {_seen(manuscript.edition)}, {manuscript.date:%-d %B %Y}. Its passages were written by "
        f"ages of the language model {manuscript.lineage}; under each stands which age, and with which seed."
    ]
    if figures.contribution is not None:
        said.append(
            f"A model wrote {figures.contribution:.1%} of the characters, "
            f"people {1 - figures.contribution:.1%}."
        )
    if figures.selectivity_bits is not None:
        said.append(
            f"{figures.published} samples are printed of {figures.generated} that were drawn for the "
            f"same turns: a selectivity of {figures.selectivity_bits:.2f} bits. "
            f"{manuscript.kept} samples of {manuscript.lineage} are kept in all."
        )
    edited = {0: "No passage was edited.", 1: "One passage was edited, and says so."}.get(
        figures.edited, f"{figures.edited} passages were edited, and say so."
    )
    said.append(f"{edited} Characters that cannot be seen or printed are written out by name in a small box.")
    return said
