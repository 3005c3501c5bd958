"""`selves scene` as a user runs it, and killed at any moment."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

import pytest

from memory.store import open_store

CAST = """
[[persona]]
name = "Spark"
address = "tiny@base-000000"
sampling = { max_tokens = 40, temperature = 1.0 }

[[persona]]
name = "Ember"
address = "tiny@chat-000008"
about = "You are Ember."
sampling = { max_tokens = 40, temperature = 1.0 }

[[scene]]
name = "meeting"
cast = ["Spark", "Ember"]
premise = "They meet."
opening = "Hi, you two!"
max_turns = 12

[[scene]]
name = "home"
kind = "letter"
cast = ["Ember", "Spark"]

[[scene]]
name = "strangers"
cast = ["Spark", "Nobody"]

[[persona]]
name = "Nobody"
address = "other@chat-000001"
"""


@pytest.fixture
def environment(serving_url: str, tmp_path: Path) -> Mapping[str, str]:
    """A home and a cast of its own, and the running engine."""
    (tmp_path / "selves.toml").write_text(CAST, "utf-8")
    kept = {k: v for k, v in os.environ.items() if not k.startswith("SELVES_")}
    return kept | {
        "SELVES_HOME": str(tmp_path / "home"),
        "SELVES_CAST": str(tmp_path / "selves.toml"),
        "SELVES_URL": serving_url,
    }


def command(*arguments: str) -> Sequence[str]:
    return [sys.executable, "-m", "selves", "scene", *arguments]


def run(environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, env=environment, timeout=600, check=False
    )


def test_a_scene_is_played_and_shown_again(environment: Mapping[str, str]) -> None:
    first = run(environment, "play", "meeting", "--key", "a")
    again = run(environment, "play", "meeting", "--key", "a")
    assert first.returncode == again.returncode == 0, first.stderr
    assert "They meet." in first.stdout
    assert "Spark is tiny@base-000000" in first.stdout
    assert "Host: Hi, you two!" in first.stdout
    assert "(all turns are played)" in first.stdout
    assert again.stdout == first.stdout


def test_a_program_reads_the_scene_as_json(environment: Mapping[str, str]) -> None:
    done = run(environment, "play", "home", "--seed", "7", "--json")
    result = json.loads(done.stdout)
    assert [m["speaker"] for m in result["messages"]] == ["Ember", "Spark"]
    assert result["scene"]["stop_reason"] == "max_turns"
    assert "Ember: " in done.stderr
    other = json.loads(run(environment, "play", "home", "--seed", "7", "--json").stdout)
    assert [m["text"] for m in other["messages"]] == [m["text"] for m in result["messages"]]


def test_scenes_are_listed(environment: Mapping[str, str]) -> None:
    assert "meeting  (conversation: Spark, Ember)" in run(environment, "list").stdout
    names = [scene["name"] for scene in json.loads(run(environment, "list", "--json").stdout)]
    assert names == ["meeting", "home", "strangers"]


def test_what_cannot_be_played_says_why(environment: Mapping[str, str]) -> None:
    unknown = run(environment, "play", "metting")
    assert unknown.returncode == 2
    assert "there is no scene 'metting'" in unknown.stderr
    missing = run(environment, "play", "strangers")
    assert missing.returncode == 1
    assert "other@chat-000001 (Nobody)" in missing.stderr
    assert "selves train run" in missing.stderr
    assert missing.stdout == ""


async def test_ctrl_c_says_how_to_go_on(environment: Mapping[str, str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *command("play", "meeting", "--key", "b"),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    while not (line := await process.stdout.readline()).startswith((b"Ember:", b"Spark:")):
        assert line, "it ended before anybody spoke"
    process.send_signal(signal.SIGINT)
    _, said = await process.communicate()
    assert process.returncode == 130
    assert b"selves scene play meeting --key b" in said
    rest = run(environment, "play", "meeting", "--key", "b")
    assert "(all turns are played)" in rest.stdout


@pytest.mark.slow
async def test_a_scene_killed_at_any_moment_ends_complete_and_single(
    environment: Mapping[str, str], tmp_path: Path
) -> None:
    """Four runs die by SIGKILL, each a random moment after it showed a new line; the fifth ends the scene."""
    dice = Random(20)
    for kills in range(4):
        process = await asyncio.create_subprocess_exec(
            *command("play", "meeting", "--key", "c", "--seed", "3"),
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert process.stdout is not None
        spoken = 0
        while spoken <= 2 * kills:
            line = await process.stdout.readline()
            assert line, "it ended before it could be killed"
            spoken += line.startswith((b"Host:", b"Ember:", b"Spark:"))
        await asyncio.sleep(dice.uniform(0, 0.2))  # not a wait for anything: the moment is the dice's
        process.kill()
        assert await process.wait() == -signal.SIGKILL
    last = run(environment, "play", "meeting", "--key", "c", "--seed", "3")
    assert "(all turns are played)" in last.stdout, last.stderr
    undisturbed = json.loads(run(environment, "play", "meeting", "--seed", "3", "--json").stdout)
    async with open_store(f"sqlite+aiosqlite:///{tmp_path / 'home' / 'selves.db'}") as store:
        killed, whole = await store.scenes()
        messages = await store.messages(killed.id)
        generations = await store.generations(killed.id)
    assert killed.turns == whole.turns == 12
    assert [(m.speaker, m.text) for m in messages] == [
        (m["speaker"], m["text"]) for m in undisturbed["messages"]
    ]
    assert [m.sequence for m in messages] == list(range(1, len(messages) + 1))
    assert {m.status for m in messages} == {"posted"}
    assert {g.turn for g in generations} == set(range(1, 13))
    chosen = [g.turn for g in generations if g.chosen]
    assert len(chosen) == len(set(chosen)) == len(messages) - 1
