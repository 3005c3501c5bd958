"""`selves memory search|more|score|pick|picks|visit`, as a user and as a program sees them."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from memory.cli import main
from memory.store import open_store
from selves.errors import StoreError, UsageError
from tests.memory.parts import NOON, SPEC, utterance

LINES = ("I am the lamp.", "You are \x1b[2J the moon.", "I am the lamp!")


@pytest.fixture
def ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A scene of four lines, the last of a person; returns the messages' ids."""
    monkeypatch.setenv("SELVES_HOME", str(tmp_path))
    monkeypatch.setenv("SELVES_CAST", str(tmp_path / "selves.toml"))
    monkeypatch.delenv("SELVES_DATABASE_URL", raising=False)

    async def play() -> list[int]:
        made = []
        async with open_store(f"sqlite:///{tmp_path}/selves.db") as store:
            scene = await store.begin_scene(SPEC, place="discord:1")
            for line in LINES:
                samples = [utterance("Never posted."), utterance(line)]
                message = await store.keep_turn(scene.id, speaker="Ember", utterances=samples, chosen=1)
                assert message
                made.append(message.id)
            heard = await store.hear(scene.id, platform_id=1, user_id=5, text="Whose lamp?", created_at=NOON)
            return [*made, heard.id]

    return asyncio.run(play())


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 0
    return capsys.readouterr().out


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    return json.loads(run(capsys, *arguments, "--json"))


def test_a_search_prints_a_line_for_each_text(ids: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "search", "lamp") == f"{ids[2]}\tEmber: I am the lamp!\t(and 1 like it)\n"
    assert run(capsys, "search", "lamp", "--no-fold") == (
        f"{ids[2]}\tEmber: I am the lamp!\n{ids[0]}\tEmber: I am the lamp.\n"
    )
    assert run(capsys, "search", "moon") == f"{ids[1]}\tEmber: You are \\x1b[2J the moon.\n"
    assert run(capsys, "search", "sun") == "nothing was found\n"
    assert "g1\tEmber: Never posted." in run(capsys, "search", "--kind", "candidate", "--no-fold")


