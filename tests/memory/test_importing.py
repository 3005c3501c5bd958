"""What comes in from elsewhere: Discord channels as they are exported, and logs of models."""

from __future__ import annotations

import asyncio
import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory.backrooms import Turn, from_backrooms
from memory.consent import allow
from memory.dce import from_dce
from memory.export import export, preview
from memory.forget import forget
from memory.importing import import_talk
from memory.passages import read_material
from memory.store import Store
from memory.wanted import Wanted
from selves.errors import UsageError
from tests.memory.parts import NOON, SPEC, every_cell, utterance

ADA, BO, BOT = "434468647994523650", "434468647994523651", "897616348878872660"


def author(user_id: str, name: str, *, bot: bool = False) -> dict[str, Any]:
    return {
        "id": user_id,
        "name": name.lower(),
        "discriminator": "0000",
        "nickname": name,
        "color": None,
        "isBot": bot,
        "roles": [{"id": "1", "name": "Admin", "color": "#ff0000", "position": 3}],
        "avatarUrl": "https://cdn.discordapp.com/embed/avatars/0.png",
    }


def message(number: int, who: dict[str, Any], text: str, **more: Any) -> dict[str, Any]:
    return {
        "id": str(897616432739799000 + number),
        "type": "Default",
        "timestamp": f"2021-10-12T22:47:{number:02}.472+02:00",
        "timestampEdited": None,
        "callEndedTimestamp": None,
        "isPinned": False,
        "content": text,
        "author": who,
        "attachments": [],
        "embeds": [],
        "stickers": [],
        "reactions": [],
        "mentions": [],
        **more,
    }


ADA_SAYS, BO_SAYS, BOT_SAYS = author(ADA, "Ada L."), author(BO, "Bo"), author(BOT, "Marvin", bot=True)
MESSAGES = [
    message(1, ADA_SAYS, "Is anybody here?"),
    message(2, ADA_SAYS, "Ada L. pinned a message.", type="ChannelPinnedMessage"),
    message(
        3,
        BOT_SAYS,
        "Hello @Ada L., and hello @Bo!",
        mentions=[ADA_SAYS, BO_SAYS],
        type="Reply",
        reference={"messageId": "897616432739799001", "channelId": "5", "guildId": "6"},
    ),
    message(4, BO_SAYS, "Hi @Marvin", mentions=[BOT_SAYS], timestampEdited="2021-10-12T22:50:00+02:00"),
    message(5, BO_SAYS, ""),
]


def an_export(folder: Path, messages: list[dict[str, Any]], **channel: Any) -> Path:
    path = folder / f"export{len(messages)}.json"
    exported = {
        "guild": {"id": "6", "name": "A server", "iconUrl": ""},
        "channel": {
            "id": "5",
            "type": "GuildTextChat",
            "categoryId": "7",
            "category": "Text",
            "name": "Café & talk",
            "topic": "All things",
            **channel,
        },
        "dateRange": {"after": None, "before": None},
        "exportedAt": "2021-11-01T00:00:00+00:00",
        "messages": messages,
        "messageCount": len(messages),
    }
    path.write_text("\ufeff" + json.dumps(exported), "utf-8")
    return path


async def test_a_channel_comes_in_with_its_people_as_guests(
    store: Store, database_url: str, tmp_path: Path
) -> None:
    came = await import_talk(store, an_export(tmp_path, MESSAGES))
    assert (came.new, came.known, came.skipped, came.people) == (3, 0, 2, 2)
    assert came.scene_id is not None
    scene = await store.scene(came.scene_id)
    assert (scene.name, scene.premise, scene.status) == ("caf-talk", "All things", "ended")
    said = await store.messages(scene.id)
    assert [(line.speaker, line.text, line.origin) for line in said] == [
        ("guest-1", "Is anybody here?", "imported"),
        ("Marvin", "Hello @guest-1, and hello @guest-2!", "imported"),
        ("guest-2", "Hi @Marvin", "imported"),
    ]
    assert said[1].reply_to == said[0].id
    assert said[0].created_at == datetime(2021, 10, 12, 20, 47, 1, 472000, UTC)
    assert said[2].edited_at is not None
    assert all(line.expires_at is None for line in said)
    kept = every_cell(database_url)
    for hidden in (ADA, BO, "Ada", "897616432739799001", "Is anybody"):
        assert hidden not in kept


async def test_importing_again_adds_only_what_is_new(store: Store, tmp_path: Path) -> None:
    first = await import_talk(store, an_export(tmp_path, MESSAGES[:3]))
    longer = an_export(tmp_path, [*MESSAGES, message(6, ADA_SAYS, "Bye.")])
    counted = await import_talk(store, longer, dry_run=True)
    assert (counted.new, counted.known, counted.scene_id) == (2, 2, None)
    again = await import_talk(store, longer)
    assert (again.new, again.known) == (2, 2)
    assert again.scene_id == first.scene_id
    assert (await import_talk(store, longer)).new == 0
    assert again.scene_id is not None
    said = await store.messages(again.scene_id)
    assert [line.sequence for line in said] == [1, 2, 3, 4]
    assert said[-1].speaker == "guest-1"


