"""A self keeps a diary of its days: entry, week, chapter. Every line says which lines it tells of.

An entry is a scene of one at the place `diary`, kept like all else that is said: each line is a generation
whose prompt is made of stored messages, so it can be traced down to what was said, repeated, and forgotten.
An entry that is there is never written again; one that was broken off, or whose day was not over, goes on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple
from uuid import uuid4

from bots.days import Period, ask, begun, groups, untold
from bots.scene import finish
from memory.days import said_between, still_told
from memory.leases import acquire, release, renew
from memory.letters import DIARY
from memory.store import Store
from memory.types import Message, Scene
from selves.cast import Persona, SceneSpec
from selves.errors import StoreError
from selves.speech import Prompt, Sampling, Utterance, seed_from
from serving.prompt import clean, most_tokens
from serving.voice import ModelInfo, Voice

Tell = Callable[[str], None]
GoOn = Callable[[], Awaitable[None]]
LEASE_S = 300.0
"""So long nobody else writes in the diary of a self whose process has died; a line takes far less."""
TRIES = 3
"""So often a line is drawn until there is one."""


class Line(NamedTuple):
    """One line of an entry, and the ids of the messages that it tells of."""

    message: Message
    cites: tuple[int, ...]


class Entry(NamedTuple):
    """An entry as it is kept."""

    scene: Scene
    lines: list[Line]
    cites: frozenset[int]
    """All messages that were read for it, also where nothing came of it."""


async def keep_entry(
    store: Store, voice: Voice, persona: Persona, period: Period, tell: Tell
) -> Entry | None:
    """Write a self's entry of a day, or of a week or chapter from what is in them; None if nothing was said.

    Weeks are made of days, which are written first where they are missing; chapters of weeks. Raises
    EngineError where the self cannot be spoken to, StoreError while another process writes its diary.
    """
    lease, holder = f"diary:{persona.name}", uuid4().hex
    if not await acquire(store, lease, holder, LEASE_S):
        raise StoreError(f"another process writes the diary of {persona.name}", "try again when it has")

    async def go_on() -> None:
        await renew(store, lease, holder, LEASE_S)

    try:
        return await _keep_entry(store, voice, persona, period, tell, go_on)
    finally:
        await release(store, lease, holder)


async def _keep_entry(
    store: Store, voice: Voice, persona: Persona, period: Period, tell: Tell, go_on: GoOn
) -> Entry | None:
    known = await find_entry(store, persona, period)
    if known is not None and known.scene.status == "ended":
        return known
    cited = known.cites if known else frozenset()
    if period.span == "day":
        said = await said_between(store, persona.name, *period.moments)
        for reason, number in said.left_out.items():
            tell(f"{period.name}: {number} lines are not told of: {reason}")
        parts = groups(untold(said.messages, cited))
    else:
        inner = [await _keep_entry(store, voice, persona, part, tell, go_on) for part in period.parts]
        lines = [await still_told(store, [line.message for line in entry.lines]) for entry in inner if entry]
        parts = [left for part in lines if (left := untold(part, cited))]
    if not parts and known is None:
        return None
    spec = SceneSpec(
        name=period.span, kind="retelling", cast=(persona.name,), opening=period.name, max_turns=500
    )
    scene = await store.begin_scene(spec, place=DIARY, key=_key(persona, period))
    info = await voice.info(persona.address)
    for part in parts:
        await go_on()
        await _write(store, voice, info, persona, period, scene, part)
    if period.moments[1] <= store.clock():  # before that, more may be said
        await store.end_scene(scene.id, "written")
    return await find_entry(store, persona, period)


async def _write(
    store: Store,
    voice: Voice,
    info: ModelInfo,
    persona: Persona,
    period: Period,
    scene: Scene,
    lines: Sequence[Message],
) -> None:
    """Let one line be written, and keep it with all that produced it, also where nothing came of it."""
    most = min(persona.sampling.max_tokens, info.context_tokens // 2)
    sampling = Sampling(
        **persona.sampling.model_dump(exclude={"max_tokens"}),
        max_tokens=most,
        stop=("\n",),
    )
    prompt = await _fitting(voice, info, persona, period, lines, info.context_tokens - most)
    drawn: list[Utterance] = []
    text = ""
    while not text and len(drawn) < TRIES:
        seed = seed_from("diary", persona.address, scene.key, lines[0].id, len(drawn))
        drawn.append(await voice.say(persona.address, prompt, sampling.model_copy(update={"seed": seed})))
        said = drawn[-1]
        text = finish(clean(said.text, persona.name), was_cut=said.finish_reason == "length")
        text = f"{begun(info, persona, period.span)} {text}".strip() if text and not said.error else ""
    kept = await store.keep_turn(
        scene.id,
        speaker=persona.name,
        utterances=drawn,
        chosen=len(drawn) - 1 if text else None,
        text=text,
    )
    if kept is not None:
        await store.mark_posted(kept.id)


async def _fitting(
    voice: Voice, info: ModelInfo, persona: Persona, period: Period, lines: Sequence[Message], room: int
) -> Prompt:
    """Return the prompt with as many of the newest lines as fit; what it cites is what is in it."""
    while True:
        prompt = ask(info, persona, period.span, lines)
        given = prompt.text if prompt.form == "transcript" else prompt.messages
        if len(lines) == 1 or most_tokens(prompt) <= room:
            return prompt
        if await voice.count_tokens(info.address, given) <= room:
            return prompt
        lines = lines[1:]


async def find_entry(store: Store, persona: Persona, period: Period) -> Entry | None:
    """Return a self's entry, finished or not; None if there is none."""
    key = _key(persona, period)
    scene = next((s for s in await store.scenes(place=DIARY, name=period.span) if s.key == key), None)
    if scene is None:
        return None
    cites = {g.id: g.prompt_message_ids for g in await store.generations(scene.id)}
    lines = [Line(m, cites.get(m.generation_id or 0, ())) for m in await store.messages(scene.id)]
    return Entry(scene, [line for line in lines if line.message.text], frozenset().union(*cites.values()))


def _key(persona: Persona, period: Period) -> str:
    return f"{period.span}:{persona.name}:{period.name}"
