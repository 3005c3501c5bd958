"""What was said can be said again, bit for bit; and where it cannot, it is said why."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.repeat import compare, find_hindrance, find_mismatch, main, repeat
from memory.store import Store, open_store, utc_now
from memory.types import Generation
from selves.cast import SceneSpec
from selves.errors import StoreError
from selves.speech import ChatMessage, Prompt, Sampling, Utterance
from serving.voice import ModelInfo, Voice

SPEC = SceneSpec(name="meeting", cast=("Spark", "Ember"), premise="They meet.")
CAST = """
[[persona]]
name = "Spark"
address = "tiny@base-000016"
sampling = { max_tokens = 24, temperature = 1.0 }

[[persona]]
name = "Ember"
address = "tiny@chat-000008"
sampling = { max_tokens = 24, temperature = 0 }

[[scene]]
name = "meeting"
cast = ["Spark", "Ember"]
opening = "Hi, you two!"
max_turns = 4
"""
TRANSCRIPT = Prompt(form="transcript", text="<Spark> Hi! How are you?\n<Ember>")
CHAT = Prompt(form="chat", messages=(ChatMessage(role="user", content="Hi! What do you like to read?"),))
ASKED = [
    (address, prompt, Sampling(max_tokens=24, temperature=temperature, seed=seed))
    for address, prompt in (("tiny@base-000016", TRANSCRIPT), ("tiny@chat-000008", CHAT))
    for temperature in (0.0, 1.0)
    for seed in (1, 2)
]


async def keep(store: Store, utterances: list[Utterance]) -> tuple[int, list[Generation]]:
    scene = await store.begin_scene(SPEC, place="terminal")
    message = await store.keep_turn(scene.id, speaker="Ember", utterances=utterances, chosen=0)
    assert message is not None
    return message.id, await store.generations(scene.id)


async def test_greedy_and_seeded_samples_come_again_bit_for_bit(voice: Voice, store: Store) -> None:
    # said side by side, and repeated one after another: company changes nothing
    together = await asyncio.gather(*(voice.say(*asked) for asked in ASKED))
    _, kept = await keep(store, list(together))
    assert len({(sample.address, sample.text) for sample in kept}) >= 6
    for sample in kept:
        again = await repeat(voice, sample)
        assert (again.verdict, again.why) == ("identical", f"all {len(sample.token_ids)} tokens")


@pytest.fixture
def environment(serving_home: Path, tmp_path: Path) -> dict[str, str]:
    """A home of its own with the tiny ages, and no engine that runs."""
    shutil.copytree(serving_home / "checkpoints" / "tiny", tmp_path / "home" / "checkpoints" / "tiny")
    (tmp_path / "selves.toml").write_text(CAST, "utf-8")
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SELVES_")}
    return kept | {"SELVES_HOME": str(tmp_path / "home"), "SELVES_CAST": str(tmp_path / "selves.toml")}


def run(environment: Mapping[str, str], *arguments: str | int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "selves", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )


@pytest.fixture
def here(environment: dict[str, str], serving_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process lives in that home too, and speaks to the running engine."""
    for name in ("SELVES_HOME", "SELVES_CAST"):
        monkeypatch.setenv(name, environment[name])
    monkeypatch.setenv("SELVES_URL", serving_url)
    monkeypatch.delenv("SELVES_DATABASE_URL", raising=False)


