"""A furnished house for the book: tiny real ages that wrote diaries, a training record, a cast, and scenes.

What the ages wrote is as nasty as babble can be: markup, style, bidirectional overrides, control characters
and ten thousand characters without a space.
"""

from __future__ import annotations

import asyncio
import json
import math
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from memory.store import open_store
from selves.cast import SceneSpec
from selves.lineage import list_ages
from selves.settings import House
from selves.speech import ChatMessage, Prompt, Sampling, Utterance, Writing

HOSTILE = (
    "<script>document.title = 'broken in'</script></style></textarea>"
    "<img src=http://127.0.0.1:9/x onerror=alert(1)>",
    "left \u202eright\u202c \u0007bell \x1b[31mred\x00 \ufeff end",
    "{{ 7 * 7 }} {% raw %} & &lt; ]]> --> \" ' `",
    "x" * 10_000,
    "",
)
"""One for each kind of trouble; the last is silence."""

CAST = """
[[persona]]
name = "Spark"
address = "tiny@base-000000"
color = "#ffff00"

[[persona]]
name = "Ember"
address = "tiny@chat-000008"
color = "black"
"""


def say(address: str, sha256: str, text: str, prompt: Prompt) -> Utterance:
    """Return an utterance as an engine would have made it."""
    return Utterance(
        address=address,
        weights_sha256=sha256,
        engine="training",
        engine_version="1",
        prompt=prompt,
        sampling=Sampling(seed=7),
        text=text,
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


@pytest.fixture
def house(checkpoints: Path, tmp_path: Path) -> House:
    """A house whose ages wrote something and which has a training record; no scenes were played yet."""
    home = tmp_path / "home"
    shutil.copytree(checkpoints, home / "checkpoints")
    for number, age in enumerate(list_ages(home / "checkpoints")):
        nasty = HOSTILE[number % len(HOSTILE)]
        writings = []
        for kind, given, text in (
            ("diary", "Dear diary, today I", f" was {age.card.address}."),
            ("letter", "Dear future self, I", nasty),
            ("continuation", "When I grow up, I", f" will be {number}. {nasty}"),
        ):
            prompt = (
                Prompt(form="chat", messages=(ChatMessage(role="user", content=given),))
                if age.card.form == "chat"
                else Prompt(form="transcript", text=given)
            )
            utterance = say(age.card.address, age.card.weights_sha256, text, prompt)
            writings.append(Writing(kind=kind, utterance=utterance))  # type: ignore[arg-type]
        lines = "".join(writing.model_dump_json() + "\n" for writing in writings)
        (age.folder / "diary.jsonl").write_text(lines, "utf-8")
    rows = [
        {"stage": "base", "step": step, "loss": 5.6 - math.log1p(step), "tokens": step} for step in range(17)
    ]
    rows += [
        {"stage": "chat", "step": step, "loss": 2.5 - step / 20, "bits_per_byte": None} for step in range(9)
    ]
    (home / "checkpoints" / "tiny" / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    cast = tmp_path / "selves.toml"
    cast.write_text(CAST)
    return House(home=home, cast_path=cast)


@pytest.fixture
def storied_house(house: House) -> House:
    """The same house after one scene among selves, and one in which a person spoke."""

    async def play() -> None:
        spec = SceneSpec(name="first-meeting", cast=("Spark", "Ember"), premise=f"They meet. {HOSTILE[0]}")
        async with open_store(house.database_url) as store:
            scene = await store.begin_scene(spec, place="terminal")
            opening = await store.say(scene.id, speaker="Operator", text="Who is there?", origin="operator")
            await store.mark_posted(opening.id)
            for speaker, address, text in (
                ("Spark", "tiny@base-000000", HOSTILE[1]),
                ("Ember", "tiny@chat-000008", HOSTILE[0]),
                ("Spark", "tiny@base-000000", HOSTILE[3]),
            ):
                utterance = say(address, "0" * 64, text, Prompt(form="transcript", text="<Spark>"))
                message = await store.keep_turn(scene.id, speaker=speaker, utterances=[utterance], chosen=0)
                assert message is not None
                await store.mark_posted(message.id)
            await store.end_scene(scene.id, "loop")
            talk = await store.begin_scene(SceneSpec(name="talk", cast=("You", "Ember")), place="terminal")
            await store.say(talk.id, speaker="You", text="a private word", origin="parlor")
            utterance = say("tiny@chat-000008", "0" * 64, "a private answer", Prompt(form="transcript"))
            message = await store.keep_turn(talk.id, speaker="Ember", utterances=[utterance], chosen=0)
            assert message is not None
            await store.mark_posted(message.id)

    asyncio.run(play())
    return house
