"""A backup holds everything but keys, and becomes a database again on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from memory.backup import back_up, read_manifest
from memory.check import check
from memory.forget import forget
from memory.keys import read_keys
from memory.models import SceneRow
from memory.restore import restore
from memory.store import Store, open_store
from selves.errors import DiskError, StoreError, UsageError
from tests.memory import keeping
from tests.memory.parts import NOON, SPEC, Clock, age, every_cell, processes, reading, run_sql, utterance

NASTY = "a\x00b \ud800 ␛ ' \" 終わり"


async def fill(store: Store, folder: Path) -> int:
    """A little of everything that is hard to carry; returns the scene's id."""
    await store.register_age(age(folder / "age", kinds=("diary", "letter")))
    scene = await store.begin_scene(SPEC, place="discord:1")
    heard = await store.hear(
        scene.id, platform_id=2**62, user_id=5, text=f"I live by the sea. {NASTY}", created_at=NOON
    )
    said = utterance(NASTY, prompt=reading(heard.id, text=f"Ada lives by the sea. {NASTY}"))
    turn = await store.keep_turn(
        scene.id, speaker="Ember", utterances=[said, utterance("No.")], chosen=0, reply_to=heard.id
    )
    assert turn is not None
    await store.mark_posted(turn.id, 2**62 + 1)
    await store.say(scene.id, speaker="Ada", text="And I?", origin="parlor")
    await store.end_scene(scene.id, "max_turns")
    return scene.id


async def everything(store: Store, scene_id: int) -> object:
    scenes, messages = await store.scenes(), await store.messages(scene_id)
    generations = await store.generations(scene_id)
    return scenes, messages, generations, await store.writings(), await store.checkpoints()


async def test_what_is_restored_is_what_was_kept(
    store: Store, empty_url: str, tmp_path: Path, clock: Clock
) -> None:
    scene_id = await fill(store, tmp_path)
    kept = await everything(store, scene_id)
    manifest = await back_up(store, tmp_path / "b.db", keys=tmp_path / "keys.json")
    restored = await restore(
        tmp_path / "b.db", empty_url, keys=read_keys(tmp_path / "keys.json"), clock=clock
    )
    assert (restored.rows, restored.shut, restored.kept) == (manifest.rows, 0, None)
    async with open_store(empty_url, clock=clock) as other:
        assert await everything(other, scene_id) == kept
        assert (await check(other)).problems == ()
        # ids, pseudonyms and people go on where they were
        scene = await other.begin_scene(SPEC, place="discord:1")
        again = await other.hear(scene.id, platform_id=7, user_id=5, text="Me again", created_at=NOON)
        assert again.speaker == "guest-1"
        await back_up(other, tmp_path / "again.db")
    assert read_manifest(tmp_path / "again.db").tables["message"].rows == 4


@pytest.mark.postgres
@pytest.mark.parametrize("there_and_back", [("sqlite", "postgresql"), ("postgresql", "sqlite")])
async def test_a_backup_is_the_way_from_one_database_to_the_other(
    there_and_back: tuple[str, str],
    new_sqlite: Callable[[bool], str],
    new_postgresql: Callable[[bool], str],
    tmp_path: Path,
    clock: Clock,
) -> None:
    new = {"sqlite": new_sqlite, "postgresql": new_postgresql}
    first, second = (new[name] for name in there_and_back)
    async with open_store(first(True), clock=clock) as store:
        scene_id = await fill(store, tmp_path)
        kept = await everything(store, scene_id)
        before = await back_up(store, tmp_path / "there.db", keys=tmp_path / "keys.json")
    url = second(False)
    await restore(tmp_path / "there.db", url, keys=read_keys(tmp_path / "keys.json"), clock=clock)
    async with open_store(url, clock=clock) as store:
        assert await everything(store, scene_id) == kept
        assert (await back_up(store, tmp_path / "back.db")).tables == before.tables


