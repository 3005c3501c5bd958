"""`selves bots run` as a user starts it: killed between write and send, and nothing is said twice."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from bots import cli
from tests.bots.discord_house import POSTS, SHORT, DiscordHouse, eventually, open_house

CAST = """
[discord]
registrar_token = "TOKEN_REGISTRAR"
channels = [{channel}]

[[persona]]
name = "Ember"
address = "tiny@chat-000008"
token = "TOKEN_EMBER"
sampling = {sampling}

[[persona]]
name = "Spark"
address = "tiny@base-000000"
token = "TOKEN_SPARK"

[[scene]]
name = "meeting"
cast = ["Ember", "Spark"]

[[schedule]]
scene = "meeting"
cron = "30 20 * * sun"
timezone = "Europe/Berlin"
channel = {channel}
"""


@pytest.fixture
async def house(tmp_path: Path, serving_url: str) -> AsyncIterator[DiscordHouse]:
    async with open_house(tmp_path, serving_url) as opened:
        write_cast(opened)
        yield opened


def write_cast(house: DiscordHouse) -> None:
    """Make the cast file that a `selves bots` of this house reads."""
    sampling = "{ " + ", ".join(f"{k} = {v}" for k, v in SHORT.items()) + " }"
    cast = CAST.replace("{channel}", str(house.room.id)).replace("{sampling}", sampling)
    (house.path / "selves.toml").write_text(cast, "utf-8")


def environment_of(house: DiscordHouse) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("SELVES_", "TOKEN_"))}
    ours = {
        "SELVES_HOME": str(house.path),
        "SELVES_CAST": str(house.path / "selves.toml"),
        "SELVES_URL": house.serving_url,
    }
    return clean | ours | house.double.environment | house.environment()


@asynccontextmanager
async def bots(house: DiscordHouse, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "selves", "bots", *arguments),
        env=environment_of(house),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def kill(process: asyncio.subprocess.Process) -> None:
    process.kill()
    await process.wait()


def statuses(house: DiscordHouse) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(house.path / "selves.db")) as database:
        return database.execute("SELECT speaker, status FROM message ORDER BY id").fetchall()


@pytest.mark.parametrize("arrived", [False, True], ids=["before it was sent", "before its receipt came"])
async def test_a_killed_process_posts_its_last_line_exactly_once(house: DiscordHouse, arrived: bool) -> None:
    ember = house.selves["Ember"]
    release = asyncio.Event()
    fault = house.double.fail("POST", POSTS, bot=ember, hold=release, applied=arrived)
    async with bots(house, "run") as process:
        await house.double.until(lambda: house.double.is_online(house.registrar, ember))
        asked = house.anna.post(house.room, f"{house.double.mention(ember)} hello")
        await house.double.until(lambda: fault.met)
        await kill(process)
    assert statuses(house) == [("guest-1", "posted"), ("Ember", "pending")]
    assert len(house.said()) == arrived
    release.set()
    async with bots(house, "run") as process:

        async def posted() -> bool:
            return statuses(house) == [("guest-1", "posted"), ("Ember", "posted")]

        await eventually(posted)
        process.send_signal(signal.SIGTERM)
        _, stderr = await process.communicate()
        assert process.returncode == 0
    [answer] = house.said()
    nonces = {request.body["nonce"] for request in house.double.requests("POST", "/messages", by=ember)}
    assert answer.reply_to_id == asked.id
    assert nonces == {answer.nonce}
    assert "good night" in stderr.decode()
    assert not [token for token in house.environment().values() if token in stderr.decode()]


async def test_a_line_whose_nonce_is_forgotten_is_looked_for_before_it_is_posted_again(
    house: DiscordHouse,
) -> None:
    ember = house.selves["Ember"]
    fault = house.double.fail("POST", POSTS, bot=ember, hold=asyncio.Event(), applied=True)
    async with house.awake():
        house.anna.post(house.room, f"{house.double.mention(ember)} hello")
        await house.double.until(lambda: fault.met)
    house.double.forget_nonces()
    with closing(sqlite3.connect(house.path / "selves.db")) as database, database:
        database.execute(
            "UPDATE message SET created_at = datetime(created_at, '-50 minutes') WHERE speaker = 'Ember'"
        )
    async with house.awake() as awake:
        messages = await awake.settled()
    [answer] = house.said()
    assert [m.platform_id for m in messages if m.speaker == "Ember"] == [answer.id]
    assert len(house.double.requests("POST", "/messages", by=ember)) == 0


async def test_the_commands_say_what_is_scheduled_and_what_is_missing(
    house: DiscordHouse, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment_of(house).items():
        monkeypatch.setenv(name, value)
    assert cli.main(["schedule", "--next", "2", "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    assert [e["at"][10:16] for e in entries] == ["T20:30"] * 2
    assert {e["channel"] for e in entries} == {str(house.room.id)}
    assert cli.main(["schedule", "--next", "1"]) == 0
    line = capsys.readouterr().out
    assert line.startswith("Sun ")
    assert "20:30 Europe/Berlin  meeting  in channel" in line


async def test_the_checkup_is_a_command_for_people_and_programs(house: DiscordHouse) -> None:
    async with bots(house, "check", "--json") as process:
        stdout, _ = await process.communicate()
    assert process.returncode == 0
    assert [f["problems"] for f in json.loads(stdout)] == [[], [], []]
    house.registrar.message_content = False
    async with bots(house, "check") as process:
        stdout, _ = await process.communicate()
    assert process.returncode == 1
    assert "✗ The registrar" in stdout.decode()
    assert "✓ Ember" in stdout.decode()
    assert house.registrar.token not in stdout.decode()


async def test_running_without_a_token_says_what_to_do(house: DiscordHouse) -> None:
    house.tokens = {"TOKEN_REGISTRAR": ""}
    async with bots(house, "run") as process:
        _, stderr = await process.communicate()
    assert process.returncode == 2
    assert "TOKEN_REGISTRAR is not set" in stderr.decode()
    assert "docs/discord.md" in stderr.decode()
