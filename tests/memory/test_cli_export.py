"""`selves memory export|exports|import|vote|ratings` as a user and as a program sees them."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import pytest

from memory.cli import main
from memory.store import open_store
from selves.errors import StoreError, UsageError
from tests.memory.parts import SPEC, age, utterance

LOG = "Claude 1:\nls\n\nClaude 2:\ntotal 42\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A house with a turn of two samples, and a diary line of each of two ages."""
    monkeypatch.setenv("SELVES_HOME", str(tmp_path))
    monkeypatch.setenv("SELVES_CAST", str(tmp_path / "selves.toml"))
    monkeypatch.delenv("SELVES_DATABASE_URL", raising=False)

    async def play() -> None:
        async with open_store(f"sqlite:///{tmp_path}/selves.db") as store:
            for step in ("base-000100", "base-000400"):
                folder = tmp_path / "checkpoints" / "ember" / step
                await store.register_age(age_at(folder, f"ember@{step}"))
            scene = await store.begin_scene(SPEC, place="terminal")
            said = [utterance("Hello."), utterance("hm \x1b[31m")]
            await store.keep_turn(scene.id, speaker="Ember", utterances=said, chosen=0)

    def age_at(folder: Path, address: str) -> Any:
        return age(folder, address, kinds=("diary",))

    asyncio.run(play())
    return tmp_path


def answer(monkeypatch: pytest.MonkeyPatch, *answers: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{one}\n" for one in answers)))


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main(arguments) == 0
    return capsys.readouterr().out


def test_a_vote_is_blind_until_it_is_given_and_then_can_be_exported(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch, "what?", "1")
    shown = run(capsys, "vote")
    before, after = shown.split("1 was ")
    assert "ember@base-000400" not in before
    assert "\x1b" not in shown
    assert "\\x1b" in before
    assert "ember@base-000400" in after
    answer(monkeypatch, "1")
    assert "nothing to vote on" in run(capsys, "vote")
    counted = json.loads(run(capsys, "export", "--format", "dpo", "--dry-run", "--json"))
    assert (counted["rows"], counted["id"]) == (1, None)
    out = run(capsys, "export", "--format", "dpo", str(home / "pairs"))
    assert f"export 1: {home}/pairs: 1 rows of dpo" in out
    assert "vote, strong\t1" in out
    listed = json.loads(run(capsys, "exports", "--json"))
    assert [(one["format"], one["rows"], one["folder"]) for one in listed] == [("dpo", 1, f"{home}/pairs")]
    run(capsys, "export", "--again", "1", str(home / "again"))
    assert (home / "again/README.md").read_bytes() == (home / "pairs/README.md").read_bytes()
    assert "1\tdpo\ttrain\t1" in run(capsys, "exports")


def test_a_line_is_liked_reported_and_neither(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def labels() -> int:
        return json.loads(run(capsys, "export", "--format", "kto", "--dry-run", "--json"))["rows"]  # type: ignore[no-any-return]

    assert json.loads(run(capsys, "react", "1", "up", "--json"))["reaction"] == "up"
    run(capsys, "react", "1", "down")
    assert labels() == 1
    run(capsys, "react", "1", "reported")
    assert labels() == 0
    run(capsys, "react", "1", "none")
    assert labels() == 0
    run(capsys, "react", "1", "up")
    assert labels() == 1
    with pytest.raises(StoreError, match="no message 99"):
        main(["react", "99", "up"])

    async def open_scene() -> None:
        async with open_store(f"sqlite:///{home}/selves.db") as store:
            await store.say(1, speaker="operator", text="Begin.", origin="operator")

    asyncio.run(open_scene())
    with pytest.raises(UsageError, match="is no self's"):
        main(["react", "2", "up"])


def test_skipping_and_leaving_say_nothing(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for answers in (("s",), ("q",), ()):
        answer(monkeypatch, *answers)
        assert json.loads(run(capsys, "vote", "--json")) == {"votes": 0, "shown": 1}


def test_ages_are_compared_by_what_they_wrote_and_rated(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "nobody voted between ages yet" in run(capsys, "ratings")
    answer(monkeypatch, "1")
    assert "1 was ember@base-000" in run(capsys, "vote", "--ages")
    rated = json.loads(run(capsys, "ratings", "--json"))
    assert sorted(one["age"] for one in rated["ratings"]) == ["ember@base-000100", "ember@base-000400"]
    assert (rated["votes"], rated["blind"], rated["shown_first_won"]) == (1, 1, 1)
    assert "ember@base-000400" in run(capsys, "ratings", "--lineage", "ember")
    # they rate ages, and are no pairs to train on
    assert json.loads(run(capsys, "export", "--format", "dpo", "--dry-run", "--json"))["rows"] == 0


def test_logs_come_in_and_a_bad_one_does_not_keep_the_others_out(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "log.txt").write_text(LOG)
    (home / "bad.txt").write_text("nothing")
    (counted,) = json.loads(run(capsys, "import", str(home / "log.txt"), "--dry-run", "--json"))
    assert (counted["new"], counted["scene_id"]) == (2, None)
    with pytest.raises(UsageError, match="no log of a conversation"):
        main(["import", str(home / "bad.txt"), str(home / "log.txt")])
    assert "2 log\t2\t0" in capsys.readouterr().out
    (again,) = json.loads(run(capsys, "import", str(home / "log.txt"), "--json"))
    assert (again["new"], again["known"]) == (0, 2)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--format", "sft"], "needs a folder"),
        (["--format", "sft", "--split", "2", "x"], "less than 1"),
        (["--format", "dpo", "--purpose", "publish", "x"], "for training and nothing else"),
        (["--format", "dce", "--parquet", "x"], "no split and no parquet"),
        (["--format", "dce", "--purpose", "train", "x"], "to look at"),
        (["--format", "transcript", "--source", "vote", "x"], "not made from feedback"),
        (["--again", "1", "--dry-run"], "leave --dry-run out"),
    ],
)
def test_what_makes_no_sense_is_refused_in_plain_words(
    home: Path, arguments: list[str], problem: str
) -> None:
    with pytest.raises(UsageError) as refused:
        main(["export", *arguments])
    assert problem in str(refused.value)


def test_nothing_to_export_says_why(home: Path) -> None:
    with pytest.raises(StoreError, match="nothing to export"):
        main(["export", "--format", "dpo", str(home / "x")])


def test_a_date_that_is_none_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["export", "--format", "sft", "--since", "yesterday", "--dry-run"])
    assert "'yesterday' is no date like 2026-05-01" in capsys.readouterr().err
    counted = run(capsys, "export", "--format", "sft", "--since", "2026-05-02", "--dry-run", "--json")
    assert json.loads(counted)["rows"] == 0
    counted = run(capsys, "export", "--format", "sft", "--since", "2026-05-01", "--dry-run", "--json")
    assert json.loads(counted)["rows"] == 1
