"""Who plays a scene: found in the cast, dressed for its kind, and asked for at the serving address."""

from __future__ import annotations

from collections.abc import Sequence

from bots import kinds, letter
from selves.cast import Cast, Persona, SceneSpec
from selves.errors import EngineError, UsageError
from serving.voice import ModelInfo, Voice


def find_cast(cast: Cast, spec: SceneSpec, *, age_restricted: bool) -> list[Persona]:
    """Return who plays a scene, in order, as they play in its kind. Raises UsageError for somebody who cannot
    be there.
    """
    personas = list(dict.fromkeys(cast.find_persona(name) for name in spec.cast))
    if spec.kind == "letter" and not spec.to and len(personas) < letter.LETTERS:
        raise UsageError(f"in scene {spec.name!r} somebody writes to themselves", "cast two different selves")
    if kinds.KINDS[spec.kind].order and len(personas) < len(spec.cast):
        raise UsageError(f"in scene {spec.name!r} somebody has two parts", "cast different selves")
    adults = [p.name for p in personas if p.age_restricted]
    if adults and not age_restricted:
        raise UsageError(
            f"scene {spec.name!r} cannot be played here: {' and '.join(adults)} may speak only where a "
            "channel is marked as age-restricted",
            "mark the channel so in its settings on Discord, or cast others",
        )
    return [kinds.dressed(persona, spec) for persona in personas]


def players(spec: SceneSpec, personas: Sequence[Persona]) -> Sequence[Persona]:
    """Return who speaks in a scene: whoever is remembered in a eulogy may be gone for good."""
    return personas[1:] if spec.kind == "eulogy" else personas


async def find_voices(voice: Voice, personas: Sequence[Persona]) -> dict[str, ModelInfo]:
    """Return what the serving address has. Raises EngineError naming every age of the cast that it lacks."""
    infos = await voice.models()
    missing = [p for p in personas if p.address not in infos]
    if not missing:
        return infos
    who = ", ".join(f"{p.address} ({p.name})" for p in missing)
    raise EngineError(
        f"the engine at {voice.base_url} has no {who}; it has {', '.join(infos) or 'no ages at all'}",
        " and ".join(dict.fromkeys(_way_to_get(p) for p in missing))
        + ", or name other ages in the cast file; `selves ages list` shows what is there",
    )


def _way_to_get(persona: Persona) -> str:
    lineage = persona.address.partition("@")[0]
    if "@import-" in persona.address:
        return f"import it with `selves ages import {lineage}`"
    return "train it with `selves train run recipes/demo.toml`"
