"""`selves memory`, as a user and as a program sees it."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from memory.cli import main
from memory.store import open_store
from selves.errors import StoreError, UsageError
from tests.memory.parts import NOON, SPEC, age, utterance

CAST = """
[[persona]]
name = "Ember"
address = "ember@base-000400"
color = "tomato"
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A house with two ages on disk and nothing in its memory."""
    monkeypatch.setenv("SELVES_HOME", str(tmp_path))
    monkeypatch.setenv("SELVES_CAST", str(tmp_path / "selves.toml"))
    monkeypatch.delenv("SELVES_DATABASE_URL", raising=False)
    for step in ("base-000000", "base-000400"):
        age(tmp_path / "checkpoints" / "ember" / step, f"ember@{step}", kinds=("diary", "letter"))
    (tmp_path / "selves.toml").write_text(CAST)
    return tmp_path


@pytest.fixture
def played(home: Path) -> int:
    """Two scenes; returns the id of the message that Ember said in the newer one."""

    async def play() -> int:
        async with open_store(f"sqlite:///{home}/selves.db") as store:
            older = await store.begin_scene(SPEC.model_copy(update={"name": "older"}), place="terminal")
            await store.end_scene(older.id, "silence")
            scene = await store.begin_scene(SPEC, place="discord:1")
            heard = await store.hear(scene.id, platform_id=2**60, user_id=5, text="Hi", created_at=NOON)
            said = utterance("\x1b[2JHello.\nI am Ember.")
            samples = [utterance("Hm."), said]
            message = await store.keep_turn(
                scene.id, speaker="Ember", utterances=samples, chosen=1, reply_to=heard.id
            )
            assert message
            await store.end_scene(scene.id, "max_turns")
            return message.id

    return asyncio.run(play())


def test_ages_are_registered_once(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["register"]) == 0
    assert capsys.readouterr().out == "ember@base-000000\nember@base-000400\n"
    assert main(["register", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"new": [], "known": 2}
    main(["writings", "ember", "--json"])
    writings = json.loads(capsys.readouterr().out)
    assert len(writings) == 4
    assert writings[1]["to"] == "future"
    assert writings[1]["generation"]["weights_sha256"] == "a" * 64
    main(["writings"])
    assert "ember@base-000400\tletter to future: A letter of ember@base-000400." in capsys.readouterr().out


def test_the_newest_scene_is_the_transcript(played: int, capsys: pytest.CaptureFixture[str]) -> None:
    main(["transcript"])
    out = capsys.readouterr().out
    assert out.startswith("meeting: They meet.\n")
    assert "guest-1: Hi\n" in out
    assert f"{played}\tEmber: \\x1b[2JHello.\nI am Ember.\n" in out
    assert out.endswith("(ended: max_turns)\n")


def test_a_transcript_tells_from_which_line_on_a_self_has_other_weights(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ages = ("ember@base-000400", "ember@base-000000", "ember@base-000000", "ember@base-000400")

    async def play() -> list[int]:
        async with open_store(f"sqlite:///{home}/selves.db") as store:
            scene = await store.begin_scene(SPEC, place="terminal")
            said = [
                await store.keep_turn(
                    scene.id, speaker="Ember", utterances=[utterance("Hi.", address=a)], chosen=0
                )
                for a in ages
            ]
            return [message.id for message in said if message]

    first, second, third, fourth = asyncio.run(play())
    main(["transcript"])
    assert capsys.readouterr().out.splitlines()[2:] == [
        "  Ember is ember@base-000400, then ember@base-000000",
        "",
        f"{first}\tEmber: Hi.",
        "  Ember is ember@base-000000 now",
        f"{second}\tEmber: Hi.",
        f"{third}\tEmber: Hi.",
        "  Ember is ember@base-000400 now",
        f"{fourth}\tEmber: Hi.",
        "",
        "(not ended yet)",
    ]
    shown = in_a_terminal("transcript").decode()
    assert "ember@base-000400, then ember@base-000000" in shown
    assert re.findall(r"is (ember@\S+) now", shown) == ["ember@base-000000", "ember@base-000400"]


def test_a_scene_is_found_by_number_or_name(played: int, capsys: pytest.CaptureFixture[str]) -> None:
    main(["transcript", "older"])
    assert "(ended: silence)" in capsys.readouterr().out
    main(["transcript", "2", "--last", "1", "--json"])
    transcript = json.loads(capsys.readouterr().out)
    assert transcript["scene"]["name"] == "meeting"
    assert [m["speaker"] for m in transcript["messages"]] == ["Ember"]
    main(["transcript", "meeting", "--json"])
    assert json.loads(capsys.readouterr().out)["messages"][0]["platform_id"] == str(2**60)
    main(["scenes"])
    assert [line.split("\t")[1] for line in capsys.readouterr().out.splitlines()] == [
        "name",
        "older",
        "meeting",
    ]
    main(["scenes", "--last", "1", "--json"])
    assert [s["name"] for s in json.loads(capsys.readouterr().out)] == ["meeting"]


def test_what_made_a_message_is_shown(played: int, capsys: pytest.CaptureFixture[str]) -> None:
    main(["register"])
    capsys.readouterr()
    main(["show", str(played)])
    out = capsys.readouterr().out
    for fact in (
        "address: ember@base-000400",
        f"weights: sha256 {'a' * 64}",
        "engine: embedded 0.1.0",
        "seed 7",
        "token ids: 5 1 9",
        "prompt: <Ash> Hi!\n<Ember>",
        "age: 1,000 parameters",
        ": Hm.",
    ):
        assert fact in out
    assert "\x1b" not in out
    main(["show", str(played), "--json"])
    shown = json.loads(capsys.readouterr().out)
    assert shown["generation"]["text"] == shown["message"]["text"] == "\x1b[2JHello.\nI am Ember."
    assert shown["generation"]["sampling"]["stop"] == ["\n"]
    assert [g["text"] for g in shown["siblings"]] == ["Hm."]


def test_what_is_kept_is_counted(played: int, capsys: pytest.CaptureFixture[str]) -> None:
    main(["stats"])
    assert "messages: 2: 1 discord, 1 self" in capsys.readouterr().out
    main(["stats", "--json"])
    assert json.loads(capsys.readouterr().out)["candidates"] == 1


def test_an_empty_house_says_what_to_do(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StoreError, match="nothing is kept yet"):
        main(["transcript"])
    main(["register"])
    with pytest.raises(StoreError, match="no scene was played yet"):
        main(["transcript"])
    with pytest.raises(UsageError, match="no scene called 'opera'"):
        main(["transcript", "opera"])
    with pytest.raises(StoreError, match="no message 7"):
        main(["show", "7"])
    capsys.readouterr()
    main(["scenes"])
    assert capsys.readouterr().out == "no scene was played yet\n"
    monkeypatch.setenv("SELVES_HOME", str(home / "elsewhere"))
    with pytest.raises(StoreError, match="no ages in"):
        main(["register"])
    assert not (home / "elsewhere" / "selves.db").exists()


@pytest.mark.parametrize("verb", ["", "register", "transcript", "scenes", "show", "writings", "stats"])
def test_help_has_examples(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        main([*verb.split(), "--help"])
    assert exit.value.code == 0
    assert f"  selves memory {verb}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["show", "x"], ["transcript", "--last", "0"], ["sing"]])
def test_misuse_exits_with_two(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 2


def in_a_terminal(*arguments: str) -> bytes:
    """Return what `selves memory` prints where there is a terminal."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "selves", "memory", *arguments]
    environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", "COLUMNS": "80"}
    environment.pop("NO_COLOR", None)
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=theirs, env=environment) as process:
        os.close(theirs)
        out = b""
        try:
            while data := os.read(ours, 4096):
                out += data
        except OSError:
            pass  # how Linux says that the other end has closed
    os.close(ours)
    assert process.returncode == 0, out
    return out


def test_a_terminal_shows_speakers_in_their_colours(played: int) -> None:
    out = in_a_terminal("transcript")
    assert re.search(rb"\x1b\[1;38;2;255;99;71m *Ember", out)  # tomato, bold
    assert b"\x1b[2J" not in out
    assert b"\\x1b[2JHello." in out
