"""Why scenes end, in plain words, the same in every room."""

from __future__ import annotations

ENDINGS = {
    "max_turns": "all turns are played",
    "time": "the time is up",
    "loop": "they went round in circles",
    "engine": "the engine failed three times in a row",
    "silence": "nobody wanted to speak",
    "halted": "a person asked for silence",
    "no_human": "they wait for a person to speak",
    "left": "the person left",
    "answered": "all have answered",
    "tokens": "all tokens are drawn",
    "said": "somebody said what ends it",
    "budget": "there are no tokens left for today",
    "all_spoken": "all have spoken",
    "sent": "the letter is on its way",
    "stopped": "a person stopped them",
}
"""Stop reasons of scenes in plain words."""


def ending(stop_reason: str | None) -> str:
    """Return a scene's stop reason in plain words; one that is not known stays as it is."""
    return ENDINGS.get(stop_reason, stop_reason) if stop_reason else "it has not ended yet"
