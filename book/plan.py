"""What a book could be made of, proposed as an outline that its author then edits (pure).

    one chapter for each age: what it wrote, and the picks on what it said
    picks on what others said: other lineages, or ages whose weights are no longer here
    one page on which all ages go on from the same words
    letters with their answers, and the diary of days
    conversations: those with picks, or else the newest

Passages that were picked come with their unselected siblings; what may not be printed is not proposed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from book.compose import DAY, LETTERS
from book.passage import plain, runs, said_to
from memory.curate import Picked
from memory.letters import DIARY
from memory.passages import Material
from memory.types import Generation, Scene, StoredWriting
from selves.lineage import Age

SCENES = 12
"""Conversations proposed where nothing was picked."""


@dataclass(frozen=True, slots=True)
class Known:
    """Everything that a proposal is made from."""

    lineage: str
    ages: Sequence[Age]
    writings: Sequence[StoredWriting]
    scenes: Sequence[Scene]
    """Of any kind, in which a self of the lineage spoke."""
    picks: Sequence[Picked]
    material: Material
    """All of these, as read from memory."""


def propose(known: Known, today: date) -> str:
    """Return the text of an outline."""
    picked = _samples_picked(known)
    parts = [_head(known, today)]
    own = [age for age in known.ages if age.address.lineage == known.lineage]
    parts += [_age(known, age, picked) for age in own]
    weights = {age.card.weights_sha256 for age in own}
    others = [
        sample
        for number, sample in sorted(known.material.samples.items())
        if number in picked and sample.weights_sha256 not in weights and _allowed(known, number)
    ]
    if others:
        parts.append(_chapter("Other voices", [_picked_sample(known, sample, picked) for sample in others]))
    if across := _across(known):
        parts.append(across)
    letters = [scene for scene in known.scenes if scene.kind in LETTERS and _printable(known, scene)]
    if sent := _threads(known, letters):
        parts.append(_chapter("Letters", [_scene(known, scene) for scene in sent]))
    days = [scene for scene in known.scenes if scene.kind == DAY and _printable(known, scene)]
    if days:
        parts.append(_chapter("Days", [_scene(known, scene) for scene in days]))
    alone = (*LETTERS, DAY)
    talks = [scene for scene in known.scenes if scene.kind not in alone and _printable(known, scene)]
    starred = {pick.scene_id for pick in known.picks if pick.scene_id is not None}
    shown = [scene for scene in talks if scene.id in starred] or talks[-SCENES:]
    if shown:
        parts.append(_chapter("Conversations", [_scene(known, scene) for scene in shown]))
    return "\n".join(parts)


def _head(known: Known, today: date) -> str:
    return f"""# An outline: what the book is made of, in its order. Change, move and remove what you
# like, and put your own words between as items with `prose`. `selves book build` makes the book,
# `selves book verify` checks it.

