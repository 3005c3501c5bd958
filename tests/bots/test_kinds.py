"""Every kind of scene has its order, its premise and its ears."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bots.kinds import KINDS, dressed, heard, told, turn_of
from selves.cast import CAST_SIZES, Persona, SceneKind, SceneSpec


class Said(NamedTuple):
    speaker: str
    text: str = "mm"


def scene(kind: str, *cast: str, **more: Any) -> SceneSpec:
    story = {"opening": "Once there was a fox."} if kind == "retelling" else {}
    return SceneSpec.model_validate({"name": "scene", "kind": kind, "cast": cast, **story, **more})


def played(spec: SceneSpec, present: list[bool] | None = None) -> list[str]:
    """Who speaks, turn by turn, when everybody says something."""
    here = present or [True] * len(spec.cast)
    said: list[int] = []
    for turn in range(spec.max_turns):
        position = turn_of(spec, here, turn, said[-1] if said else None)
        if position is None:
            break
        said.append(position)
    return [spec.cast[position] for position in said]


def test_all_kinds_are_known_everywhere() -> None:
    assert set(KINDS) == set(get_args(SceneKind)) == set(CAST_SIZES)


@pytest.mark.parametrize(
    ("spec", "order"),
    [
        (scene("interview", "A", "B", "C", max_turns=6), "ABACAB"),
        (scene("debate", "A", "B", "J", max_turns=5), "ABABJ"),
        (scene("retelling", "A", "B", "C"), "ABC"),
        (scene("shadow", "A", "B", max_turns=5), "ABABA"),
        (scene("eulogy", "A", "B", "C"), "BC"),
        (scene("dream", "A", max_turns=3), "AAA"),
        (scene("dream", "A", "B", max_turns=3), "ABA"),
        (scene("audience", "A", "B", "C", max_turns=6), "BACABA"),
    ],
)
def test_a_kind_with_parts_has_its_own_order(spec: SceneSpec, order: str) -> None:
    assert "".join(played(spec)) == order


ordered = st.sampled_from([kind for kind in KINDS if KINDS[kind].order])


@given(ordered, st.integers(0, 4), st.integers(1, 20), st.data())
def test_whoever_is_absent_is_passed_over_and_nobody_follows_themselves(
    kind: SceneKind, more: int, turns: int, data: st.DataObject
) -> None:
    least, most = CAST_SIZES[kind]
    names = [f"Self{number}" for number in range(min(most, least + more))]
    spec = scene(kind, *names, max_turns=turns)
    present = data.draw(st.lists(st.booleans(), min_size=len(names), max_size=len(names)))
    speakers = played(spec, present)
    assert set(speakers) <= {name for name, here in zip(names, present, strict=True) if here}
    if sum(present) > 1:
        assert all(a != b for a, b in pairwise(speakers))


def test_everybody_is_told_the_premise_and_what_is_for_them_alone() -> None:
    spec = scene("interview", "Ash", "Ember", "Spark", premises={"Ember": "Ember has a secret."})
    assert told(spec, "Ash") == "Ash interviews Ember and Spark."
    assert told(spec, "Ember") == "Ash interviews Ember and Spark. Ember has a secret."
    assert told(scene("conversation", "Ash", "Ember", premise="Night."), "Ash") == "Night."


def test_who_retells_hears_the_story_and_people_but_no_other_teller() -> None:
    spec = scene("retelling", "Ash", "Ember")
    lines = [Said("Host"), Said("Ash"), Said("guest-1")]
    assert heard(spec, "Ember", lines) == [lines[0], lines[2]]


def test_the_public_self_does_not_hear_its_shadow_and_a_dreamer_only_the_last_line() -> None:
    lines = [Said("Host"), Said("Ash"), Said("Ember")]
    shadow = scene("shadow", "Ash", "Ember")
    assert heard(shadow, "Ash", lines) == lines[:2]
    assert heard(shadow, "Ember", lines) == lines
    assert heard(scene("dream", "Ash"), "Ash", lines) == lines[-1:]
    assert heard(scene("conversation", "Ash", "Ember"), "Ash", lines) == lines


def test_a_dream_is_hotter_and_longer_than_a_talk() -> None:
    ash = Persona(name="Ash", address="ember@base-000100")
    dreaming = dressed(ash, scene("dream", "Ash")).sampling
    assert (dreaming.temperature, dreaming.max_tokens) == (1.3, 2 * ash.sampling.max_tokens)
    assert dressed(ash, scene("debate", "Ash", "B", "C")) == ash


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"kind": "debate", "cast": ("A", "B")}, "casts at least 3, not 2"),
        ({"kind": "letter", "cast": ("A",)}, "casts at least 2, not 1"),
        ({"kind": "letter", "cast": ("A", "B"), "to": "future"}, "casts 1, not 2"),
        ({"kind": "letter", "cast": ("A",), "to": "tomorrow"}, "`future` or an address"),
        ({"kind": "dream", "cast": ("A",), "to": "future"}, "`to` is for letters"),
        ({"kind": "retelling", "cast": ("A",)}, "needs a story"),
        ({"cast": ("A", "B"), "premises": {"C": "x"}}, "'C'"),
        ({"cast": ("A", "B"), "branching": 1.0}, "less than 1"),
    ],
)
def test_a_scene_that_cannot_be_played_says_why(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        SceneSpec.model_validate({"name": "scene", **wrong})
