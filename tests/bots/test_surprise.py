"""How unlikely another age finds what was said, from a real engine, kept as a score."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.surprise import Surprised, bits_per_byte, main, neighbour, shorter, surprise
from memory.scoring import without_score
from memory.search import search
from memory.store import Store
from selves.cast import SceneSpec
from selves.lineage import list_ages
from selves.speech import ChatMessage, Prompt, Sampling
from serving.voice import Voice

SPEC = SceneSpec(name="meeting", cast=("Spark", "Ember"), premise="They meet.")
PROMPT = Prompt(form="transcript", text="<Spark> Hi! How are you?\n<Ember>")


async def keep(store: Store, voice: Voice, text: str | None = None) -> None:
    """What an age says, or what it is said to have said."""
    scene = await store.begin_scene(SPEC, place="terminal", key="one")
    said = await voice.say("tiny@base-000016", PROMPT, Sampling(max_tokens=12, seed=3))
    if text is not None:
        said = said.model_copy(update={"text": text})
    await store.keep_turn(scene.id, speaker="Ember", utterances=[said], chosen=0)


async def test_nonsense_surprises_more_than_what_the_age_would_say(
    voice: Voice, store: Store, serving_home: Path
) -> None:
    for age in list_ages(serving_home / "checkpoints"):
        await store.register_age(age)
    await keep(store, voice)
    await keep(store, voice, " qzxv jjkw")
    samples = await without_score(store, "surprise")
    assert len(samples) == 2
    assert await surprise(store, voice, samples) == Surprised(2, {})
    page = await search(store, sort="surprise", folded=False)
    nonsense, sense = page.hits
    assert nonsense.found.text == " qzxv jjkw"
    assert nonsense.scores["surprise"] > sense.scores["surprise"] > 0
    assert await without_score(store, "surprise") == []


async def test_what_cannot_be_scored_is_counted_with_its_reason(
    voice: Voice, store: Store, serving_home: Path
) -> None:
    await keep(store, voice)
    await keep(store, voice, "and so on " * 400)
    samples = await without_score(store, "surprise")
    alone = await surprise(store, voice, samples)
    assert alone == Surprised(0, {"no age beside tiny@base-000016 is served": 2})
    away = await surprise(store, voice, samples, under="tiny@base-999999")
    assert away.left_out == {"tiny@base-999999 is not served": 2}
    for age in list_ages(serving_home / "checkpoints"):
        await store.register_age(age)
    done = await surprise(store, voice, samples)
    assert done == Surprised(1, {"longer than all that the other age can read": 1})


def test_the_neighbour_is_the_next_age_and_for_the_newest_the_one_before() -> None:
    life = ["a@base-000000", "a@base-000001", "a@base-000002"]
    assert [neighbour(age, life, "next") for age in life] == [life[1], life[2], life[1]]
    assert [neighbour(age, life, "previous") for age in life] == [None, life[0], life[1]]
    assert neighbour(life[0], life, "b@base-000000") == "b@base-000000"
    assert neighbour("a@chat-000000", life, "next") is None
    assert neighbour(life[0], life[:1], "next") is None


@given(st.floats(-1e6, 0), st.text(min_size=1))
def test_bits_per_byte_are_never_negative(logprob: float, text: str) -> None:
    assert bits_per_byte(logprob, text) >= 0


def test_a_prompt_that_is_too_long_loses_its_beginning() -> None:
    told = Prompt(form="transcript", text="<Ash> Hi!\n<Ash> You there?\n<Ember>")
    assert (once := shorter(told)) is not None
    assert once.text == "<Ash> You there?\n<Ember>"
    assert (twice := shorter(once)) is not None
    assert (twice.text, shorter(twice)) == ("<Ember>", None)
    messages = tuple(ChatMessage(role="user", content=content) for content in "ab")
    assert (chat := shorter(Prompt(form="chat", messages=messages))) is not None
    assert (chat.messages, shorter(chat)) == (messages[1:], None)


def test_one_bit_a_byte_is_a_coin_for_every_letter() -> None:
    assert bits_per_byte(-0.6931471805599453 * 4, "coin") == pytest.approx(1)


@pytest.mark.slow
def test_the_command_starts_an_engine_scores_and_is_found_in_the_front_door(
    serving_home: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    shutil.copytree(serving_home / "checkpoints" / "tiny", home / "checkpoints" / "tiny")
    (tmp_path / "selves.toml").write_text(
        '[[persona]]\nname = "Spark"\naddress = "tiny@base-000016"\nsampling = { max_tokens = 8 }\n\n'
        '[[persona]]\nname = "Ember"\naddress = "tiny@chat-000008"\nsampling = { max_tokens = 8 }\n\n'
        '[[scene]]\nname = "meeting"\ncast = ["Spark", "Ember"]\nopening = "Hi!"\nmax_turns = 2\n',
        "utf-8",
    )
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SELVES_")}
    environment = kept | {"SELVES_HOME": str(home), "SELVES_CAST": str(tmp_path / "selves.toml")}

    def selves(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "selves", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert selves("scene", "play", "meeting", "--seed", "1").returncode == 0
    done = selves("memory", "surprise", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["scored"] >= 1
    again = selves("memory", "surprise", "tiny")
    assert again.stdout == "0 samples scored\n"
    help_ = selves("memory", "--help").stdout
    assert "selves memory surprise" in help_


@pytest.mark.parametrize("arguments", [["Tiny Lineage"], ["--most", "0"]])
def test_misuse_exits_with_two(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 2
