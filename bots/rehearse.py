"""`selves bots rehearse`: the whole cast in the terminal, as it would be on Discord, without Discord.

First everybody says a line, then each scene of the cast file is played, shortened and without pauses. What
cannot be played is named, and so is who cannot be heard; the others go on.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from bots import scene
from bots.terminal import TerminalChannel, make_console
from bots.verdict import outcome_of
from memory.store import Store, open_store
from selves.cast import Cast, Persona, SceneSpec
from selves.errors import SelvesError
from selves.lineage import list_ages
from selves.settings import House
from serving.address import serving_address
from serving.voice import Voice

log = logging.getLogger("selves.bots")

ROLL_CALL = "roll-call"
QUESTION = "Who is here, and how are you today?"


def programme(cast: Cast, names: Sequence[str], turns: int) -> list[SceneSpec]:
    """Return what is rehearsed: the scenes with these names, or a roll call and all that the cast has.

    Raises UsageError for a scene that there is not.
    """
    chosen = [cast.find_scene(name) for name in names] if names else list(cast.scene)
    short = {"pause_s": 0.0, "branching": 0.0}
    played = [s.model_copy(update={**short, "max_turns": min(s.max_turns, turns)}) for s in chosen]
    if names:
        return played
    return [roll_call([persona.name for persona in cast.persona]), *played]


def roll_call(names: Sequence[str]) -> SceneSpec:
    """Return the scene in which everybody says a line."""
    return SceneSpec(name=ROLL_CALL, cast=tuple(names), opening=QUESTION, order="round", max_turns=len(names))


async def rehearse(house: House, cast: Cast, names: Sequence[str], turns: int) -> int:
    """Play it in this terminal; return 0 if all went well, else 1.

    Raises SelvesError when nothing can begin.
    """
    specs = programme(cast, names, turns)
    failed = []
    async with (
        open_store(house.database_url) as store,
        serving_address(house, cast, on_wait=log.info) as url,
        Voice(url, house.api_key) as voice,
    ):
        for age in list_ages(house.checkpoints):
            await store.register_age(age)
        if not names:
            absent = await find_absent(voice, cast)
            failed += [persona.name for persona in absent]
            present = [p.name for p in cast.persona if p not in absent]
            specs = [*([roll_call(present)] if present else []), *specs[1:]]
        for spec in specs:
            try:
                reason = await _play(store, voice, cast, spec)
            except SelvesError as error:
                log.error("scene %r could not be played: %s", spec.name, error)
                reason = "engine"
            if reason == "engine":
                failed.append(spec.name)
    if failed:
        log.error("not rehearsed: %s", ", ".join(failed))
    return int(bool(failed))


async def find_absent(voice: Voice, cast: Cast) -> list[Persona]:
    """Return, and name in the log, whose age the engine does not have. Raises EngineError."""
    infos = await voice.models()
    absent = [persona for persona in cast.persona if persona.address not in infos]
    for persona in absent:
        log.error("%s cannot be heard: the engine has no %s", persona.name, persona.address)
    return absent


async def _play(store: Store, voice: Voice, cast: Cast, spec: SceneSpec) -> str | None:
    channel = TerminalChannel(cast.persona, make_console())
    personas = scene.find_cast(cast, spec, age_restricted=True)
    await scene.find_voices(voice, scene.players(spec, personas))
    channel.open(spec, personas)
    played = await scene.play(
        store,
        voice,
        channel,
        cast,
        spec,
        # whoever rehearses sits there and can stop it
        max_without_human=spec.max_turns + len(cast.persona) + 1,
        age_restricted=True,
    )
    channel.close(played.stop_reason, (await outcome_of(store, played.id)).get("winner"))
    return played.stop_reason
