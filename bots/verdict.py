"""What came of a scene beside its stop reason: who won a debate, which rule found a loop."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bots import floor, kinds
from memory import states
from memory.store import Store
from memory.types import Message
from selves.errors import EngineError
from serving.prompt import Line

if TYPE_CHECKING:
    from bots.stage import Stage

log = logging.getLogger("selves.scene")


async def find_winner(stage: Stage, messages: Sequence[Message]) -> str | None:
    """Return who won a debate: whom the judge's last line names first, else whom the judge finds likelier.

    None when the judge said nothing, or the engine cannot tell.
    """
    *debaters, judge = stage.personas
    said = [m for m in messages if m.speaker == judge.name]
    if not said:
        return None
    if named := floor.addressed(debaters, said[-1].text):
        return named[0].name
    lines = [Line(m.speaker, m.text) for m in messages if m.text]
    verdicts = [f" The winner is {debater.name}." for debater in debaters]
    try:
        told = kinds.told(stage.spec, judge.name)
        prompt, _ = await stage.voice.compose(judge, lines, premise=told, names=stage.names)
        scores = await stage.voice.score(judge.address, prompt, verdicts)
    except EngineError as error:
        log.info("nobody can say who won: %s", error.problem)
        return None
    return max(zip(scores, debaters, strict=True), key=lambda pair: pair[0])[1].name


async def keep_outcome(store: Store, scene_id: int, outcome: Mapping[str, str]) -> None:
    """Keep what came of a scene: `winner`, `rule`."""
    await states.put(store, _key(scene_id), dict(outcome))


async def outcome_of(store: Store, scene_id: int) -> Mapping[str, str]:
    """Return what came of a scene."""
    outcome: Mapping[str, str] = await states.get(store, _key(scene_id), {})
    return outcome


def _key(scene_id: int) -> str:
    return f"scene:{scene_id}:outcome"
