"""Play one scene: floor, voice, guard, memory, channel, again and again until there is a reason to stop.

Every line is kept before it is posted, and all that is drawn is drawn from a seed that names its turn. So a
scene that was killed at any moment goes on where it was: `play` it again with the same key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from random import Random

from bots import filters, guard, letter, settings, timing
from bots.alone import Renew, alone
from bots.casting import find_cast, find_voices, players
from bots.channel import Channel
from bots.lines import finish, letter_from, said_before, to_lines
from bots.purse import Purse
from bots.stage import ATTEMPTS, OPERATOR, Stage
from bots.verdict import find_winner, keep_outcome
from memory.store import Store
from memory.types import Message, Scene
from selves.cast import Cast, Persona, SceneSpec
from selves.errors import UsageError
from selves.speech import seed_from
from serving.prompt import Line
from serving.voice import ModelInfo, Voice

__all__ = [
    "ATTEMPTS",
    "OPERATOR",
    "find_cast",
    "find_voices",
    "finish",
    "play",
    "players",
    "to_lines",
    "utc_now",
]

Clock = Callable[[], datetime]

RECENTLY = timedelta(hours=1)
"""What was said at a place since then counts as one talk where nobody sits and watches."""
TAKEN_UP_LINES = 12
"""Of that, chatter takes up so many lines at most, never what people said."""
LOOK_S = 1.0
"""How often a pause looks whether somebody ended it."""


def utc_now() -> datetime:
    """The moment it is, aware, in UTC."""
    return datetime.now(UTC)


async def play(
    store: Store,
    voice: Voice,
    channel: Channel,
    cast: Cast,
    spec: SceneSpec,
    *,
    key: str | None = None,
    seed: int | None = None,
    now: Clock = utc_now,
    max_without_human: int = guard.MAX_WITHOUT_HUMAN,
    age_restricted: bool = False,
) -> Scene:
    """Play a scene to its end and return it; its stop reason is one of `guard.StopReason`.

    A `key` makes it single: a scene with this key that has ended is returned as it is, else it goes on.
    `seed` makes it repeatable; by default it follows from the scene's id. The scene's `max_minutes` count
    from this call by `now`. `max_without_human`: so many lines may be said since a person last spoke, on
    Discord counted over all scenes of the last hour. `age_restricted`: whether the place is for adults, so
    that selves who speak only there may.

    Raises, before anything is begun: UsageError for a cast that cannot play it, ConfigError for a filter that
    cannot be loaded, EngineError when the serving address lacks an age of the cast. Raises UsageError when
    another process plays the scene, StoreError when the database fails, and whatever `channel.post` raises;
    the scene then stays open. Failures of the engine during the scene are kept as failed turns, and end it
    only when they go on.
    """
    personas = find_cast(cast, spec, age_restricted=age_restricted)
    filters.load(cast.filter)
    infos = await find_voices(voice, players(spec, personas))
    scene = await store.begin_scene(spec, place=channel.place, key=key)
    if scene.status == "ended":
        return scene
    stage = await _set_stage(store, voice, channel, cast, spec, scene, personas, infos, seed)
    async with alone(store, scene) as renew:
        return await _turns(stage, scene, renew, now, max_without_human)


async def _turns(stage: Stage, scene: Scene, renew: Renew, now: Clock, max_without_human: int) -> Scene:
    """Take turn after turn until there is a reason to stop."""
    store, channel, spec = stage.store, stage.channel, stage.spec
    before = await said_before(store, scene, now() - RECENTLY)
    taken_up = _taken_up(spec, before)
    # whoever began a scene in a terminal sits there and listens
    unheard = [] if channel.place == "terminal" else before
    rests = timing.pauses(
        Random(seed_from(stage.seed, "pauses")),
        branching=spec.branching,
        pause_s=spec.pause_s,
        most=spec.max_turns,
    )
    max_turns = stage.letters if stage.is_letter else len(rests)
    tokens = await _drawn_so_far(store, scene) if spec.max_tokens else 0
    began, failures = now(), 0
    passed: list[Line] = []
    while not channel.halted():
        await renew()
        scene = await store.scene(scene.id)
        if scene.status == "ended":
            return scene
        messages = await stage.posted_so_far(scene)
        loops = guard.find_loops(() if stage.kind.may_repeat else messages)
        without_human = guard.lines_without([m.human for m in (*unheard, *messages)])
        reason: guard.StopReason | None = guard.stop_reason(
            turns=stage.count_turns(scene, messages),
            max_turns=max_turns,
            minutes=(now() - began).total_seconds() / 60,
            max_minutes=spec.max_minutes,
            failures=failures,
            trips=loops.trips,
            without_human=without_human,
            max_without_human=max_without_human,
            tokens=tokens,
            max_tokens=spec.max_tokens,
            said=any(not m.human and m.address and guard.ends_it(m.text, spec.until) for m in messages),
        )
        asleep = await settings.asleep(store)
        present = [p.name for p in stage.personas if p.name not in asleep]
        present = [name for name in present if not await stage.purse.empty(name)]
        lines: list[Message | Line] = [*taken_up, *messages, *passed]
        speaker = None if reason else await stage.next_speaker(scene, lines, present, without_human)
        if speaker is None:
            reason = reason or _why_nobody(stage, scene, present, asleep)
            return await _end(stage, scene, messages, reason, loops.rule)
        visible = [m for position, m in enumerate(messages) if position not in loops.hidden]
        turn, drawn = await stage.take_turn(scene, speaker, [*taken_up, *messages], [*taken_up, *visible])
        tokens += drawn
        failures = failures + 1 if turn == "failed" else 0
        # the floor must go round even when nothing was said
        passed = [] if turn == "said" else [*passed, Line(speaker.name, "")]
        if scene.turns + 1 < len(rests):
            await _rest(store, channel, scene.id, rests[scene.turns + 1], renew)
    return await store.end_scene(scene.id, "halted")


async def _set_stage(
    store: Store,
    voice: Voice,
    channel: Channel,
    cast: Cast,
    spec: SceneSpec,
    scene: Scene,
    personas: Sequence[Persona],
    infos: dict[str, ModelInfo],
    seed: int | None,
) -> Stage:
    """Return what stays the same for all turns. Raises UsageError for an answer to no letter."""
    received = None
    if spec.kind == "answer":
        came = await letter_from(store, scene, personas[0])
        if came is None:
            raise UsageError(f"scene {spec.name!r} answers no letter", "`selves scene letters` answers them")
        personas, received = [came[0], *personas], came[1]
    elif spec.to:
        personas = [*personas, letter.addressee(cast, spec.to, personas[0])]
    return Stage(
        store,
        voice,
        channel,
        personas,
        infos,
        spec,
        seed_from("scene", scene.id) if seed is None else seed_from("scene", spec.name, seed),
        Purse(store, cast.budget, channel.place),
        cast.filter,
        received,
    )


def _taken_up(spec: SceneSpec, before: Sequence[Message]) -> Sequence[Message]:
    if spec.kind != "chatter":
        return []
    return [m for m in before if not m.human and m.text][-TAKEN_UP_LINES:]


async def _rest(store: Store, channel: Channel, scene_id: int, seconds: float, renew: Renew) -> None:
    """Be silent for so long, or until somebody else says something here or calls for silence."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    if seconds <= 0:
        return
    before = (await store.scene(scene_id)).messages
    while (left := end - loop.time()) > 0 and not channel.halted():
        await asyncio.sleep(min(LOOK_S, left))
        await renew()
        if (await store.scene(scene_id)).messages != before:
            return


async def _drawn_so_far(store: Store, scene: Scene) -> int:
    return sum(len(sample.token_ids) for sample in await store.generations(scene.id))


def _why_nobody(
    stage: Stage, scene: Scene, present: Collection[str], asleep: Collection[str]
) -> guard.StopReason:
    order = stage.kind.order
    if order and order(len(stage.personas), scene.turns, stage.spec.max_turns) is None:
        return "all_spoken"
    broke = [p for p in stage.personas if p.name not in present and p.name not in asleep]
    return "budget" if broke else "silence"


async def _end(
    stage: Stage,
    scene: Scene,
    messages: Sequence[Message],
    reason: guard.StopReason,
    rule: guard.WindowRule | None,
) -> Scene:
    """End a scene, and keep what came of it beside its reason."""
    outcome: dict[str, str] = {"rule": rule} if reason == "loop" and rule else {}
    if stage.spec.kind == "debate" and (winner := await find_winner(stage, messages)):
        outcome["winner"] = winner
    if outcome:
        await keep_outcome(stage.store, scene.id, outcome)
    if stage.is_letter and reason == "max_turns" and stage.spec.to:
        reason = "answered" if stage.received else "sent"
    return await stage.store.end_scene(scene.id, reason)