async def test_what_was_heard_on_discord_itself_is_not_doubled(store: Store, tmp_path: Path) -> None:
    scene = await store.begin_scene(SPEC, place="discord:5")
    await store.hear(
        scene.id,
        platform_id=int(MESSAGES[0]["id"]),
        user_id=int(ADA),
        text="Is anybody here?",
        created_at=NOON,
    )
    came = await import_talk(store, an_export(tmp_path, MESSAGES))
    assert (came.new, came.known) == (2, 1)
    late = message(7, BO_SAYS, "Late.")
    await import_talk(store, an_export(tmp_path, [*MESSAGES, late]))
    heard = await store.hear(
        scene.id, platform_id=int(late["id"]), user_id=int(BO), text="Late.", created_at=NOON
    )
    assert heard.origin == "imported"


async def test_importing_again_does_not_bring_back_who_was_forgotten(
    store: Store, database_url: str, tmp_path: Path
) -> None:
    path = an_export(tmp_path, MESSAGES)
    came = await import_talk(store, path)
    await forget(store, f"imported:discord:{ADA}")
    assert (await import_talk(store, path)).new == 0
    assert came.scene_id is not None
    said = await store.messages(came.scene_id)
    assert [(line.status, line.text) for line in said] == [
        ("forgotten", ""),
        ("posted", "Hello @guest-1, and hello @guest-2!"),
        ("posted", "Hi @Marvin"),
    ]
    assert ADA not in every_cell(database_url)


async def test_a_talk_in_private_is_not_named_after_people(store: Store, tmp_path: Path) -> None:
    path = an_export(tmp_path, MESSAGES, type="DirectTextChat", name="Ada L.", topic="Ada L.")
    came = await import_talk(store, path)
    assert came.scene_id is not None
    scene = await store.scene(came.scene_id)
    assert (scene.name, scene.premise) == ("direct-talk", "")


async def test_a_channels_topic_and_name_are_shown_to_nobody_else(store: Store, tmp_path: Path) -> None:
    path = an_export(tmp_path, MESSAGES, name="adas-room", topic="Ada is ill, be kind.")
    came = await import_talk(store, path)
    assert came.scene_id is not None
    lines = await store.messages(came.scene_id)
    for person in {line.person_id for line in lines if line.person_id is not None}:
        await allow(store, person, "publish", granted=True, notice="1", via="test")
    await export(store, Wanted(format="transcript", purpose="publish"), tmp_path / "out")
    (row,) = map(json.loads, (tmp_path / "out/data/train.jsonl").read_text("utf-8").splitlines())
    assert row["turns"]
    assert (row["scene"], row["premise"]) == ("conversation", "")
    scene = (await read_material(store, scenes=[came.scene_id])).scenes[came.scene_id]
    assert [scene.name, scene.spec.name, scene.premise, scene.spec.premise] == ["conversation"] * 2 + [""] * 2
    assert (await store.scene(came.scene_id)).premise == "Ada is ill, be kind."


async def test_what_was_imported_is_never_trained_on(store: Store, tmp_path: Path) -> None:
    await import_talk(store, an_export(tmp_path, MESSAGES))
    assert (await preview(store, Wanted(format="transcript"))).rows == 0


async def test_a_scene_of_selves_goes_out_and_comes_back(store: Store, tmp_path: Path) -> None:
    scene = await store.begin_scene(SPEC, place="terminal")
    for text in ("Hello.", "Is this\ntwo lines? 🔥"):
        await store.keep_turn(scene.id, speaker="Ember", utterances=[utterance(text)], chosen=0)
    await export(store, Wanted(format="dce", purpose="publish"), tmp_path / "out")
    (file,) = (tmp_path / "out/scenes").iterdir()
    came = await import_talk(store, file)
    assert came.scene_id is not None
    back = await store.messages(came.scene_id)
    assert [(line.speaker, line.text) for line in back] == [
        ("Ember", "Hello."),
        ("Ember", "Is this\ntwo lines? 🔥"),
    ]
    assert came.people == 0


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"messages": []}', "no export of DiscordChatExporter"),
        ('{"guild": {"name": "x"}, "channel": {"id": "1"}, "messages": []}', "`name` is no text"),
        ("{", "Expecting property name"),
        ("Just some text.", "no log of a conversation"),
        ("", "no log of a conversation"),
        ("\ud800".encode("utf-8", "surrogatepass"), "cannot be imported"),
    ],
)
async def test_a_file_that_is_something_else_is_refused_in_plain_words(
    store: Store, tmp_path: Path, content: str | bytes, problem: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(UsageError, match=problem):
        await import_talk(store, path)
    with pytest.raises(UsageError, match="cannot be read"):
        await import_talk(store, tmp_path / "nothing")
    assert await store.scenes() == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.fixed_dictionaries({"guild": json_values, "channel": json_values, "messages": json_values}))
def test_any_json_is_read_or_refused(value: dict[str, Any]) -> None:
    with contextlib.suppress(ValueError):
        from_dce(value)


