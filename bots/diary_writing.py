"""Ages write in their diaries when they are asked to, through the engine that serves them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from selves.lineage import DIARY_FILE, Age, add_to_diary, list_ages, read_diary
from selves.settings import House
from selves.speech import Sampling, Writing, seed_from
from serving.voice import ModelInfo, Voice
from training.kinds import Kind, Occasion, frame
from training.recipe import Diary

Tell = Callable[[Age, Sequence[Writing]], None]

log = logging.getLogger("selves.diary")


async def write(
    voice: Voice,
    house: House,
    ages: Sequence[Age],
    kinds: Mapping[str, Kind],
    diary: Diary,
    occasion: Occasion,
    tell: Tell,
) -> list[Writing]:
    """Let ages write, one after the other, and keep each one's writings before the next begins.

    What an age wrote before is counted on from. Raises EngineError, AgeError, DiskError.
    """
    written: list[Writing] = []
    for age in ages:
        info = await voice.info(age.card.address)
        said = await _write_one(voice, info, age, kinds, diary, occasion, parent_of(age, house))
        add_to_diary(age.folder.parent / DIARY_FILE, said)
        tell(age, said)
        written += said
    return written


async def _write_one(
    voice: Voice,
    info: ModelInfo,
    age: Age,
    kinds: Mapping[str, Kind],
    diary: Diary,
    occasion: Occasion,
    parent: str | None,
) -> list[Writing]:
    address, before = age.card.address, age.writings()
    # only those that were raised here know transcripts with names
    name = age.address.lineage.replace("-", " ").title() if age.card.origin == "trained" else ""
    said: list[Writing] = []
    for kind_name, kind in kinds.items():
        if not kind.fits(occasion) or (kind.to == "past" and parent is None):
            continue
        prompt = frame(kind, info.form, name)
        first = 1 + max((w.number for w in before if w.kind == kind_name), default=-1)
        for number in range(first, first + diary.samples):
            sampling = Sampling(
                max_tokens=min(kind.tokens or diary.max_tokens, info.context_tokens // 2),
                temperature=diary.temperature if kind.temperature is None else kind.temperature,
                stop=() if prompt.form == "chat" else kind.stop,
                seed=seed_from("diary", address, kind_name, number),
            )
            utterance = await voice.say(address, prompt, sampling)
            to = parent if kind.to == "past" else kind.to or None
            said.append(Writing(kind=kind_name, occasion=occasion, to=to, number=number, utterance=utterance))
    return said


def parent_of(age: Age, house: House) -> str | None:
    """Return the age that one was before: what its card says, or the one before it in its lineage."""
    if age.card.parent is not None:
        return age.card.parent
    life = [a.card.address for a in list_ages(house.checkpoints, age.address.lineage)]
    at = life.index(age.card.address) if age.card.address in life else 0
    return life[at - 1] if at else None


def bring_along(source: Sequence[Writing], house: House, lineage: str) -> int:
    """Add what was written in a run elsewhere to a lineage's diary, each once; return how many were new."""
    path = house.checkpoints / lineage / DIARY_FILE
    known = {_key(writing) for writing in read_diary(path)}
    ours = [w for w in source if w.utterance.address.partition("@")[0] == lineage]
    if others := {w.utterance.address.partition("@")[0] for w in source} - {lineage}:
        log.warning(
            "what %s wrote in that run stays there: its name is another (follow it with --as %s)",
            " and ".join(sorted(others)),
            sorted(others)[0],
        )
    new = [writing for writing in ours if _key(writing) not in known]
    if new:
        add_to_diary(path, new)
    return len(new)


def _key(writing: Writing) -> tuple[str, str, str, int]:
    said = writing.utterance
    return said.address, said.weights_sha256, writing.kind, writing.number
