"""Those that continue transcripts say whom they expect next, and the floor listens."""

from __future__ import annotations

import math
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from bots.bids import SILENCE, expected, shares
from bots.floor import next_speaker
from selves.cast import Persona
from selves.speech import Prompt
from serving.prompt import Line
from serving.voice import Voice

CAST = [
    Persona(name="Spark", address="tiny@base-000000"),
    Persona(name="Tinder", address="tiny@base-000016"),
    Persona(name="Ember", address="tiny@chat-000008", about="You are Ember."),
]
LINES = [Line("Spark", "Hi! How are you today?"), Line("Tinder", "I'm doing really good.")]


async def test_the_engine_says_how_likely_each_name_is(voice: Voice) -> None:
    infos = await voice.models()
    found = await expected(voice, CAST, infos, CAST, LINES, premise="They meet.")
    assert set(found) == {"Spark", "Tinder", "Ember", SILENCE}
    assert math.isclose(sum(found.values()), 1)
    by_hand = []
    for reader in CAST[:2]:
        text = "They meet.\n<Spark> Hi! How are you today?\n<Tinder> I'm doing really good.\n"
        prompt = Prompt(form="transcript", text=text)
        scores = await voice.score(reader.address, prompt, ["<Spark>", "<Tinder>", "<Ember>", "\n"])
        by_hand.append(shares(dict(zip([*(p.name for p in CAST), SILENCE], scores, strict=True))))
    for name, share in found.items():
        assert math.isclose(share, sum(answer[name] for answer in by_hand) / 2, rel_tol=1e-4)


async def test_where_nobody_continues_transcripts_nobody_is_expected(voice: Voice) -> None:
    infos = await voice.models()
    assert await expected(voice, CAST[2:], infos, CAST, LINES) == {}
    assert await expected(voice, CAST, infos, CAST, []) == {}


@given(st.dictionaries(st.text(max_size=3), st.floats(max_value=0, allow_nan=False), min_size=1))
def test_shares_add_up_to_one_whatever_the_scores(scores: dict[str, float]) -> None:
    assert math.isclose(sum(shares(scores).values()), 1)


def test_whoever_is_expected_speaks_more() -> None:
    def times(likely: dict[str, float], name: str | None, *, may_be_silent: bool = False) -> int:
        chosen = [
            next_speaker(
                CAST, [Line("Host", "Well?")], rng=Random(n), expected=likely, may_be_silent=may_be_silent
            )
            for n in range(200)
        ]
        return sum((who.name if who else None) == name for who in chosen)

    assert times({"Ember": 0.9, SILENCE: 0.1}, "Ember") > times({}, "Ember")
    silent = {SILENCE: 1.0}
    assert times(silent, None) == 0
    assert times(silent, None, may_be_silent=True) > times({}, None, may_be_silent=True)