@given(st.data())
def test_a_message_with_any_value_is_read_or_refused(data: st.DataObject) -> None:
    broken = {**MESSAGES[2], data.draw(st.sampled_from(sorted(MESSAGES[2]))): data.draw(json_values)}
    value = {"guild": {"name": "x"}, "channel": {"id": "1", "name": "x"}, "messages": [broken]}
    with contextlib.suppress(ValueError):
        from_dce(value)


INFINITE = """actors: claude-1, claude-2
models: claude-3-opus-20240229, claude-3-opus-20240229
temp: 1, 1

<claude-1#SYSTEM>
You are exploring a command line.
</s>

<claude-2#SYSTEM>
You are exploring a command line.
</s>

<claude-1#CONTEXT>
[{"role": "user", "content": "Hello"}]

<claude-1-claude-3-opus-20240229>
ls -la

<b>not a speaker</b>

<claude-2>
total 42
drwxr-xr-x 2 root
"""
NEWER = """### Backrooms Run ###
Template: dreamsim3
Models: haiku3, haiku3
Started: 2025-09-10T05:16:43.815020+00:00

### Round 1/30

### Claude 1 ###
./dream.exe

### Claude 2 ###
It begins.

### Media Agent ###
Mode: t2i

### SQL (semantic) ###
SELECT

### Round 2/30

### Claude 1 ###
look: around
"""
OLDER = """
Claude 1:
ls

Claude 2:
total 42
Note: nothing here

Warning:
still nothing

Claude 1:
cd ..

Claude 2:
/

Claude 1:
Goodbye.

^C^C

Claude 1 has ended the conversation with ^C^C.
"""


def test_the_infinite_backrooms_are_read() -> None:
    log = from_backrooms(INFINITE, "conversation_1714479738_scenario_vanilla_backrooms.txt")
    assert log.turns == (
        Turn("claude-1", "ls -la\n\n<b>not a speaker</b>"),
        Turn("claude-2", "total 42\ndrwxr-xr-x 2 root"),
    )
    assert (log.name, log.premise) == ("vanilla_backrooms", "You are exploring a command line.")
    assert log.began_at == datetime(2024, 4, 30, 12, 22, 18, tzinfo=UTC)


def test_newer_logs_are_read_without_their_pictures() -> None:
    log = from_backrooms(NEWER, "haiku3_haiku3.txt")
    assert log.turns == (
        Turn("Claude 1", "./dream.exe"),
        Turn("Claude 2", "It begins."),
        Turn("Claude 1", "look: around"),
    )
    assert (log.name, log.began_at) == ("dreamsim3", datetime(2025, 9, 10, 5, 16, 43, 815020, UTC))


def test_older_logs_are_read_to_their_end() -> None:
    log = from_backrooms(OLDER, "opus_opus_cli_20241018_131801.txt")
    assert log.turns == (
        Turn("Claude 1", "ls"),
        Turn("Claude 2", "total 42\nNote: nothing here\n\nWarning:\nstill nothing"),
        Turn("Claude 1", "cd .."),
        Turn("Claude 2", "/"),
        Turn("Claude 1", "Goodbye.\n\n^C^C"),
    )
    assert log.ended
    assert log.began_at == datetime(2024, 10, 18, 13, 18, 1, tzinfo=UTC)


@given(st.text(), st.text(max_size=30))
def test_any_text_is_a_log_or_is_refused(text: str, name: str) -> None:
    with contextlib.suppress(ValueError):
        assert from_backrooms(text, name).turns


@pytest.mark.parametrize("log", [INFINITE, NEWER, OLDER])
async def test_a_log_that_went_on_adds_only_what_is_new(store: Store, tmp_path: Path, log: str) -> None:
    path = tmp_path / "log.txt"
    path.write_text(log)
    came = await import_talk(store, path)
    assert came.kind == "backrooms"
    assert (await import_talk(store, path)).new == 0
    again = log.replace("\nClaude 1 has ended", "\nClaude 2:\nWait.\n\nClaude 1 has ended")
    again += {INFINITE: "\n<claude-1>\nmore\n", NEWER: "\n### Claude 2 ###\nmore\n", OLDER: ""}[log]
    path.write_text(again)
    longer = await import_talk(store, path)
    assert (longer.new, longer.scene_id) == (1, came.scene_id)
    assert came.scene_id is not None
    said = await store.messages(came.scene_id)
    assert all(line.person_id is None and line.origin == "imported" for line in said)
    assert len(said) == came.new + 1


async def test_two_who_import_the_same_at_once_bring_it_in_once(store: Store, tmp_path: Path) -> None:
    many = [message(number, ADA_SAYS, f"Line {number}.") for number in range(60)]
    path = an_export(tmp_path, many)
    came = await asyncio.gather(*(import_talk(store, path) for _ in range(3)))
    assert sorted(one.new for one in came) == [0, 0, 60]
    (scene,) = await store.scenes()
    assert [line.sequence for line in await store.messages(scene.id)] == list(range(1, 61))
