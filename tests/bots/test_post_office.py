"""A letter to a future self waits until that age is there, is delivered once, and is answered."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bots.post_office import deliver_soon, deliveries, reader_of
from bots.scene import play
from memory.store import Store
from selves.cast import Cast, SceneSpec
from selves.lineage import list_ages
from selves.speech import Prompt, Sampling, Utterance, Writing
from serving.voice import Voice
from tests.bots.test_scene import CAST, Paper

LETTER = SceneSpec(name="onward", kind="letter", cast=("Spark",), to="future", premise="It is night.")
LIVES = {"tiny": ["tiny@base-000000", "tiny@base-000004"], "other": ["other@base-000001"]}


@pytest.mark.parametrize(
    ("writer", "to", "reader"),
    [
        ("tiny@base-000000", "future", "tiny@base-000004"),
        ("tiny@base-000004", "future", None),
        ("gone@base-000001", "future", None),
        ("tiny@base-000000", "other@base-000001", "other@base-000001"),
        ("tiny@base-000000", "tiny@chat-000001", None),
    ],
)
def test_the_future_is_the_next_age_of_the_same_life(writer: str, to: str, reader: str | None) -> None:
    assert reader_of(writer, to, LIVES) == reader


async def test_a_letter_waits_for_its_age_and_is_answered_once(
    store: Store, voice: Voice, checkpoints: Path
) -> None:
    newborn, *later = list_ages(checkpoints)
    await store.register_age(newborn)
    sent = await play(store, voice, Paper(), CAST, LETTER, seed=1)
    assert (sent.stop_reason, sent.messages) == ("sent", 1)
    [letter] = await store.messages(sent.id)
    assert letter.text.startswith("Dear future self,\n")
    [waiting] = await deliveries(store)
    assert (waiting.to, waiting.reader) == ("future", None)

    for age in later:
        await store.register_age(age)
    [arrived] = await deliveries(store)
    assert arrived.reader == "tiny@base-000004"
    grown = Cast(persona=(CAST.persona[0].model_copy(update={"address": "tiny@base-000004"}),))
    handed: list[tuple[SceneSpec, str]] = []
    for _ in range(2):
        await deliver_soon(store, grown, "terminal", lambda spec, key: handed.append((spec, key)))
    assert handed[0] == handed[1]
    spec, key = handed[0]
    paper = Paper()
    for _ in range(2):
        answered = await play(store, voice, paper, grown, spec, key=key)
    assert answered.stop_reason == "answered"
    assert answered.from_message_id == letter.id
    [answer] = paper.posted
    assert (answer.speaker, answer.address) == ("Spark", "tiny@base-000004")
    assert answer.text.startswith("Dear Tiny base 0,\n"), "the younger one, who had the same name"
    asked = (await store.provenance(answer.id)).generation
    assert asked is not None
    assert asked.prompt_message_ids == (letter.id,)
    assert await deliver_soon(store, grown, "terminal", lambda *_: None) == 0


# ---------------------------------------------------------------- from diaries, on the command line


def diary(home: Path, **changes: Any) -> None:
    """Write a letter to the future into the diary of the youngest age of a house."""
    prompt = Prompt(form="transcript", text="<Tiny> Dear future self, I")
    wrote = Utterance(
        address="tiny@base-000000",
        weights_sha256=json.loads((home / "age.json").read_text("utf-8"))["weights_sha256"],
        engine="training",
        engine_version="1",
        prompt=prompt,
        sampling=Sampling(),
        text=" know nothing yet.",
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    letters = [Writing(kind="letter", to="future", number=n, utterance=wrote) for n in range(2)]
    (home / "diary.jsonl").write_text("".join(f"{w.model_dump_json()}\n" for w in letters), "utf-8")


@pytest.fixture
def environment(checkpoints: Path, serving_url: str, tmp_path: Path) -> Mapping[str, str]:
    home = tmp_path / "home"
    for folder in (checkpoints / "tiny").iterdir():
        there = home / "checkpoints" / "tiny" / folder.name
        there.mkdir(parents=True)
        for file in folder.iterdir():
            (there / file.name).symlink_to(file)
    diary(home / "checkpoints" / "tiny" / "base-000000")
    cast_file = tmp_path / "selves.toml"
    cast_file.write_text('[[persona]]\nname = "Ash"\naddress = "tiny@chat-000008"\n', "utf-8")
    kept = {k: v for k, v in os.environ.items() if not k.startswith("SELVES_")}
    cast = {"SELVES_HOME": str(home), "SELVES_CAST": str(cast_file)}
    return kept | cast | {"SELVES_URL": serving_url}


def run(environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "selves", "scene", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, check=False)


def test_a_letter_from_a_diary_is_delivered_and_answered(environment: Mapping[str, str]) -> None:
    listed = run(environment, "letters")
    assert "tiny@base-000000 to future at tiny@base-000004: waits to be answered" in listed.stdout
    assert listed.stdout.count("\n") == 1, "the second try at the same letter was not sent"
    unknown = run(environment, "letters", "--deliver", "99")
    assert unknown.returncode == 2
    assert "there is no letter 99" in unknown.stderr
    answered = run(environment, "letters", "--deliver")
    assert answered.returncode == 0, answered.stderr
    assert "Tiny base 0: Dear future self, I know nothing yet." in answered.stdout
    assert "Tiny base 4: Dear Tiny base 0," in answered.stdout
    [entry] = json.loads(run(environment, "letters", "--json").stdout)
    assert (entry["state"], entry["reader"]) == ("answered", "tiny@base-000004")
    again = run(environment, "letters", "--deliver")
    assert again.stdout == ""


def test_the_kinds_of_scenes_are_told(environment: Mapping[str, str]) -> None:
    assert "debate" in run(environment, "kinds").stdout
    assert "answer" not in json.loads(run(environment, "kinds", "--json").stdout)
