"""A book's passages are said again by a real engine, and what comes is compared."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from book import cli
from memory.store import open_store
from selves.cast import SceneSpec
from selves.settings import House
from selves.speech import ChatMessage, Prompt, Sampling
from serving.voice import Voice
from tests.servers import serving

ASKED = Prompt(form="chat", messages=(ChatMessage(role="user", content="Who are you?"),))


def test_what_was_said_comes_again_and_what_was_not_does_not(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SELVES_HOME", str(house.home))
    monkeypatch.setenv("SELVES_CAST", str(house.cast_path))

    async def play(url: str) -> None:
        async with Voice(url) as voice, open_store(house.database_url) as store:
            scene = await store.begin_scene(
                SceneSpec(name="meeting", cast=("Spark", "Ember")), place="terminal"
            )
            said = await voice.say("tiny@chat-000008", ASKED, Sampling(max_tokens=8, seed=5))
            other = said.model_copy(update={"sampling": Sampling(max_tokens=8, seed=6)})
            for utterance in (said, other):
                line = await store.keep_turn(scene.id, speaker="Ember", utterances=[utterance], chosen=0)
                assert line is not None
                await store.mark_posted(line.id)

    with serving(house.checkpoints) as url:
        monkeypatch.setenv("SELVES_URL", url)
        asyncio.run(play(url))
        outline = house.home / "books" / "tiny" / "outline.toml"
        outline.parent.mkdir(parents=True)
        outline.write_text(
            'title = "Tiny"\nlineage = "tiny"\ndate = 2026-01-01\n[[chapter]]\ntitle = "One"\n'
            "[[chapter.item]]\nmessage = 1\n[[chapter.item]]\nmessage = 2\n[[chapter.item]]\nsample = 3\n"
        )
        assert cli.main(["build", "tiny", "--only", "site"]) == 0
        capsys.readouterr()
        assert cli.main(["verify", "tiny", "--again", "--json"]) == 1
    checked = json.loads(capsys.readouterr().out)
    assert all(not one["problems"] for one in checked["passages"])
    assert [one["outcome"] for one in checked["again"]] == ["same", "differs", "cannot"]
    assert checked["again"][2]["why"] == "it was said by the engine training, and here is embedded"


def test_what_cannot_be_set_is_said_without_a_traceback(tmp_path: Path) -> None:
    from selves.cli import run_command

    assert run_command(cli.main, ["build", str(tmp_path / "nowhere")]) == 2