async def test_a_backup_has_neither_keys_nor_words_of_people_nor_the_secret(
    store: Store, tmp_path: Path
) -> None:
    await fill(store, tmp_path)
    await back_up(store, tmp_path / "b.db", keys=tmp_path / "keys.json")
    content, keys = (tmp_path / "b.db").read_bytes(), read_keys(tmp_path / "keys.json")
    assert b"by the sea" not in content
    assert b"And I?" not in content
    assert len(keys.people) == 2
    for secret in (keys.secret, *(person.key or "" for person in keys.people)):
        assert secret.encode() not in content
    assert (tmp_path / "b.db").stat().st_mode & 0o077 == 0
    assert (tmp_path / "keys.json").stat().st_mode & 0o077 == 0


async def test_without_keys_people_are_shut_but_all_else_is_there(
    store: Store, empty_url: str, tmp_path: Path, clock: Clock
) -> None:
    scene_id = await fill(store, tmp_path)
    await back_up(store, tmp_path / "b.db")
    restored = await restore(tmp_path / "b.db", empty_url, clock=clock)
    assert (restored.people, restored.shut) == (2, 2)
    async with open_store(empty_url, clock=clock) as other:
        lines = await other.messages(scene_id)
        assert [line.text for line in lines] == ["", NASTY, ""]
        report = await check(other)
        assert (report.shut, report.problems) == (2, ())


async def test_who_was_forgotten_since_is_forgotten_in_what_is_restored(
    store: Store, database_url: str, tmp_path: Path, clock: Clock
) -> None:
    scene_id = await fill(store, tmp_path)
    quoted = "the lighthouse keeper counts the gulls every morning before tea"
    heard = await store.hear(scene_id, platform_id=9, user_id=5, text=quoted, created_at=NOON)
    said = utterance(f"You said: {quoted}", prompt=reading(heard.id))
    await store.keep_turn(scene_id, speaker="Ember", utterances=[said], chosen=0)
    await back_up(store, tmp_path / "b.db")
    assert quoted.encode() in (tmp_path / "b.db").read_bytes(), "a self quoted it in plain words"
    await forget(store, "guest-1")
    await store.engine.dispose()
    restored = await restore(tmp_path / "b.db", database_url, replace=True, clock=clock)
    try:
        assert restored.forgotten == ("guest-1",)
        assert "lighthouse" not in every_cell(database_url)
        async with open_store(database_url, clock=clock) as other:
            lines = await other.messages(scene_id)
            assert [line.text for line in lines] == ["", NASTY, "And I?", "", ""]
            assert lines[-1].status == "forgotten"
            assert (await check(other)).problems == ()
    finally:
        drop_kept(database_url, restored.kept)


async def test_the_keys_file_knows_who_was_forgotten(
    store: Store, empty_url: str, tmp_path: Path, clock: Clock
) -> None:
    await fill(store, tmp_path)
    await back_up(store, tmp_path / "old.db", keys=tmp_path / "keys.json")
    await forget(store, "guest-1")
    await back_up(store, tmp_path / "new.db", keys=tmp_path / "keys.json")
    restored = await restore(
        tmp_path / "old.db", empty_url, keys=read_keys(tmp_path / "keys.json"), clock=clock
    )
    assert (restored.forgotten, restored.shut) == (("guest-1",), 0)


async def test_what_expired_since_is_erased_in_what_is_restored(
    store: Store, empty_url: str, tmp_path: Path, clock: Clock
) -> None:
    await fill(store, tmp_path)
    await back_up(store, tmp_path / "b.db", keys=tmp_path / "keys.json")
    clock.pass_days(31)
    restored = await restore(
        tmp_path / "b.db", empty_url, keys=read_keys(tmp_path / "keys.json"), clock=clock
    )
    assert restored.expired >= 1


