"""A rehearsal: everybody and every scene in the terminal, without Discord."""

from __future__ import annotations

from pathlib import Path

import pytest

from bots import cli
from selves.errors import UsageError

CAST = """
[[persona]]
name = "Ember"
address = "tiny@chat-000008"
sampling = { max_tokens = 12, temperature = 1.0 }

[[persona]]
name = "Spark"
address = "tiny@base-000000"
sampling = { max_tokens = 12, temperature = 1.0 }

[[persona]]
name = "Hoarse"
address = "nobody@base-000000"

[[scene]]
name = "meeting"
cast = ["Ember", "Spark"]
opening = "Hi! How are you today?"
max_turns = 50
pause_s = 3600

[[scene]]
name = "alone"
cast = ["Hoarse", "Ember"]
"""


@pytest.fixture
def cast_file(tmp_path: Path, serving_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SELVES_HOME", str(tmp_path))
    monkeypatch.setenv("SELVES_CAST", str(tmp_path / "selves.toml"))
    monkeypatch.setenv("SELVES_URL", serving_url)
    monkeypatch.delenv("SELVES_DATABASE_URL", raising=False)
    path = tmp_path / "selves.toml"
    path.write_text(CAST, "utf-8")
    return path


def test_scenes_are_played_shortened_and_what_cannot_be_played_is_named(
    cast_file: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert cast_file.exists()
    assert cli.main(["rehearse", "--turns", "2"]) == 1
    shown = capsys.readouterr().out
    assert "meeting" in shown
    assert "Host: Hi! How are you today?" in shown
    assert "roll-call" in shown
    assert "Hoarse cannot be heard: the engine has no nobody@base-000000" in caplog.text
    assert "not rehearsed: Hoarse, alone" in caplog.text


def test_everybody_answers_the_roll_call(cast_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = CAST[: CAST.index('[[persona]]\nname = "Hoarse"')]
    cast_file.write_text(kept, "utf-8")
    assert cli.main(["rehearse"]) == 0
    shown = capsys.readouterr().out
    assert "roll-call" in shown
    assert "Who is here" in shown


def test_a_scene_that_there_is_not_is_named_before_anything_starts(cast_file: Path) -> None:
    with pytest.raises(UsageError, match="there is no scene 'nothing'"):
        cli.main(["rehearse", "nothing"])
    assert not (cast_file.parent / "selves.db").exists()
