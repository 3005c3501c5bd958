"""The words a book says by itself: what stands beneath a passage, in a chapter's head, and in the appendix.

All builders take them from here, so that paper, EPUB and website say the same.
"""

from __future__ import annotations

from book.manuscript import Figures, Manuscript, Opener, Passage, Source
from book.page import many, thin

APPENDIX = "Where it all comes from"
APPENDIX_SAYS = (
    "Every passage of this book by its number: which weights said it, from which prompt, with which seed. "
    "With the same weights and engine the same words come again."
)


def colophon(source: Source) -> str:
    """Return the line beneath a passage."""
    parts = [source.address or _WHO.get(source.origin, source.origin)]
    sampling = source.sampling
    if sampling:
        parts.append(f"seed {sampling['seed']}")
        parts.append(f"T {sampling['temperature']:g}")
        parts.append(f"top-p {sampling['top_p']:g}")
    parts.append(place_of(source))
    if source.drawn > 1:
        parts.append(f"one of {source.drawn}")
    if source.edited:
        parts.append("edited")
    elif source.excerpt:
        parts.append("excerpt")
    if source.copied:
        parts.append(f"{source.copied:.0%} copied")
    return " · ".join(parts)


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
    said = f"{figures.contribution:.0%} of these characters a model wrote"
    if figures.selectivity_bits is not None:
        said += (
            f"; {figures.published} printed of {figures.generated} drawn for the same turns "
            f"({figures.selectivity_bits:.1f} bits)"
        )
    if figures.edited:
        said += f"; {figures.edited} edited by the author"
    return f"{said}."


def facts_of(passage: Passage) -> list[tuple[str, str]]:
    """Return what the appendix says of a passage, but for its original words."""
    source = passage.source
    facts = [(f"{source.number}", f"{passage.label}, {place_of(source)}")]
    if source.address:
        facts.append(("address", source.address))
        facts.append(("weights", f"sha256 {source.weights_sha256}"))
        facts.append(("engine", f"{source.engine} {source.engine_version}"))
        drawn = ", ".join(
            f"{name} {value}" for name, value in source.sampling.items() if value not in ([], ())
        )
        facts.append(("sampling", drawn))
        facts.append(("prompt", f"sha256 {source.prompt_sha256}"))
        if source.prompt_from:
            facts.append(("prompt from", "messages " + ", ".join(map(str, source.prompt_from))))
    else:
        facts.append(("origin", source.origin))
    facts.append(("text", f"sha256 {source.text_sha256}"))
    if source.edited:
        facts.append(("edited", "by the author; what was said follows"))
    elif source.excerpt:
        facts.append(("excerpt", f"characters {source.start} to {source.end} of {source.length}"))
    if source.drawn > 1:
        facts.append(("drawn", f"one of {source.drawn} samples"))
    facts.append(
        ("copied", "not compared with training texts" if source.copied is None else f"{source.copied:.1%}")
    )
    facts.append(("said", source.said_at[:19].replace("T", " ")))
    return facts


def about(manuscript: Manuscript) -> list[str]:
    """Return the paragraphs on how the book was made."""
    figures = manuscript.figures
    said = [
        f"Edition {manuscript.edition}, {manuscript.date:%-d %B %Y}. Its passages were written by ages "
        f"of the language model {manuscript.lineage}; under each stands which age, and with which seed."
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