async def test_a_database_is_replaced_only_on_request_and_then_kept(
    store: Store, database_url: str, tmp_path: Path, clock: Clock
) -> None:
    scene_id = await fill(store, tmp_path)
    await back_up(store, tmp_path / "b.db")
    later = await store.begin_scene(SPEC, place="terminal")
    with pytest.raises(StoreError, match=r"already(.|\n)*--replace"):
        await restore(tmp_path / "b.db", database_url, clock=clock)
    assert len(await store.scenes()) == 2
    await store.engine.dispose()
    restored = await restore(tmp_path / "b.db", database_url, replace=True, clock=clock)
    try:
        assert restored.shut == 0, "the keys came from the replaced one"
        async with open_store(database_url, clock=clock) as other:
            assert [scene.id for scene in await other.scenes()] == [scene_id]
            assert (await other.begin_scene(SPEC, place="terminal")).id == later.id
        assert kept_scenes(database_url, restored.kept or "") == 2
    finally:
        drop_kept(database_url, restored.kept)


async def test_what_was_kept_beside_is_never_overwritten(
    new_sqlite: Callable[[bool], str], tmp_path: Path, clock: Clock
) -> None:
    url = new_sqlite(True)
    async with open_store(url, clock=clock) as store:
        await fill(store, tmp_path)
        await back_up(store, tmp_path / "b.db")
        await store.begin_scene(SPEC, place="terminal")
    kept = [(await restore(tmp_path / "b.db", url, replace=True, clock=clock)).kept for _ in range(3)]
    assert [kept_scenes(url, path or "") for path in kept] == [2, 1, 1]


async def test_a_database_in_use_is_not_replaced(
    store: Store, database_url: str, tmp_path: Path, clock: Clock
) -> None:
    await fill(store, tmp_path)
    await back_up(store, tmp_path / "b.db")
    async with store.writing() as session:
        await session.get(SceneRow, 1, with_for_update=True)
        with pytest.raises(StoreError, match="locked"):
            await restore(
                tmp_path / "b.db", database_url, replace=True, clock=clock, without_keys=True, lock_wait_s=0.1
            )
    assert len(await store.scenes()) == 1
    assert (await check(store)).problems == ()


async def test_a_damaged_database_is_replaced_when_its_keys_are_given_up_or_given(
    new_sqlite: Callable[[bool], str], tmp_path: Path, clock: Clock
) -> None:
    url = new_sqlite(True)
    async with open_store(url, clock=clock) as store:
        await fill(store, tmp_path)
        await back_up(store, tmp_path / "b.db", keys=tmp_path / "keys.json")
    path = Path(make_url(url).database or "")
    path.write_bytes(b"This is a letter, not a database. " * 200)
    path.with_name(f"{path.name}-wal").write_bytes(b"an old log")
    with pytest.raises(StoreError, match=r"damaged(.|\n)*--keys"):
        await restore(tmp_path / "b.db", url, replace=True, clock=clock)
    keys = read_keys(tmp_path / "keys.json")
    restored = await restore(tmp_path / "b.db", url, replace=True, keys=keys, clock=clock)
    assert Path(restored.kept or "").read_bytes().startswith(b"This is a letter")
    async with open_store(url, clock=clock) as store:
        assert (await check(store)).problems == ()


@pytest.mark.parametrize("where", [0.2, 0.5, 0.9])
async def test_a_damaged_backup_replaces_nothing(
    store: Store, empty_url: str, tmp_path: Path, clock: Clock, where: float
) -> None:
    scene_id = await fill(store, tmp_path)
    for _ in range(100):
        await store.say(scene_id, speaker="Ada", text="x" * 300, origin="parlor")
    path = tmp_path / "b.db"
    await back_up(store, path)
    with sqlite3.connect(path) as connection:
        table = ("generation", "message", "person")[int(where * 3)]
        connection.execute(f"DELETE FROM {table} WHERE id = (SELECT max(id) FROM {table})")
    with pytest.raises(StoreError, match="the backup is damaged"):
        await restore(path, empty_url, clock=clock)
    data = bytearray(path.read_bytes())
    start = int(len(data) * where) // 4096 * 4096
    data[start : start + 4096] = b"\xff" * 4096
    path.write_bytes(data)
    with pytest.raises(StoreError, match="damaged"):
        await restore(path, empty_url, clock=clock)
    assert nothing_is_at(empty_url)


