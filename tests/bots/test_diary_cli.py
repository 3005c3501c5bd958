"""`selves diary`: writing when asked, one of several marked, runs of others followed, letters as threads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bots import diary_cli
from selves.cli import run_command
from selves.lineage import Address, find_age, list_ages, read_diary

OLD, YOUNG = "tiny@base-000016", "tiny@base-000000"
Run = Callable[..., str]


@pytest.fixture
def home(checkpoints: Path, tmp_path: Path) -> Path:
    home = tmp_path / "home"
    shutil.copytree(checkpoints / "tiny", home / "checkpoints" / "tiny")
    return home


@pytest.fixture
def run(
    home: Path,
    serving_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    monkeypatch.setenv("SELVES_HOME", str(home))
    monkeypatch.setenv("SELVES_URL", serving_url)
    monkeypatch.setenv("SELVES_CAST", str(tmp_path / "selves.toml"))

    def call(*argv: object, code: int = 0) -> str:
        returned = run_command(diary_cli.main, list(map(str, argv)))
        said = capsys.readouterr()
        assert returned == code, said.err
        return said.out if code == 0 else said.err

    return call


def test_an_age_writes_when_it_is_asked_and_one_of_several_is_marked(run: Run, home: Path) -> None:
    from memory.cli import main as memory

    said = run("write", OLD, "--kind", "poem", "--kind", "letter-past", "--samples", "2")
    assert said.startswith(OLD)
    written = find_age(home / "checkpoints", OLD).writings()
    assert [(w.kind, w.number, w.occasion, w.to) for w in written] == [
        ("poem", 0, "asked", None),
        ("poem", 1, "asked", None),
        ("letter-past", 0, "asked", "tiny@base-000004"),
        ("letter-past", 1, "asked", "tiny@base-000004"),
    ]
    assert all(w.utterance.engine == "embedded" and w.utterance.token_ids for w in written)
    run("write", OLD, "--kind", "poem")
    again = json.loads(run("show", "tiny", "--kind", "poem", "--json"))
    assert [w["number"] for w in again] == [0, 1, 2], "what was written stays"
    assert len({w["utterance"]["sampling"]["seed"] for w in again}) == 3
    run("mark", OLD, "poem", 0)
    run("mark", OLD, "poem", 2)
    assert "wrote no poem 3" in run("mark", OLD, "poem", 3, code=2)
    run("mark", OLD, "letter-past", 0)
    assert memory(["picks"]) in (0, None)


def test_the_file_of_kinds_is_printed_to_be_copied(run: Run, tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(run("kinds", "--toml").replace("[kind.poem]", "[kind.ballad]"))
    assert "ballad" in json.loads(run("kinds", "--json", "--file", mine))
    assert "there is no kind of writing called 'sonnet'" in run("write", OLD, "--kind", "sonnet", code=2)


def test_a_diary_that_is_not_there_is_told_of(run: Run, home: Path) -> None:
    said = run("show", "willow", code=2)
    assert "there is no lineage 'willow'" in said
    assert "tiny" in said
    assert "selves diary write tiny@" in run("show", "tiny", "--kind", "haiku")
    assert json.loads(run("show", "tiny", "--kind", "haiku", "--json")) == []
    shutil.rmtree(home / "checkpoints")
    assert "selves train run" in run("show", code=1)
    assert "selves train run" in run("show", "tiny", code=2)


def test_no_samples_are_not_to_be_had(run: Run) -> None:
    with pytest.raises(SystemExit):
        run("write", OLD, "--kind", "poem", "--samples", 0)


def test_the_checkpoints_of_a_trainer_become_ages_and_its_own_diary_comes_along(
    run: Run, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from selves.lineage import add_to_diary
    from selves.speech import Writing
    from tests.memory.parts import utterance

    monkeypatch.delenv("SELVES_URL")  # the ages that arrive are of this house alone
    source = tmp_path / "run"

    def keep(step: int) -> None:
        folder = source / f"checkpoint-{step}"
        shutil.copytree(home / "checkpoints" / "tiny" / "chat-000008", folder)
        (folder / "age.json").unlink()
        (folder / "trainer_state.json").write_text('{"log_history": []}')

    keep(4)
    run("watch", source, "--as", "willow", "--once", "--kind", "poem")
    [age] = list_ages(home / "checkpoints", "willow")
    assert [(w.kind, w.utterance.address) for w in age.writings()] == [("poem", "willow@import-000004")]
    keep(8)
    (source / "checkpoint-9").mkdir()  # not whole yet
    own: dict[str, Any] = {"address": "willow@import-000008", "weights_sha256": age.card.weights_sha256}
    between = utterance("A spike!", address="willow@import-000006")
    wrote = [
        Writing(kind="poem", utterance=utterance("Mine.", **own)),
        Writing(kind="dream", utterance=between),
    ]
    add_to_diary(source / "diary.jsonl", wrote)
    for _ in range(2):
        run("watch", source, "--as", "willow", "--once", "--kind", "poem")
    first, second = list_ages(home / "checkpoints", "willow")
    assert len(first.writings()) == 1
    assert [w.utterance.text for w in second.writings()] == ["Mine."], "it has written itself already"
    assert "A spike!" in run("show", "willow"), "also what was written between two ages"
    assert len(read_diary(home / "checkpoints" / "willow" / "diary.jsonl")) == 3
    assert "say --as NAME" in run("watch", source, "--once", code=2)


def test_ages_of_nanochat_and_ages_of_ours_that_never_wrote_do_so(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("watch", home / "checkpoints" / "tiny", "--once", "--kind", "letter")
    assert all(len(age.writings()) == 1 for age in list_ages(home / "checkpoints", "tiny"))
    monkeypatch.delenv("SELVES_URL")
    nanochat = Path("tests/fixtures/nanochat/base/base_checkpoints/d3").absolute()
    run("watch", nanochat, "--as", "nano", "--once", "--kind", "diary")
    [age] = list_ages(home / "checkpoints", "nano")
    assert age.address == Address("nano", "import-000300")
    assert [w.kind for w in age.writings()] == ["diary"]


def test_letters_wait_are_answered_by_past_and_future_and_read_as_threads(run: Run) -> None:
    run("write", YOUNG, OLD, "--kind", "letter", "--kind", "letter-past")
    waiting = json.loads(run("letters", "--json"))
    assert [(t["to"], t["reader"], t["state"]) for t in waiting] == [
        ("future", "tiny@base-000004", "waits to be answered"),
        ("future", "tiny@chat-000008", "waits to be answered"),
        ("tiny@base-000004", "tiny@base-000004", "waits to be answered"),
    ]
    number = waiting[0]["letter"]
    for turns in (2, 3):
        thread = run("letters", number, "--answer")
        assert thread.count("\n#") == turns
    [thread] = json.loads(run("letters", number, "--json"))
    assert [m["address"] for m in thread["messages"]] == [YOUNG, "tiny@base-000004", YOUNG]
    assert thread["state"] == "answered"
    assert "there is no letter 999" in run("letters", 999, code=2)


def test_all_of_the_cast_write_about_a_day_in_which_they_spoke(run: Run, tmp_path: Path) -> None:
    (tmp_path / "selves.toml").write_text(
        f'[[persona]]\nname = "Spark"\naddress = "{YOUNG}"\n[[persona]]\nname = "Ash"\naddress = "{OLD}"\n'
        '[[scene]]\nname = "meeting"\ncast = ["Spark", "Ash"]\nopening = "Hi!"\nmax_turns = 3\n'
    )
    from bots.scene_cli import main as scene

    assert run_command(scene, ["play", "meeting"]) == 0
    run("kinds")
    entries = json.loads(run("week", "--json"))
    assert [entry["who"] for entry in entries] == ["Spark", "Ash"]
    assert all(line["cites"] for entry in entries for line in entry["lines"])
    assert "said nothing on 2020-01-01" in run("day", "Ash", "--date", "2020-01-01")
    assert "is still to come" in run("day", "Ash", "--date", "2999-01-01", code=2)
