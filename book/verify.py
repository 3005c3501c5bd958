"""Whether a built book says what it says it says (pure, but for reading its files).

For every passage: it is in memory, its hash is that of what is stored there, what is printed is what was said
or is marked as edited, its weights and prompt are those of the stored sample, and it may be published today.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from book.build import build, read_sums
from book.manuscript import MANUSCRIPT_FILE, Manuscript, Passage
from book.passage import runs
from book.tally import reckon
from book.words import place_of
from memory.passages import Material
from memory.types import Generation
from selves.files import sha256_text


@dataclass(frozen=True, slots=True)
class Checked:
    """One passage, and what is wrong with it."""

    number: int
    where: str
    """`message 12` or `sample 17`."""
    problems: tuple[str, ...]
    edited: bool
    copied: float | None


def verify(manuscript: Manuscript, material: Material) -> list[Checked]:
    """Check every passage against memory."""
    return [
        Checked(
            number=passage.source.number,
            where=place_of(passage.source),
            problems=tuple(_problems(passage, material)),
            edited=passage.source.edited,
            copied=material.copied.get(passage.source.generation_id or 0),
        )
        for passage in manuscript.passages()
    ]


def _problems(passage: Passage, material: Material) -> list[str]:
    source = passage.source
    sample = material.samples.get(source.generation_id or 0)
    line = material.lines.get(source.message_id or 0)
    if source.message_id is not None and line is None:
        return ["there is no such message in memory"]
    if source.generation_id is not None and sample is None:
        return ["there is no such sample in memory"]
    if line is None and sample is None:
        return ["it names nothing that memory could have"]
    problems = []
    verdict = (
        material.line_verdicts[line.id] if line is not None else material.sample_verdicts[sample.id]  # type: ignore[union-attr]
    )
    if not verdict.allowed:
        problems.append(f"it may not be published: {verdict.reason}")
    stored = line.text if line is not None else sample.text  # type: ignore[union-attr]
    if sha256_text(stored) != source.text_sha256:
        return [*problems, "it is not what memory has: the hashes differ"]
    said = runs(stored[source.start : source.end])
    if source.edited:
        if passage.original != said:
            problems.append("what it gives as the original is not what was said")
    elif passage.text != said:
        problems.append("what is printed is not what was said, and it is not marked as edited")
    if sample is not None:
        problems += _made_otherwise(passage, sample)
    return problems


def _made_otherwise(passage: Passage, sample: Generation) -> list[str]:
    source = passage.source
    stored = {
        "sample": (sha256_text(sample.text), source.sample_sha256),
        "weights": (sample.weights_sha256, source.weights_sha256),
        "prompt": (sample.prompt_sha256, source.prompt_sha256),
        "address": (sample.address, source.address),
        "seed": (sample.sampling.seed, source.sampling.get("seed")),
    }
    return [f"its {name} is not that of the stored sample" for name, (a, b) in stored.items() if a != b]


def check_figures(manuscript: Manuscript, material: Material) -> list[str]:
    """Reckon contribution and selectivity again; return what differs."""
    items = [item for chapter in manuscript.chapters for item in chapter.items]
    wrong = [
        f"the figures of chapter {number} are not what they come to"
        for number, chapter in enumerate(manuscript.chapters, 1)
        if reckon(chapter.items, material.siblings) != chapter.figures
    ]
    whole = reckon(items, material.siblings) != manuscript.figures
    return wrong + (["the figures of the book are not what they come to"] if whole else [])


def check_files(folder: Path, manuscript: Manuscript) -> list[str]:
    """Build the book again from its manuscript; return the files that are not the same to the byte."""
    names = read_sums(folder).keys()
    forms = [form for form in ("pdf", "epub", "site") if any(_is_of(form, name) for name in names)]
    files = build(manuscript, forms, folder)
    wrong = [
        f"{name} is not what the manuscript gives: changed, or made by another version"
        for name, data in files.items()
        if name != MANUSCRIPT_FILE and (not (folder / name).is_file() or (folder / name).read_bytes() != data)
    ]
    extra = sorted(
        path.relative_to(folder).as_posix()
        for path in (folder / "site").rglob("*")
        if path.is_file() and path.relative_to(folder).as_posix() not in files
    )
    return wrong + [f"{name} is not part of the book" for name in extra if "site" in forms]


def _is_of(form: str, name: str) -> bool:
    return name.startswith("site/") if form == "site" else name == f"book.{form}"
