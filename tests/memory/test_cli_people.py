"""`selves memory forget|expire|person|consent|permission`, as a user and as a program sees them."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import pytest

from memory.cli import main
from memory.store import open_store
from selves.errors import StoreError, UsageError
from selves.speech import Writing
from tests.memory.parts import NOON, SPEC, age, reading, utterance

SECRET = "my grandmother kept her wedding ring in the blue teapot until the winter of the flood"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A house where somebody on Discord told a secret, and an age wrote it into its diary."""
    monkeypatch.setenv("SELVES_HOME", str(tmp_path))
    monkeypatch.setenv("SELVES_CAST", str(tmp_path / "selves.toml"))
    monkeypatch.delenv("SELVES_DATABASE_URL", raising=False)
    folder = tmp_path / "checkpoints" / "ember" / "base-000400"
    young = age(folder)
    diary = Writing(kind="diary", utterance=utterance(f"Today: {SECRET}"))
    (folder / "diary.jsonl").write_text(f"{diary.model_dump_json()}\n")

    async def talk() -> None:
        async with open_store(f"sqlite:///{tmp_path}/selves.db", clock=lambda: NOON) as store:
            await store.register_age(young)
            scene = await store.begin_scene(SPEC, place="discord:1")
            heard = await store.hear(scene.id, platform_id=9, user_id=5, text=SECRET, created_at=NOON)
            said = utterance("Oh!", prompt=reading(heard.id, text=SECRET))
            await store.keep_turn(scene.id, speaker="Ember", utterances=[said], chosen=0)
            await store.say(scene.id, speaker="You", text="Hm.", origin="parlor")

    asyncio.run(talk())
    return tmp_path


def test_forgetting_says_what_it_takes_before_and_after(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["forget", "discord:5", "--dry-run"]) == 0
    out = capsys.readouterr().out
    diary = home / "checkpoints" / "ember" / "base-000400" / "diary.jsonl"
    assert out.splitlines() == [
        "person: guest-1 would be forgotten",
        "messages: 1 would be erased",
        "prompts: 1 that held their words would be erased",
        "quotations: 1 samples and 0 lines would be erased",
        "picks: 0 would be retracted",
        "feedback: 0 would be nobody's",
        f"  look into: {diary}",
    ]
    assert main(["forget", "guest-1", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["forgotten"]["messages"], report["forgotten"]["dry_run"]) == (1, False)
    assert report["diary_files"] == [str(diary)]
    assert main(["transcript"]) == 0
    out = capsys.readouterr().out
    assert "guest-1: [erased, because somebody asked to be forgotten]" in out
    assert main(["forget", "guest-1"]) == 0
    assert "messages: 0 erased" in capsys.readouterr().out
    with pytest.raises(StoreError, match="nobody is known as 'discord:5'"):
        main(["forget", "discord:5"])


def test_a_person_gets_all_that_is_kept_of_them(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["person", "export", "discord:5"])
    kept = json.loads(capsys.readouterr().out)
    assert kept["messages"][0]["text"] == SECRET
    assert kept["messages"][0]["platform_id"] == "9"
    main(["person", "list"])
    out = capsys.readouterr().out.splitlines()
    assert out[1].split("\t")[:4] == ["guest-1", "discord", "1", "nothing"]
    assert out[2].split("\t")[:4] == ["guest-2", "parlor", "1", "nothing"]
    main(["person", "list", "--json"])
    assert [p["person"] for p in json.loads(capsys.readouterr().out)] == ["guest-1", "guest-2"]
    with pytest.raises(UsageError, match="whose"):
        main(["person", "export"])


def test_words_expire_when_their_time_is_up(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["expire", "--json"])
    assert json.loads(capsys.readouterr().out) == {"expired": 1, "exports": []}
    main(["expire"])
    assert capsys.readouterr().out == "erased: 0 messages\n"


def test_what_a_person_allows_is_noted_and_shown(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["consent", "You"])
    assert capsys.readouterr().out == "nothing was said, so nothing is allowed\n"
    main(["consent", "You", "train", "--allow", "--notice", "1"])
    main(["consent", "You", "train", "--refuse", "--notice", "1", "--via", "letter"])
    capsys.readouterr()
    main(["consent", "You", "--json"])
    said = json.loads(capsys.readouterr().out)
    assert [(s["granted"], s["via"], s["counts"]) for s in said] == [
        (True, "cli", False),
        (False, "letter", True),
    ]
    main(["consent", "You"])
    assert "train\trefused\t1\tletter\t" in capsys.readouterr().out
    for half in (["train"], ["--allow"], ["train", "--allow"]):
        with pytest.raises(UsageError):
            main(["consent", "You", *half])


def test_what_a_platform_permits_is_noted_and_shown(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["permission"])
    assert capsys.readouterr().out == "no platform said anything, so nothing is permitted\n"
    main(["permission", "discord", "train", "--allow", "--statement", "letter of 1 May"])
    assert "discord\ttrain\tpermitted\tletter of 1 May\t" in capsys.readouterr().out
    main(["permission", "discord", "train", "--refuse", "--statement", "letter of 2 May", "--json"])
    said = json.loads(capsys.readouterr().out)
    assert [(s["granted"], s["counts"]) for s in said] == [(True, False), (False, True)]
    with pytest.raises(UsageError, match="where did the platform say so"):
        main(["permission", "discord", "train", "--allow"])
    with pytest.raises(UsageError, match="nobody speaks on a platform 'Discord'"):
        main(["permission", "Discord", "train", "--allow", "--statement", "letter of 3 May"])


def test_words_that_were_just_said_do_not_expire(home: Path) -> None:
    async def expire() -> int:
        async with open_store(f"sqlite:///{home}/selves.db") as store:
            return await store.expire(NOON + timedelta(days=29))

    assert asyncio.run(expire()) == 0
