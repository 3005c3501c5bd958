"""One prompt, n ages: all answer at once, every piece goes into one queue, and all of it is kept.

No Streamlit here. The page's script reads the queue and draws; cancelling the coroutine ends the answers, and
keeps what they had come to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from types import MappingProxyType
from typing import NamedTuple

from memory.store import open_store
from selves.cast import SceneSpec
from selves.errors import EngineError, SelvesError
from selves.lineage import Age
from selves.speech import ChatMessage, Frozen, Prompt, Sampling, Utterance
from serving.voice import ModelInfo, Voice, unfinished

PERSON = "You"
"""Who asks."""
NAME = "side-by-side"
"""What the scenes are called in which questions and answers are kept."""


class Question(Frozen):
    """What is asked of whom."""

    prompt: str
    addresses: tuple[str, ...]
    sampling: Sampling


class Piece(NamedTuple):
    """An age has said more; `text` is all of it so far."""

    address: str
    text: str


class Answered(NamedTuple):
    """An age has come to its end."""

    utterance: Utterance


class Trouble(NamedTuple):
    """Something failed: one age's answer, or with `address` None all of them, or the keeping."""

    address: str | None
    error: SelvesError


class Kept(NamedTuple):
    """Where an answer is in the database."""

    message_id: int | None
    """None when it said nothing."""
    generation_id: int


class Finished(NamedTuple):
    """Nothing more comes. `scene_id` is where it was kept; None when it was not."""

    scene_id: int | None
    kept: Mapping[str, Kept] = MappingProxyType({})
    """Where each answer was kept, by address."""


Event = Piece | Answered | Trouble | Finished


async def sing(
    url: str, api_key: str, database_url: str, question: Question, put: Callable[[Event], None]
) -> None:
    """Ask all ages at once and `put` what comes, at last always `Finished`. Cancelling ends the answers."""
    ended = Finished(None)
    try:
        async with Voice(url, api_key) as voice:
            await voice.models()
            tasks = [asyncio.create_task(_answer(voice, a, question, put)) for a in question.addresses]
            try:
                await asyncio.wait(tasks)
                stop_reason = "answered"
            except asyncio.CancelledError:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
                stop_reason = "stopped"
            utterances = [utterance for task in tasks if (utterance := task.result()) is not None]
        keeping = asyncio.ensure_future(keep(database_url, question, utterances, stop_reason))
        try:
            ended = await asyncio.shield(keeping)
        except asyncio.CancelledError:
            ended = await keeping  # what was said is kept, also when somebody stops it this late
    except SelvesError as error:
        put(Trouble(None, error))
    finally:
        put(ended)


async def _answer(
    voice: Voice, address: str, question: Question, put: Callable[[Event], None]
) -> Utterance | None:
    """Stream one answer to its end; what had come when it was cancelled is an utterance too."""
    text, started_at = "", datetime.now(UTC)
    try:
        info = await voice.info(address)
        prompt = make_prompt(info, question.prompt)
        try:
            async with aclosing(voice.stream(address, prompt, question.sampling)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Utterance):
                        put(Answered(piece))
                        return piece
                    text += piece
                    put(Piece(address, text))
            raise AssertionError("a stream ends with an utterance")
        except asyncio.CancelledError:
            return unfinished(info, prompt, question.sampling, started_at, text)
    except asyncio.CancelledError:
        return None  # it had not begun
    except EngineError as error:
        put(Trouble(address, error))
        return None


def make_prompt(info: ModelInfo, text: str) -> Prompt:
    """Return what an age is given: a text to continue, or a message in its chat template."""
    if info.form == "chat":
        return Prompt(form="chat", messages=(ChatMessage(role="user", content=text),), has_human=True)
    return Prompt(form="transcript", text=text, has_human=True)


async def keep(
    database_url: str, question: Question, utterances: Sequence[Utterance], stop_reason: str
) -> Finished:
    """Keep a question and its answers as a scene, each answer a reply to the question. Raises StoreError.

    Nothing is kept when nobody said anything.
    """
    if not any(utterance.text for utterance in utterances):
        return Finished(None)
    spec = SceneSpec(name=NAME, cast=(PERSON, *question.addresses))
    async with open_store(database_url) as store:
        scene = await store.begin_scene(spec, place="web")
        asked = await store.say(scene.id, speaker=PERSON, text=question.prompt, origin="parlor")
        for utterance in utterances:
            prompt = utterance.prompt.model_copy(update={"message_ids": (asked.id,)})
            message = await store.keep_turn(
                scene.id,
                speaker=utterance.address,
                utterances=[utterance.model_copy(update={"prompt": prompt})],
                chosen=0 if utterance.text else None,
                reply_to=asked.id,
            )
            if message is not None:
                await store.mark_posted(message.id)
        await store.end_scene(scene.id, stop_reason)
        generations = await store.generations(scene.id)
        lines = {m.generation_id: m.id for m in await store.messages(scene.id)}
    return Finished(scene.id, {g.address: Kept(lines.get(g.id), g.id) for g in generations})


def choose_ages(ages: Sequence[Age]) -> list[str]:
    """Return who answers if nobody was chosen: newborn, middle and newest of one lineage, and an elder.

    The lineage is the trained one with the most ages. `ages` are in order of life.
    """
    trained: dict[str, list[str]] = {}
    for age in ages:
        if age.card.origin == "trained":
            trained.setdefault(age.address.lineage, []).append(age.card.address)
    life = max(trained.values(), key=len, default=[])
    elder = [age.card.address for age in ages if age.card.origin == "imported"][:1]
    return list(dict.fromkeys([*life[:1], *life[len(life) // 2 :][:1], *life[-1:], *elder]))