def test_a_scene_is_said_again_by_another_start_of_the_engine(
    environment: dict[str, str], here: None, capsys: pytest.CaptureFixture[str]
) -> None:
    played = run(environment, "scene", "play", "meeting", "--json")
    assert played.returncode == 0, played.stderr
    first, *others = json.loads(played.stdout)["messages"]
    assert main([str(first["id"]), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["why"] == "no self said it: it comes from Host (operator)"
    for message in others:
        assert main([str(message["id"]), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["verdict"] == "identical"
    shown = run(environment, "memory", "repeat", others[0]["id"])
    assert (shown.returncode, shown.stdout.partition(":")[0]) == (0, "identical"), shown.stderr


def test_weights_that_were_trained_anew_are_told(
    here: None, serving_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def say() -> int:
        async with (
            open_store(f"sqlite:///{tmp_path}/home/selves.db") as store,
            Voice(serving_url) as voice,
        ):
            said = await voice.say("tiny@chat-000008", CHAT, Sampling(max_tokens=8))
            message, _ = await keep(store, [said.model_copy(update={"weights_sha256": "f" * 64})])
            return message

    assert main([str(asyncio.run(say()))]) == 1
    told = capsys.readouterr().out
    assert told.startswith("cannot be repeated: tiny@chat-000008 has other weights now: sha256 ")
    with pytest.raises(StoreError, match="there is no message 99"):
        main(["99"])
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "  selves memory repeat 42" in capsys.readouterr().out


async def test_what_has_no_prompt_any_more_or_no_age_is_told(voice: Voice, store: Store) -> None:
    said = await voice.say("tiny@chat-000008", CHAT, Sampling(max_tokens=8))
    _, (kept,) = await keep(store, [said])
    assert find_hindrance(kept) == ""
    assert "gone by now" in find_hindrance(replace(kept, prompt=None))
    assert "damaged" in find_hindrance(replace(kept, prompt_sha256="0" * 64))
    assert "never had any" in find_hindrance(replace(kept, text="", token_ids=()))
    gone = await repeat(voice, replace(kept, address="tiny@base-999999"))
    assert (gone.verdict, gone.why.startswith("its age tiny@base-999999 is not served")) == ("cannot", True)


def info(**changes: Any) -> ModelInfo:
    values = {
        "address": "a@base-000001",
        "form": "chat",
        "context_tokens": 64,
        "weights_sha256": "a" * 64,
        "engine": "embedded",
        "engine_version": "1",
    }
    return ModelInfo(**{**values, **changes})


def sample(text: str, tokens: tuple[int, ...], **changes: Any) -> Generation:
    values: dict[str, Any] = {
        "id": 1,
        "kind": "turn",
        "address": "a@base-000001",
        "weights_sha256": "a" * 64,
        "engine": "embedded",
        "engine_version": "1",
        "form": "chat",
        "prompt": CHAT,
        "prompt_sha256": CHAT.sha256,
        "prompt_message_ids": (),
        "prompt_has_human": False,
        "prompt_origins": (),
        "sampling": Sampling(),
        "text": text,
        "token_ids": tokens,
        "finish_reason": "stop",
        "mean_logprob": None,
        "error": None,
        "started_at": utc_now(),
        "duration_s": 0.0,
        "scene_id": None,
        "turn": None,
        "speaker": None,
        "chosen": True,
    }
    return Generation(**{**values, **changes})


def utterance(text: str, tokens: tuple[int, ...], version: str = "1") -> Utterance:
    return Utterance(
        address="a@base-000001",
        weights_sha256="a" * 64,
        engine="embedded",
        engine_version=version,
        prompt=CHAT,
        sampling=Sampling(),
        text=text,
        token_ids=tokens,
        started_at=utc_now(),
    )


def test_other_weights_and_other_engines_are_told_apart() -> None:
    kept = sample("Hi", (1,))
    assert find_mismatch(kept, info()) == ""
    assert "other weights now: sha256 bbbbbbbbbbbb" in find_mismatch(kept, info(weights_sha256="b" * 64))
    assert "sha256 unknown" in find_mismatch(kept, info(weights_sha256=""))
    assert "by the engine embedded 1, and here is vllm 0.9" in find_mismatch(
        kept, info(engine="vllm", engine_version="0.9")
    )


def test_it_is_said_where_two_texts_part() -> None:
    parted = compare(sample("I like tea.", (5, 6, 7)), utterance("I like the sea.", (5, 6, 8, 9)))
    assert (parted.verdict, parted.token, parted.character) == ("differs", 2, 8)
    assert parted.why == "from token 2 and character 8 on"
    assert (parted.kept, parted.said) == ("I like tea.", "I like the sea.")
    same = compare(sample("Hi", (5,)), utterance("Hi", (5,), version="2"))
    assert (same.verdict, same.why) == ("identical", "all 1 tokens, by version 2 of the engine; it was 1")


def test_of_what_broke_off_only_what_came_is_compared() -> None:
    broken = sample("I li", (5, 6), finish_reason="cancelled")
    assert compare(broken, utterance("I like tea.", (5, 6, 7))).verdict == "identical"
    assert compare(broken, utterance("A like tea.", (4, 6, 7))).verdict == "differs"


@given(st.text(max_size=8), st.text(max_size=8), st.lists(st.integers(0, 3)), st.lists(st.integers(0, 3)))
def test_identical_means_the_same_tokens_and_the_same_text(
    text: str, other: str, tokens: list[int], others: list[int]
) -> None:
    result = compare(sample(text, tuple(tokens)), utterance(other, tuple(others)))
    same = text == other and (tokens == others or not tokens or not others)
    assert result.verdict == ("identical" if same else "differs")
    if result.character is not None:
        assert text[: result.character] == other[: result.character]
        assert text[result.character : result.character + 1] != other[result.character : result.character + 1]
    if result.token is not None:
        assert tokens[: result.token] == others[: result.token]
