"""`selves memory backup|restore|check|migrate|vacuum`, as a user and as a program sees them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from memory import database, migrations
from memory.cli import main
from memory.rows import nonce
from memory.store import open_store, utc_now
from selves.errors import StoreError
from tests.memory.parts import SPEC, run_sql, utterance

Printed = pytest.CaptureFixture[str]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A house in which somebody spoke with Ember."""
    monkeypatch.setenv("SELVES_HOME", str(tmp_path))
    monkeypatch.delenv("SELVES_DATABASE_URL", raising=False)

    async def talk() -> None:
        async with open_store(f"sqlite:///{tmp_path}/selves.db") as store:
            scene = await store.begin_scene(SPEC, place="discord:1")
            await store.hear(scene.id, platform_id=1, user_id=5, text="Hi", created_at=utc_now())
            await store.keep_turn(scene.id, speaker="Ember", utterances=[utterance()], chosen=0)

    asyncio.run(talk())
    return tmp_path


def transcript(capsys: Printed) -> list[str]:
    capsys.readouterr()
    main(["transcript", "--json"])
    return [message["text"] for message in json.loads(capsys.readouterr().out)["messages"]]


def test_a_house_is_backed_up_and_restored(home: Path, capsys: Printed) -> None:
    said = transcript(capsys)
    assert main(["backup", "--keys", str(home / "keys.json"), "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert Path(made["file"]).parent == home / "backups"
    assert made["rows"]["message"] == 2
    (home / "selves.db").unlink()
    assert main(["restore", made["file"], "--keys", str(home / "keys.json"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["shut"] == 0
    assert transcript(capsys) == said
    assert main(["restore", made["file"], "--replace"]) == 0
    assert "the old one is kept as" in capsys.readouterr().out
    assert transcript(capsys) == said
    with pytest.raises(StoreError, match="--replace"):
        main(["restore", made["file"]])


def test_a_backup_without_keys_says_what_stays_shut(home: Path, capsys: Printed) -> None:
    main(["backup", str(home / "b.db")])
    assert "rows" in capsys.readouterr().out
    (home / "selves.db").unlink()
    main(["restore", str(home / "b.db")])
    assert "the words of 1 of 1 people stay shut" in capsys.readouterr().out


def test_a_check_says_what_it_looked_at_and_fails_when_something_is_wrong(
    home: Path, capsys: Printed
) -> None:
    assert main(["check"]) == 0
    assert "message: 2\n" in capsys.readouterr().out
    assert main(["check", "--newest", "1"]) == 0
    assert "message: 1\n" in capsys.readouterr().out
    run_sql(f"sqlite:///{home}/selves.db", "UPDATE scene SET messages = 7")
    with pytest.raises(StoreError, match="1 of these things should not be"):
        main(["check", "--json"])
    assert json.loads(capsys.readouterr().out)["problems"] == ["messages of a scene are missing: 1"]


def test_vacuuming_says_what_it_gave_back(home: Path, capsys: Printed) -> None:
    assert main(["vacuum", "--json"]) == 0
    sizes = json.loads(capsys.readouterr().out)
    assert sizes["bytes_after"] <= sizes["bytes_before"] + 4096 * 8
    assert main(["vacuum"]) == 0
    assert " MB -> " in capsys.readouterr().out


SPEC_JSON = '{"name": "meeting", "cast": ["Ember", "Ash"]}'
MESSAGE = (
    "INSERT INTO message (scene_id, sequence, speaker, person_id, origin, text, nonce, place, status, "
    "created_at) VALUES (1, {sequence}, '{speaker}', {person}, '{origin}', '{text}', '{nonce}', 'discord:1', "
    "'posted', '2026-05-01 12:00:00')"
)
OLDER = (
    "INSERT INTO person (platform, user_hash, pseudonym, created_at) "
    "VALUES ('discord', 'aa', 'guest-1', '2026-05-01 12:00:00')",
    "UPDATE house SET guests = 1",
    "INSERT INTO scene (name, kind, place, premise, spec, status, messages, turns, started_at) VALUES "
    f"('meeting', 'conversation', 'discord:1', '', '{SPEC_JSON}', 'open', 2, 1, '2026-05-01 12:00:00')",
)


def test_a_database_of_an_older_version_is_brought_up_to_date_without_loss(
    empty_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    async def make_older() -> str:
        engine = database.create_engine(database.parse_url(empty_url), lock_wait_s=5)
        try:
            async with database.writing(engine).begin() as connection:
                await connection.run_sync(migrations.upgrade, "0001")
                house = await connection.exec_driver_sql("SELECT house_id FROM house")
                return str(house.scalar_one())
        finally:
            await engine.dispose()

    house_id = asyncio.run(make_older())
    said = (("guest-1", 1, "discord", "I came by boat"), ("Host", "NULL", "operator", "Welcome"))
    messages = [
        MESSAGE.format(
            sequence=number,
            nonce=nonce(house_id, 1, number),
            speaker=who,
            person=person,
            origin=origin,
            text=text,
        )
        for number, (who, person, origin, text) in enumerate(said, 1)
    ]
    for statement in (*OLDER, *messages):
        run_sql(empty_url, statement)
    monkeypatch.setenv("SELVES_HOME", str(tmp_path))
    monkeypatch.setenv("SELVES_DATABASE_URL", empty_url)
    assert main(["migrate"]) == 0
    assert capsys.readouterr().out == f"schema 0001 -> {database.HEAD}\n"
    assert main(["migrate", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"before": database.HEAD, "now": database.HEAD}
    assert transcript(capsys) == ["I came by boat", "Welcome"]
    assert main(["check"]) == 0


def test_migrating_makes_no_empty_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELVES_HOME", str(tmp_path))
    monkeypatch.delenv("SELVES_DATABASE_URL", raising=False)
    with pytest.raises(StoreError, match="nothing is kept yet"):
        main(["migrate"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", ["backup", "restore", "check", "migrate", "vacuum"])
@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda path: path.write_bytes(b"no database at all " * 300), "is damaged, or is no database"),
        (
            lambda path: run_sql(f"sqlite:///{path}", "UPDATE alembic_version SET version_num = '9999'"),
            "newer version of Selves",
        ),
    ],
)
def test_a_database_that_cannot_be_used_is_one_clear_error(
    home: Path, verb: str, spoil: Callable[[Path], None], problem: str
) -> None:
    main(["backup", str(home / "b.db")])
    spoil(home / "selves.db")
    arguments = {"restore": ["restore", str(home / "b.db"), "--replace"]}.get(verb, [verb])
    with pytest.raises(StoreError, match=problem):
        main(arguments)


def test_errors_have_no_traceback(home: Path) -> None:
    (home / "selves.db").write_bytes(b"no database at all " * 300)
    for arguments in (["check"], ["vacuum"], ["restore", "nowhere.db"]):
        done = subprocess.run(
            [sys.executable, "-m", "selves", "memory", *arguments],
            env={**os.environ, "SELVES_HOME": str(home)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert done.stderr.startswith("selves: ")
        assert "fix: " in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout == ""


@pytest.mark.parametrize("verb", ["backup", "restore", "check", "migrate", "vacuum"])
def test_help_has_examples(verb: str, capsys: Printed) -> None:
    with pytest.raises(SystemExit) as exit:
        main([verb, "--help"])
    assert exit.value.code == 0
    assert f"selves memory {verb}" in capsys.readouterr().out
