"""A database that cannot be used says why, and what to do, and loses nothing."""

from __future__ import annotations

import socket
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from memory.store import Store, open_store
from selves.errors import StoreError
from tests.memory import workers
from tests.memory.parts import SPEC, processes, run_sql, utterance


def file_of(url: str) -> Path:
    return Path(make_url(url).database or "")


async def test_a_locked_database_says_so(database_url: str) -> None:
    async with open_store(database_url, lock_wait_s=0.05) as store:
        scene = await store.begin_scene(SPEC, place="terminal")
        if database_url.startswith("sqlite"):
            other = sqlite3.connect(file_of(database_url), isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
        else:
            import psycopg

            other = psycopg.connect(database_url)
            other.execute("SELECT * FROM scene FOR UPDATE")
        with pytest.raises(StoreError, match=r"locked(.|\n)*close the other program"):
            await store.keep_turn(scene.id, speaker="Ember", utterances=[utterance()], chosen=0)
        assert await store.messages(scene.id) == []  # reading goes on
        async with open_store(database_url, create=False, lock_wait_s=0.05) as reader:
            assert len(await reader.scenes()) == 1
        other.close()
        assert await store.keep_turn(scene.id, speaker="Ember", utterances=[utterance()], chosen=0)


async def test_a_full_disk_says_so_and_keeps_what_was_acknowledged(new_sqlite: Callable[[bool], str]) -> None:
    url = new_sqlite(True)
    async with open_store(url) as store:
        scene = await store.begin_scene(SPEC, place="terminal")
    ours, theirs = processes.Pipe(duplex=False)
    process = processes.Process(target=workers.fill_disk, args=(url, scene.id, theirs))
    process.start()
    theirs.close()
    error, *kept = ours.recv()
    process.join()
    assert "disk is full" in error
    assert "free some space" in error
    assert len(kept) > 2
    async with open_store(url) as store:
        assert [m.text for m in await store.messages(scene.id)] == kept
        assert len(await store.generations(scene.id)) == len(kept)
        assert await store.keep_turn(scene.id, speaker="Ember", utterances=[utterance()], chosen=0)


@pytest.mark.parametrize(
    "junk", [b"This is a letter, not a database. " * 100, b"SQLite format 3\x00" + b"?" * 8000]
)
async def test_a_file_that_is_no_database_is_named_and_left_alone(tmp_path: Path, junk: bytes) -> None:
    path = tmp_path / "letter.db"
    path.write_bytes(junk)
    with pytest.raises(StoreError, match=r"letter\.db is damaged, or is no database(.|\n)*backup"):
        async with open_store(f"sqlite:///{path}"):
            pass
    assert path.read_bytes() == junk


async def test_a_damaged_page_says_so(new_sqlite: Callable[[bool], str]) -> None:
    url = new_sqlite(True)
    async with open_store(url) as store:
        scene = await store.begin_scene(SPEC, place="terminal")
        for _ in range(200):
            await store.say(scene.id, speaker="You", text="x" * 500, origin="parlor")
    data = bytearray(file_of(url).read_bytes())
    for page in range(20, len(data) // 4096):
        data[page * 4096 : page * 4096 + 200] = b"\xff" * 200
    file_of(url).write_bytes(data)
    with pytest.raises(StoreError, match=r"is damaged(.|\n)*restore it from a backup"):
        async with open_store(url) as store:
            await store.messages(scene.id)


async def test_a_newer_schema_asks_for_a_newer_selves(database_url: str) -> None:
    run_sql(database_url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreError, match=r"newer version of Selves \(schema 9999(.|\n)*update Selves"):
        async with open_store(database_url):
            pass


async def test_somebody_elses_database_is_left_alone(empty_url: str) -> None:
    run_sql(empty_url, "CREATE TABLE recipes (cake TEXT)")
    with pytest.raises(StoreError, match=r"holds other things \(recipes\)"):
        async with open_store(empty_url):
            pass


async def test_a_reader_makes_no_empty_database(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="nothing is kept yet"):
        async with open_store(f"sqlite:///{tmp_path}/home/selves.db", create=False):
            pass
    assert list(tmp_path.iterdir()) == []


async def test_the_folder_of_a_new_database_is_made_and_private(tmp_path: Path) -> None:
    path = tmp_path / "a home" / "100% mine" / "selves.db"
    async with open_store(f"sqlite:///{path}") as store:
        await store.begin_scene(SPEC, place="terminal")
        files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert files == {"selves.db": 0o600, "selves.db-wal": 0o600, "selves.db-shm": 0o600}


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match=r"cannot be made(.|\n)*SELVES_HOME"):
        async with open_store(f"sqlite:///{tmp_path}/file/selves.db"):
            pass


async def test_a_folder_in_place_of_the_database_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        async with open_store(f"sqlite:///{tmp_path}"):
            pass


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("mysql://localhost/selves", "no way to store in 'mysql'"),
        ("selves.db", "cannot be read"),
        ("sqlite://", "in memory would forget"),
        ("sqlite:///:memory:", "in memory would forget"),
    ],
)
async def test_an_address_that_makes_no_sense_gets_an_example(url: str, problem: str) -> None:
    with pytest.raises(StoreError, match=rf"{problem}(.|\n)*sqlite:////path/to/selves\.db or postgresql://"):
        async with open_store(url):
            pass


async def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(StoreError, match=r"cannot be reached(.|\n)*is PostgreSQL running") as caught:
            async with open_store(f"postgres://ember:hunter2@127.0.0.1:{port}/selves"):
                pass
    assert f"ember:***@127.0.0.1:{port}" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.postgres
async def test_a_database_that_the_server_lacks_is_named(postgresql: Callable[[str], str]) -> None:
    with pytest.raises(StoreError, match=r'"nowhere" does not exist(.|\n)*createdb'):
        async with open_store(postgresql("nowhere")):
            pass


@pytest.mark.postgres
async def test_a_login_that_the_server_refuses_is_named(postgresql: Callable[[str], str]) -> None:
    with pytest.raises(StoreError, match=r"refuses the login(.|\n)*check user and password"):
        async with open_store(postgresql("postgres").replace("postgres:@", "stranger:@")):
            pass


@pytest.mark.postgres
async def test_a_server_that_goes_away_is_an_error_and_comes_back(
    new_postgresql: Callable[[bool], str],
) -> None:
    url = new_postgresql(True)
    async with open_store(url) as store:
        await store.begin_scene(SPEC, place="terminal")
        import psycopg

        with psycopg.connect(url, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid, 240000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        with pytest.raises(StoreError, match="cannot be reached"):
            await store.scenes()
        assert len(await store.scenes()) == 1


async def test_a_task_that_is_cancelled_leaves_nothing_half_done(store: Store) -> None:
    import asyncio

    scene = await store.begin_scene(SPEC, place="terminal")
    for turns_of_the_loop in range(1, 40):
        task = asyncio.create_task(
            store.keep_turn(scene.id, speaker="Ember", utterances=[utterance()], chosen=0)
        )
        for _ in range(turns_of_the_loop):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    messages = await store.messages(scene.id)
    assert [m.sequence for m in messages] == list(range(1, len(messages) + 1))
    assert len(await store.generations(scene.id)) == len(messages)
    kept = await store.keep_turn(scene.id, speaker="Ember", utterances=[utterance()], chosen=0)
    assert kept is not None
    assert kept.sequence == len(messages) + 1
