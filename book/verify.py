"""Whether a built book says what it says it says (pure, but for reading its files).

For every passage: it is in memory, what is printed is what was said there or is marked as edited, all that
the book says of it (who, from which weights, how it was drawn) is as memory has it, and it may be published.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from book.build import SUMS_FILE, build, hash_of, read_sums
from book.compose import date_of, given_to, kind_of, opener_of, source_of, speakers_of, title_of
from book.manuscript import MANUSCRIPT_FILE, Manuscript, Passage, Played
from book.passage import plain, runs
from book.tally import reckon
from book.words import place_of
from memory.figures import written_by_model
from memory.passages import Material
from selves.endings import ending
from selves.files import sha256_text
from selves.lineage import Age


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
            problems=tuple(_problems(passage, material, manuscript.lineage)),
            edited=passage.source.edited,
            copied=material.copied.get(passage.source.generation_id or 0),
        )
        for passage in manuscript.passages()
    ]


def _problems(passage: Passage, material: Material, lineage: str) -> list[str]:
    source = passage.source
    line = material.lines.get(source.message_id or 0)
    of_line = line.generation_id if line is not None else None
    sample = material.samples.get(of_line or 0 if line is not None else source.generation_id or 0)
    if source.message_id is not None and line is None:
        return ["there is no such message in memory"]
    if line is None and sample is None:
        return ["there is no such sample in memory"]
    verdict = (
        material.line_verdicts[line.id] if line is not None else material.sample_verdicts[sample.id]  # type: ignore[union-attr]
    )
    problems = [] if verdict.allowed else [f"it may not be published: {verdict.reason}"]
    stored = line.text if line is not None else sample.text  # type: ignore[union-attr]
    if sha256_text(stored) != source.text_sha256:
        return [*problems, "it is not what memory has: the hashes differ"]
    said = runs(stored[source.start : source.end])
    if source.edited:
        if passage.original != said:
            problems.append("what it gives as the original is not what was said")
    elif passage.text != said:
        problems.append("what is printed is not what was said, and it is not marked as edited")
    expected = source_of(
        source.number,
        sample,
        line,
        material,
        start=source.start,
        end=source.end,
        length=len(stored) if source.length == len(stored) else len(stored.strip()),
        edited=source.edited,
    )
    claimed, kept = source.model_dump(), expected.model_dump()
    if source.copied is None:  # it was compared since: the book claims nothing
        kept["copied"] = None
    problems += [
        f"its {name.replace('_', ' ')} is not that in memory" for name in kept if claimed[name] != kept[name]
    ]
    written = material.writings.get(sample.id) if sample is not None and line is None else None
    label = line.speaker if line is not None else sample.speaker or sample.address  # type: ignore[union-attr]
    if written is not None:
        label = kind_of(written, lineage)
    if passage.label != plain(runs(label)):
        problems.append("it is called another than it is")
    given = runs(given_to(sample)[0]) if sample is not None and written is not None else ("",)
    if passage.given not in (given, ("",)):
        problems.append("what it was given is not that in memory")
    shown = stored[source.start : source.end] if not source.edited else plain(passage.text)
    own = written_by_model(shown, sample.text if sample is not None else None)
    if passage.model_characters != own and not (source.edited and len(passage.text) > 1):
        problems.append("how much of it a self wrote is not what it comes to")
    return problems


def check_frame(manuscript: Manuscript, material: Material, ages: Sequence[Age]) -> list[str]:
    """Return what differs around the passages: heads of scenes, and of chapters about ages that are known."""
    known = {age.card.address: opener_of(age) for age in ages}
    wrong = []
    for number, chapter in enumerate(manuscript.chapters, 1):
        opener = chapter.opener
        if opener is not None and known.get(opener.address, opener) != opener:
            wrong.append(f"chapter {number} begins with other figures than {opener.address} has")
        for item in chapter.items:
            if isinstance(item, Played) and (other := _other_scene(item, material, manuscript.lineage)):
                wrong.append(f"chapter {number}: the {other} of {plain(item.title)!r} is not that in memory")
    return wrong


def _other_scene(item: Played, material: Material, lineage: str) -> str:
    """Name what of a scene's head is not as memory has it."""
    lines = [material.lines.get(line.source.message_id or 0) for line in item.lines]
    said = [line for line in lines if line is not None]
    scenes = {line.scene_id for line in said}
    scene = material.scenes.get(next(iter(scenes), 0))
    if scene is None or len(said) != len(lines) or len(scenes) > 1:
        return "scene"
    checks = {
        "title": item.title == runs(title_of(scene, said[0].speaker, lineage)),
        "premise": item.premise in (runs(scene.premise.strip()), ("",)),
        "date": item.date == date_of(scene),
        "cast": item.speakers == speakers_of(said),
        "end": item.ending in ("", ending(scene.stop_reason)),
    }
    return next((name for name, same in checks.items() if not same), "")


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
    sums = read_sums(folder)
    forms = [form for form in ("pdf", "epub", "site") if _is_there(folder, form, sums)]
    files = build(manuscript, forms, folder)
    wrong = [] if sums else [f"{SUMS_FILE} is missing: nothing says which files were built"]
    for name, data in files.items():
        there = folder / name
        if name != MANUSCRIPT_FILE and (not there.is_file() or there.read_bytes() != data):
            wrong.append(f"{name} is not what the manuscript gives: changed, or made by another version")
        elif sums and sums.get(name) != hash_of(there.read_bytes()):
            wrong.append(f"{name} is not what {SUMS_FILE} says")
    extra = sorted(
        path.relative_to(folder).as_posix()
        for path in (folder / "site").rglob("*")
        if path.is_file() and path.relative_to(folder).as_posix() not in files
    )
    return wrong + [f"{name} is not part of the book" for name in extra if "site" in forms]


def _is_there(folder: Path, form: str, sums: Mapping[str, str]) -> bool:
    name = "site/index.html" if form == "site" else f"book.{form}"
    return name in sums or (folder / name).exists()