def test_a_program_gets_pages_with_marks_and_places(
    ids: list[int], capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first = run_json(capsys, "search", "lamp", "--limit", "1", "--no-fold")
    (hit,) = first["hits"]
    assert hit["found"]["message_id"] == ids[2]
    assert hit["snippet"] == {"text": "I am the lamp!", "marks": [[9, 13]]}
    assert f"--after {first['next']}" in caplog.text
    second = run_json(capsys, "search", "lamp", "--limit", "1", "--no-fold", "--after", first["next"])
    assert second["hits"][0]["found"]["message_id"] == ids[0]


def test_filters_are_options(ids: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    def found(*options: str) -> list[int]:
        page = run_json(capsys, "search", "lamp", "--no-fold", *options)
        return [hit["found"]["message_id"] for hit in page["hits"]]

    assert found("--people", "--origin", "discord") == [ids[3]]
    assert found("--age", "ember@base-000400", "--speaker", "Ember", "--stage", "base") == [ids[2], ids[0]]
    assert found("--lineage", "ash") == []
    assert found("--until", "2020-01-01") == found("--since", "2100-01-01T00:00+02:00") == []
    assert found("--kind", "letter") == []
    assert found("--scene", "1", "--kind", "any") == [ids[2], ids[0]]
    run(capsys, "pick", str(ids[0]))
    run(capsys, "visit", str(ids[2]))
    assert found("--starred") == [ids[0]]
    assert found("--unvisited") == [ids[0]]
    run(capsys, "score")
    assert found("--score", "novelty>=1") == [ids[0]]
    assert run_json(capsys, "search", "lamp", "--sort", "novelty")["hits"][0]["scores"]["novelty"] == 1


def test_samples_are_scored_against_files(
    ids: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "corpus.txt").write_text("I am the lamp. " * 9)
    assert run(capsys, "score", "--against", str(tmp_path / "corpus.txt")) == "24 scores of 6 samples\n"
    assert run_json(capsys, "score") == {"samples": 0, "kept": 0}
    with pytest.raises(UsageError, match="cannot be read"):
        main(["score", "--against", str(tmp_path / "nowhere.txt")])


def test_more_of_the_same_is_found(ids: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    page = run_json(capsys, "more", str(ids[3]))
    assert [hit["found"]["message_id"] for hit in page["hits"]] == [ids[2]]


def test_picks_are_made_listed_and_ended(ids: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "pick", str(ids[0])) == f"pick 1: star on {ids[0]}\n"
    run(capsys, "pick", str(ids[0]), "--quote", "the lamp")
    run(capsys, "pick", "g1", "--tag", "early", "--editor", "Ann")
    assert run(capsys, "picks", "--scene", "1") == (
        f"1\tstar\t{ids[0]}\tEmber: I am the lamp.\t(100% by a model, 1 of 2 drawn: 1.0 bits)\n"
        f"2\tquote\t{ids[0]}\tEmber: the lamp\t(100% by a model, 1 of 2 drawn: 1.0 bits)\n"
        "3\ttag early\tg1\tEmber: Never posted.\t(100% by a model, 1 of 2 drawn: 1.0 bits)\n"
        "scene 1, meeting: 70% by a model, 1 of 6 drawn: 2.6 bits\n"
    )
    assert run(capsys, "pick", "--retract", "1") == f"pick 4: retract of pick 1 on {ids[0]}\n"
    listed = run_json(capsys, "picks", "--by", "Ann")
    assert [one["pick"]["value"] for one in listed["picks"]] == ["early"]
    assert [one["pick"]["id"] for one in run_json(capsys, "picks", "--kind", "quote")["picks"]] == [2]
    assert run(capsys, "pick", str(ids[0]), "--span", "0:4") == f"pick 5: quote on {ids[0]}\n"
    assert run(capsys, "pick", str(ids[0]), "--note", "Yes!") == f"pick 6: note on {ids[0]}\n"


def test_what_was_read_is_noted(ids: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "visit", "--scene", "1") == "4 newly read\n"
    assert run_json(capsys, "visit", "--scene", "1") == {"changed": 0}
    assert run(capsys, "visit", str(ids[0]), "--undo") == "1 to be read again\n"


def test_misuse_is_said_in_plain_words(ids: list[int]) -> None:
    for arguments, words in (
        (["search", "-lamp !"], "no word to look for"),
        (["search", "lamp", "--age", "ember"], "not an address"),
        (["search", "lamp", "--score", "beauty>=1"], "no bound"),
        (["search", "lamp", "--origin", "discord"], "people's"),
        (["search", "lamp", "--since", "2026-01-02", "--until", "2026-01-01"], "not before"),
        (["pick"], "which text"),
        (["pick", "x7"], "names no text"),
        (["pick", str(ids[0]), "--span", "x"], "no span"),
        (["pick", str(ids[0]), "--quote", "sun"], "does not stand"),
        (["visit"], "which messages"),
    ):
        with pytest.raises(UsageError, match=words):
            main(arguments)
    for arguments in (
        ["pick", "999"],
        ["more", "999"],
        ["picks", "--scene", "99"],
        ["visit", "--scene", "99"],
    ):
        with pytest.raises(StoreError, match="there is no"):
            main(arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["search", "--since", "soon"],
        ["search", "--until", "9999-12-31T23:59:00-14:00"],
        ["search", "--limit", "0"],
        ["search", "--sort", "beauty"],
    ],
)
def test_misspelled_options_exit_with_two(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 2


@pytest.mark.parametrize("verb", ["search", "more", "score", "pick", "picks", "visit"])
def test_help_has_examples(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        main([verb, "--help"])
    assert exit.value.code == 0
    assert f"  selves memory {verb}" in capsys.readouterr().out


def test_a_terminal_shows_what_was_looked_for_and_obeys_nothing(ids: list[int]) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "selves", "memory", "search", "moon"]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80"}
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
    assert b"\x1b[1;4mmoon\x1b[0m" in out
    assert b"\x1b[2J" not in out
    assert b"\\x1b[2J" in out
