"""What a book is made of, read on both databases."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from memory.consent import allow
from memory.export import exports
from memory.forget import forget
from memory.passages import count_samples, read_material, record_book
from memory.store import Store
from selves.errors import StoreError
from tests.memory.parts import NOON, SPEC, reading, utterance


async def test_samples_come_with_those_drawn_beside_them(store: Store) -> None:
    scene = await store.begin_scene(SPEC, place="terminal")
    drawn = [utterance(f"sample {n}") for n in range(3)]
    line = await store.keep_turn(scene.id, speaker="Ember", utterances=drawn, chosen=1)
    assert line is not None
    material = await read_material(store, lines=[line.id, 4711])
    assert list(material.lines) == [line.id]
    assert line.generation_id is not None
    siblings = material.siblings[line.generation_id]
    assert [material.samples[one].text for one in siblings] == ["sample 0", "sample 2"]
    assert material.scenes[scene.id].name == "meeting"
    assert await count_samples(store, "ember") == 3


async def test_what_answers_a_person_who_allowed_nothing_may_not_be_printed(store: Store) -> None:
    scene = await store.begin_scene(SPEC, place="terminal")
    heard = await store.say(scene.id, speaker="Anna", text="a word of hers", origin="parlor")
    line = await store.keep_turn(
        scene.id, speaker="Ember", utterances=[utterance(prompt=reading(heard.id))], chosen=0
    )
    assert line is not None
    material = await read_material(store, scenes=[scene.id])
    assert material.lines_of[scene.id] == (heard.id, line.id)
    assert not material.line_verdicts[heard.id].allowed
    assert material.line_verdicts[line.id].reason.startswith("its prompt holds a person's words")
    assert heard.person_id is not None
    await allow(store, heard.person_id, "publish", granted=True, notice="1", via="cli")
    material = await read_material(store, scenes=[scene.id])
    assert all(verdict.allowed for verdict in material.line_verdicts.values())


async def test_the_same_book_is_recorded_once(store: Store, tmp_path: Path) -> None:
    scene = await store.begin_scene(SPEC, place="terminal")
    line = await store.keep_turn(scene.id, speaker="Ember", utterances=[utterance()], chosen=0)
    assert line is not None
    for _ in range(2):
        await record_book(
            store, tmp_path, {"book.pdf": "0" * 64}, of="book", samples=[], lines=[line.id], forgotten=0
        )
    await record_book(
        store, tmp_path, {"book.pdf": "1" * 64}, of="book", samples=[], lines=[line.id], forgotten=0
    )
    assert [export.rows for export in await exports(store)] == [1, 1]
    with pytest.raises(StoreError, match="forgotten while the book was made"):
        await record_book(store, tmp_path, {}, of="book", samples=[], lines=[], forgotten=1)


async def test_a_book_is_called_back_with_what_a_sample_had_read(store: Store, tmp_path: Path) -> None:
    scene = await store.begin_scene(SPEC, place="discord:1")
    heard = await store.hear(scene.id, platform_id=1, user_id=1, text="What is a lamp?", created_at=NOON)
    assert heard.person_id is not None
    await allow(store, heard.person_id, "publish", granted=True, notice="1", via="test")
    said = utterance("A light.", prompt=reading(heard.id, text="What is a lamp?"))
    line = await store.keep_turn(scene.id, speaker="Ember", utterances=[said], chosen=0)
    assert line is not None
    assert line.generation_id is not None
    record = partial(
        record_book, store, tmp_path, of="book", lines=[], samples=[line.generation_id], forgotten=0
    )
    await record({"book.pdf": "0" * 64})
    (book,) = (await forget(store, "guest-1", dry_run=True)).exports
    assert book.format == "page"
    await store.delete_heard(1)
    assert [one.invalid_reason for one in await exports(store)] == ["a line that is in it was deleted"]


async def test_what_was_taken_back_while_a_book_was_made_is_not_printed(store: Store, tmp_path: Path) -> None:
    scene = await store.begin_scene(SPEC, place="discord:1")
    line = await store.keep_turn(scene.id, speaker="Ember", utterances=[utterance()], chosen=0)
    assert line is not None
    await store.mark_posted(line.id, 7)
    await store.delete_heard(7)
    with pytest.raises(StoreError, match="may not be printed any more"):
        await record_book(store, tmp_path, {}, of="book", samples=[], lines=[line.id], forgotten=0)
    assert await exports(store) == []