async def test_what_is_no_backup_is_named(
    store: Store, database_url: str, empty_url: str, tmp_path: Path, new_sqlite: Callable[[bool], str]
) -> None:
    (tmp_path / "letter").write_text("Dear future self, " * 300)
    with pytest.raises(StoreError, match=r"is no backup(.|\n)*`selves memory backup` made"):
        await restore(tmp_path / "letter", empty_url)
    with pytest.raises(StoreError, match="there is no backup"):
        await restore(tmp_path / "nowhere", empty_url)
    database = Path(make_url(new_sqlite(True)).database or "")
    with pytest.raises(StoreError, match=r"is a database, not a backup(.|\n)*SELVES_DATABASE_URL"):
        await restore(database, empty_url)
    for other in (tmp_path / "letter", database):
        before = other.read_bytes()
        with pytest.raises(StoreError):
            await back_up(store, other)
        assert other.read_bytes() == before
    with pytest.raises(StoreError, match="holds no keys"):
        await back_up(store, tmp_path / "b.db", keys=tmp_path / "letter")


async def test_a_backup_of_a_newer_version_asks_for_a_newer_selves(
    store: Store, empty_url: str, tmp_path: Path
) -> None:
    manifest = await back_up(store, tmp_path / "b.db")
    newer = manifest.model_copy(update={"version": "9999"}).model_dump_json()
    with sqlite3.connect(tmp_path / "b.db") as connection:
        connection.execute("UPDATE backup SET manifest = ?", (newer,))
    with pytest.raises(StoreError, match=r"newer version of Selves(.|\n)*update Selves"):
        await restore(tmp_path / "b.db", empty_url)


async def test_the_keys_of_another_house_open_nothing(
    store: Store, empty_url: str, tmp_path: Path, new_sqlite: Callable[[bool], str]
) -> None:
    await back_up(store, tmp_path / "b.db", keys=tmp_path / "keys.json")
    keys = read_keys(tmp_path / "keys.json").model_copy(update={"house_id": "0" * 32})
    with pytest.raises(UsageError, match="another house"):
        await restore(tmp_path / "b.db", empty_url, keys=keys)


async def test_a_backup_is_of_one_moment_while_others_write(
    store: Store, empty_url: str, tmp_path: Path, clock: Clock
) -> None:
    scene = await store.begin_scene(SPEC, place="terminal")
    done = asyncio.Event()

    async def talk() -> None:
        while not done.is_set():
            await store.keep_turn(scene.id, speaker="Ember", utterances=[utterance()], chosen=0)

    talking = asyncio.create_task(talk())
    try:
        for number in range(5):
            await store.keep_turn(scene.id, speaker="Ember", utterances=[utterance()], chosen=0)
            manifest = await back_up(store, tmp_path / f"{number}.db")
            rows = {name: digest.rows for name, digest in manifest.tables.items()}
            assert rows["message"] == rows["generation"] > 0
    finally:
        done.set()
        await talking
    await restore(tmp_path / "4.db", empty_url, clock=clock)
    async with open_store(empty_url, clock=clock) as other:
        assert (await check(other)).problems == ()


async def test_a_full_disk_leaves_the_older_backup(new_sqlite: Callable[[bool], str], tmp_path: Path) -> None:
    url = new_sqlite(True)
    async with open_store(url) as store:
        scene_id = await fill(store, tmp_path)
        await back_up(store, tmp_path / "b.db")
        for _ in range(200):
            await store.say(scene_id, speaker="Host", text="x" * 2000, origin="operator")
    older = (tmp_path / "b.db").read_bytes()
    ours, theirs = processes.Pipe(duplex=False)
    process = processes.Process(target=keeping.back_up_on_full_disk, args=(url, tmp_path / "b.db", theirs))
    process.start()
    theirs.close()
    kind, message = ours.recv()
    process.join()
    assert kind in (StoreError.__name__, DiskError.__name__)
    assert "disk is full" in message
    assert (tmp_path / "b.db").read_bytes() == older
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".partial")] == []