title = {_quoted(known.lineage.capitalize())}
subtitle = "A life in {len([a for a in known.ages if a.address.lineage == known.lineage])} ages"
author = ""
language = "en"
lineage = {_quoted(known.lineage)}
edition = "1"
date = {today.isoformat()}
# how you chose, and what you changed; printed at the front
rule = ""
"""


def _chapter(title: str, items: Sequence[str], age: str = "") -> str:
    head = f"\n[[chapter]]\ntitle = {_quoted(title)}\n"
    if age:
        head += f"age = {_quoted(age)}\n"
    return head + "".join(f"\n[[chapter.item]]\n{item}\n" for item in items)


def _age(known: Known, age: Age, picked: dict[int, int | None]) -> str:
    of_age = [w for w in known.writings if w.generation.weights_sha256 == age.card.weights_sha256]
    kinds: dict[tuple[str, str | None], list[StoredWriting]] = defaultdict(list)
    for writing in of_age:
        if _allowed(known, writing.generation.id):
            kinds[writing.kind, writing.to].append(writing)
    items = []
    for several in kinds.values():
        chosen = [w for w in several if w.generation.id in picked] or several[:1]
        for writing in chosen:
            siblings = writing.generation.id in picked and len(several) > 1
            items.append(_sample(writing.generation, siblings=siblings))
    said = {
        number: sample
        for number, sample in known.material.samples.items()
        if number in picked and sample.weights_sha256 == age.card.weights_sha256 and sample.turn is not None
    }
    items += [
        _picked_sample(known, sample, picked)
        for number, sample in sorted(said.items())
        if _allowed(known, number)
    ]
    return _chapter(_title(age), items, age.address.age)


def _title(age: Age) -> str:
    stage, step = age.address.stage, age.address.step
    if age.card.origin == "imported":
        return "As it came"
    if age.card.parent is None and step == 0:
        return "Before the first word"
    after = "After one step" if step == 1 else f"After {step:,} steps"
    return after if stage == "base" else f"{stage.capitalize()}, {after.lower()}"


def _across(known: Known) -> str:
    """What every age made of the words that most of them were given."""
    by_given: dict[str, dict[str, int]] = defaultdict(dict)
    for writing in known.writings:
        prompt = writing.generation.prompt
        if prompt is not None and prompt.form == "transcript" and _allowed(known, writing.generation.id):
            by_given[said_to(prompt)].setdefault(writing.generation.weights_sha256, writing.generation.id)
    order = {age.card.weights_sha256: number for number, age in enumerate(known.ages)}
    best = max(by_given.values(), key=len, default={})
    numbers = [best[weights] for weights in sorted(best, key=lambda w: order.get(w, len(order)))]
    if len(numbers) < 2:
        return ""
    return _chapter("The same words at every age", [f"across = [{', '.join(map(str, numbers))}]"])


def _sample(sample: Generation, *, siblings: bool) -> str:
    return f"# {_excerpt(sample.text)}\nsample = {sample.id}" + ("\nsiblings = true" if siblings else "")


def _picked_sample(known: Known, sample: Generation, picked: dict[int, int | None]) -> str:
    siblings = bool(known.material.siblings.get(sample.id))
    line = picked[sample.id]
    if line is None:
        return _sample(sample, siblings=siblings)
    said = f"# {_excerpt(known.material.lines[line].text)}\nmessage = {line}"
    return said + ("\nsiblings = true" if siblings else "")


def _scene(known: Known, scene: Scene) -> str:
    first = next(
        (n for n in known.material.lines_of.get(scene.id, ()) if known.material.line_verdicts[n].allowed),
        None,
    )
    said = known.material.lines[first].text if first is not None else ""
    return f"# {_excerpt(scene.name)}: {_excerpt(said)}\nscene = {scene.id}"


def _threads(known: Known, letters: Sequence[Scene]) -> list[Scene]:
    """Letters in the order they were sent, each followed by its answers.

    One of a diary that nobody answered stands with what else its age wrote, and not here again.
    """
    scene_of = {line: scene for scene, lines in known.material.lines_of.items() for line in lines}
    answers: dict[int | None, list[Scene]] = defaultdict(list)
    ids = {scene.id for scene in letters}
    for scene in letters:
        before = scene_of.get(scene.from_message_id or 0)
        answers[before if before in ids else None].append(scene)
    ordered: list[Scene] = []

    def follow(scene: Scene) -> None:
        ordered.append(scene)
        for answer in answers.get(scene.id, ()):
            follow(answer)

    for scene in answers[None]:
        if scene.place != DIARY or answers.get(scene.id):
            follow(scene)
    return ordered


def _printable(known: Known, scene: Scene) -> bool:
    lines = known.material.lines_of.get(scene.id, ())
    return any(known.material.line_verdicts[n].allowed and known.material.lines[n].address for n in lines)


def _allowed(known: Known, sample: int) -> bool:
    return known.material.sample_verdicts[sample].allowed


def _samples_picked(known: Known) -> dict[int, int | None]:
    """Samples that were starred or quoted, each with the line it became."""
    found: dict[int, int | None] = {}
    for one in known.picks:
        if one.pick.kind not in ("star", "quote"):
            continue
        line = known.material.lines.get(one.pick.message_id or 0)
        number = one.pick.generation_id or (line.generation_id if line else None)
        if number is not None:
            found[number] = line.id if line else found.get(number)
    return found


def _excerpt(text: str) -> str:
    flat = " ".join(plain(runs(text)).split())
    return flat if len(flat) <= 80 else flat[:79] + "…"


def _quoted(text: str) -> str:
    """Return a TOML string."""
    return (
        '"'
        + plain(runs(text)).replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ").replace("\t", " ")
        + '"'
    )
