"""Letters to other ages: taken out of diaries once, and listed with those of scenes."""

from __future__ import annotations

from pathlib import Path

from memory.letters import letters_sent, take_from_diary
from memory.store import Store
from memory.types import Message
from selves.cast import SceneSpec
from tests.memory.parts import age, utterance


async def test_a_diary_s_letter_becomes_one_message_however_often_it_is_taken(
    store: Store, tmp_path: Path
) -> None:
    await store.register_age(age(tmp_path / "a", kinds=("diary", "letter")))
    [writing] = [w for w in await store.writings() if w.kind == "letter"]
    first = await take_from_diary(store, writing, "Ember base 400")
    again = await take_from_diary(store, writing, "Ember base 400")
    assert first == again
    assert (first.origin, first.status, first.address) == ("self", "posted", "ember@base-000400")
    assert first.text.endswith("A letter of ember@base-000400.")
    assert first.generation_id == writing.generation.id
    assert (await store.provenance(first.id)).siblings == (), "what else it wrote was no other try at this"
    scene = await store.scene(first.scene_id)
    assert (scene.place, scene.status, scene.stop_reason, scene.messages) == ("diary", "ended", "sent", 1)
    assert await store.unposted() == []


async def test_letters_are_listed_with_whom_they_go_to_oldest_first(store: Store, tmp_path: Path) -> None:
    async def write(to: str, text: str) -> Message:
        cast = ("Ember",) if to else ("Ember", "Ash")
        spec = SceneSpec(name="letter", kind="letter", cast=cast, to=to)
        scene = await store.begin_scene(spec, place="terminal")
        kept = await store.keep_turn(scene.id, speaker="Ember", utterances=[utterance(text)], chosen=0)
        assert kept is not None
        return await store.mark_posted(kept.id)

    later = await write("future", "Dear future self,")
    named = await write("ember@chat-000150", "Dear Ember,")
    await write("", "Dear Ash,")
    await store.register_age(age(tmp_path / "a", kinds=("letter",)))
    [writing] = await store.writings()
    diary = await take_from_diary(store, writing, "Ember base 400")
    sent = await letters_sent(store)
    assert [(m.id, to) for m, to in sent] == [
        (later.id, "future"),
        (named.id, "ember@chat-000150"),
        (diary.id, "future"),
    ]