async def test_a_full_disk_leaves_the_database_that_is_there(
    new_sqlite: Callable[[bool], str], tmp_path: Path
) -> None:
    url = new_sqlite(True)
    async with open_store(url) as store:
        scene_id = await fill(store, tmp_path)
        for _ in range(200):
            await store.say(scene_id, speaker="Host", text="x" * 2000, origin="operator")
        await back_up(store, tmp_path / "b.db")
        await store.begin_scene(SPEC, place="terminal")
    ours, theirs = processes.Pipe(duplex=False)
    process = processes.Process(target=keeping.restore_on_full_disk, args=(tmp_path / "b.db", url, theirs))
    process.start()
    theirs.close()
    _, message = ours.recv()
    process.join()
    assert "disk is full" in message
    async with open_store(url) as store:
        assert len(await store.scenes()) == 2
        assert (await check(store)).problems == ()
    path = Path(make_url(url).database or "")
    assert not list(path.parent.glob(f".partial*{path.name}*"))


async def test_a_restore_that_is_killed_has_changed_nothing_and_can_be_done_again(
    database_url: str, tmp_path: Path
) -> None:
    async with open_store(database_url) as store:
        scene_id = await fill(store, tmp_path)
        for _ in range(200):
            await store.say(scene_id, speaker="Host", text="Hm.", origin="operator")
        await back_up(store, tmp_path / "b.db")
        await store.begin_scene(SPEC, place="terminal")
    ours, theirs = processes.Pipe(duplex=False)
    process = processes.Process(
        target=keeping.restore_until_killed, args=(tmp_path / "b.db", database_url, theirs)
    )
    process.start()
    theirs.close()
    assert ours.recv() == "half way"
    process.kill()
    process.join()
    async with open_store(database_url) as store:
        assert len(await store.scenes()) == 2
    restored = await restore(tmp_path / "b.db", database_url, replace=True)
    try:
        async with open_store(database_url) as store:
            assert len(await store.scenes()) == 1
            assert (await check(store)).problems == ()
    finally:
        drop_kept(database_url, restored.kept)
    if database_url.startswith("sqlite"):
        path = Path(make_url(database_url).database or "")
        assert not list(path.parent.glob(f".partial*{path.name}*")), "what the killed one left is gone"


@pytest.mark.postgres
async def test_a_login_that_the_server_refuses_is_named(
    new_sqlite: Callable[[bool], str], postgresql: Callable[[str], str], tmp_path: Path
) -> None:
    async with open_store(new_sqlite(True)) as store:
        await back_up(store, tmp_path / "b.db")
    with pytest.raises(StoreError, match=r"refuses the login(.|\n)*check user and password"):
        await restore(tmp_path / "b.db", postgresql("postgres").replace("postgres:@", "stranger:@"))


def nothing_is_at(url: str) -> bool:
    if url.startswith("sqlite"):
        path = Path(make_url(url).database or "")
        return not path.exists() and not list(path.parent.glob(f".partial*{path.name}*"))
    return every_cell(url) == "[]"


def kept_scenes(url: str, kept: str) -> int:
    import psycopg

    if url.startswith("sqlite"):
        with sqlite3.connect(kept) as connection:
            return int(connection.execute("SELECT count(*) FROM scene").fetchone()[0])
    with psycopg.connect(url) as connection:
        found = connection.execute(f'SELECT count(*) FROM "{kept}".scene').fetchone()
        return int(found[0]) if found else 0


def drop_kept(url: str, kept: str | None) -> None:
    """On PostgreSQL tests share a database."""
    if kept and url.startswith("postgresql"):
        run_sql(url, f'DROP SCHEMA "{kept}" CASCADE')
