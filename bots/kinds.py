"""The kinds of scenes, as data: who speaks when, what each hears, and how boldly it may speak. Pure.

What selves are told is in the third person and short: one that only continues text reads it as a heading, one
that can be told things takes it for its situation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeVar

from bots.floor import Line
from selves.cast import Persona, PersonaSampling, SceneKind, SceneSpec

Said = TypeVar("Said", bound=Line)
Order = Callable[[int, int, int], int | None]
"""(how many are cast, which turn from 0, the scene's most turns) -> whose it is; None: all have spoken."""


class Kind(NamedTuple):
    """What makes a kind of scene."""

    what: str
    """In a line, for people who choose one."""
    premise: str = ""
    """Told when the scene has no premise. `{first}`, `{last}`, `{others}` (all but the first) are names."""
    order: Order | None = None
    """Whose turn it is; None: they have the floor as they bid for it."""
    hears: Literal["all", "no selves", "the last line", "not the second"] = "all"
    """What of the talk is in their prompts. `not the second`: the first does not hear the second."""
    least_temperature: float = 0.0
    longer: int = 1
    """A line may be this many times as long as in conversation."""
    may_repeat: bool = False
    """Whether they may say what was said before, because that is the point."""
    may_be_silent: bool = False
    """Whether nobody need want the floor."""


def _interview(cast: int, turn: int, _: int) -> int:
    return 0 if turn % 2 == 0 else 1 + turn // 2 % (cast - 1)


def _audience(cast: int, turn: int, _: int) -> int:
    return 0 if turn % 2 else 1 + turn // 2 % (cast - 1)


def _debate(cast: int, turn: int, most: int) -> int:
    return cast - 1 if turn == most - 1 else turn % (cast - 1)


def _in_turn(cast: int, turn: int, _: int) -> int:
    return turn % cast


def _each_once(cast: int, turn: int, _: int) -> int | None:
    return turn if turn < cast else None


def _each_but_the_first(cast: int, turn: int, _: int) -> int | None:
    return turn + 1 if turn + 1 < cast else None


KINDS: Mapping[SceneKind, Kind] = {
    "conversation": Kind("they talk, whoever wants the floor"),
    "letter": Kind(
        "the first writes to the second, who answers; or with `to` one writes to its future self, or to an "
        "age, and is answered when that age is there"
    ),
    "answer": Kind("the house's own: the age that a letter went to answers it"),
    "interview": Kind(
        "the first asks, the others answer by turns", "{first} interviews {others}.", order=_interview
    ),
    "debate": Kind(
        "all but the last argue, the last judges at the end and names the winner",
        "A debate. At the end {last} says who won.",
        order=_debate,
    ),
    "retelling": Kind(
        "each tells the same story (the opening) in its own words, and hears nobody else's",
        "Each tells the story in their own words.",
        order=_each_once,
        hears="no selves",
        longer=3,
        may_repeat=True,
    ),
    "shadow": Kind(
        "the first speaks in public, the second is its shadow: it answers, and the first does not hear it",
        "{last} is the shadow of {first}, and says what {first} does not say.",
        order=_in_turn,
        hears="not the second",
    ),
    "eulogy": Kind(
        "the first is gone and says nothing, each other remembers it once",
        "{first} is gone. Those who knew {first} say what they remember.",
        order=_each_but_the_first,
        longer=2,
    ),
    "dream": Kind(
        "they dream on from the last line, hot and without memory",
        "A dream.",
        order=_in_turn,
        hears="the last line",
        least_temperature=1.3,
        longer=2,
    ),
    "audience": Kind(
        "the first receives: the others come one after the other, and each is answered; people too",
        "{first} receives visitors: {others}.",
        order=_audience,
    ),
    "chatter": Kind(
        "a few lines that nobody asked for, or none: for a schedule with `per_day`", may_be_silent=True
    ),
}


def premise_of(spec: SceneSpec) -> str:
    """Return what all are told before a scene begins: its premise, or that of its kind."""
    first, *others = spec.cast
    names = {"first": first, "last": spec.cast[-1], "others": " and ".join(others)}
    return spec.premise or KINDS[spec.kind].premise.format(**names)


def told(spec: SceneSpec, name: str) -> str:
    """Return what one of a scene's cast is told before it begins."""
    return " ".join(filter(None, (premise_of(spec), spec.premises.get(name, ""))))


def dressed(persona: Persona, spec: SceneSpec) -> Persona:
    """Return a self as it plays in this kind of scene: hotter, or with more to say."""
    kind, sampling = KINDS[spec.kind], persona.sampling
    if kind.longer == 1 and sampling.temperature >= kind.least_temperature:
        return persona
    changed: dict[str, float] = {
        "temperature": max(sampling.temperature, kind.least_temperature),
        "max_tokens": min(4096, sampling.max_tokens * kind.longer),
    }
    return persona.model_copy(update={"sampling": PersonaSampling(**sampling.model_dump() | changed)})


def turn_of(spec: SceneSpec, present: Sequence[bool], turn: int, last: int | None) -> int | None:
    """Return whose turn it is in a kind with an order, by position in the cast; None: all have spoken.

    Whoever is not `present` is passed over, and so is whoever spoke `last`, unless alone.
    """
    order = KINDS[spec.kind].order
    assert order is not None, spec.kind
    for later in range(turn, turn + 2 * len(present)):
        position = order(len(present), later, spec.max_turns)
        if position is None:
            return None
        if present[position] and (position != last or sum(present) == 1):
            return position
    return None


def heard(spec: SceneSpec, name: str, lines: Sequence[Said]) -> list[Said]:
    """Return what of the talk is in the prompt of one of the cast."""
    match KINDS[spec.kind].hears:
        case "no selves":
            return [line for line in lines if line.speaker not in spec.cast]
        case "the last line":
            return list(lines[-1:])
        case "not the second" if name == spec.cast[0]:
            return [line for line in lines if line.speaker != spec.cast[1]]
        case _:
            return list(lines)
