"""From an outline to a book: what may be in it, what it says of itself, and what verifying it finds."""

from __future__ import annotations

import asyncio
import json
import re
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from book import cli
from book.build import build, write_book
from book.compose import compose, wanted_by
from book.manuscript import (
    MANUSCRIPT_FILE,
    Alone,
    Columns,
    Facsimile,
    Manuscript,
    Played,
    read_manuscript,
)
from book.outline import Outline, read_outline
from book.passage import plain
from memory import curate
from memory.consent import allow
from memory.export import exports
from memory.forget import forget
from memory.letters import take_from_diary
from memory.passages import Material, read_material
from memory.store import Store, open_store
from selves.cast import SceneSpec
from selves.errors import ConfigError, UsageError
from selves.lineage import list_ages
from selves.settings import House
from selves.speech import Prompt
from tests.book.conftest import say

Build = Callable[[str], Manuscript]


@pytest.fixture
def in_house(storied_house: House, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setenv("SELVES_HOME", str(storied_house.home))
    monkeypatch.setenv("SELVES_CAST", str(storied_house.cast_path))
    monkeypatch.delenv("SELVES_DATABASE_URL", raising=False)
    return storied_house


async def in_store(house: House, do: Callable[[Store], object]) -> None:
    async with open_store(house.database_url) as store:
        for age in list_ages(house.checkpoints):
            await store.register_age(age)
        await do(store)  # type: ignore[misc]


@pytest.fixture
def composed(in_house: House) -> Build:
    """Compose the manuscript of a chapter with these items."""

    def make(items: str) -> Manuscript:
        outline = Outline.model_validate(tomllib.loads(HEAD + items))
        found: list[Manuscript] = []

        async def read(store: Store) -> None:
            wanted = wanted_by(outline)
            material = await read_material(
                store, samples=wanted.samples, lines=wanted.lines, scenes=wanted.scenes
            )
            found.append(compose(outline, material, list_ages(in_house.checkpoints), [], kept=99))

        asyncio.run(in_store(in_house, read))
        return found[0]

    return make


HEAD = """
title = "Tiny"
lineage = "tiny"
date = 2026-01-01

[[chapter]]
title = "One"
age = "base-000004"
"""


@pytest.fixture
def written_book(in_house: House) -> Path:
    """The folder of a book that was built as EPUB."""
    assert cli.main(["build", "tiny", "--only", "epub"]) == 0
    return in_house.home / "books" / "tiny"


def of_kind(house: House, kind: str) -> list[int]:
    """The samples of a kind, in order of life."""
    found: list[int] = []

    async def read(store: Store) -> None:
        found.extend(w.generation.id for w in await store.writings("tiny") if w.kind == kind)

    asyncio.run(in_store(house, read))
    return found


def test_an_outline_is_proposed_built_and_verified(
    in_house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["plan", "tiny", "--json"]) == 0
    outline = Path(json.loads(capsys.readouterr().out)["outline"])
    assert outline == in_house.home / "books" / "tiny" / "outline.toml"
    chapters = [chapter.title for chapter in read_outline(outline).chapter]
    assert chapters[0] == "Before the first word"
    assert chapters[-2:] == ["The same words at every age", "Conversations"]
    assert cli.main(["build", "tiny", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert {"book.pdf", "book.epub", "site/index.html", MANUSCRIPT_FILE} <= set(made["files"])
    assert cli.main(["verify", "tiny"]) == 0
    assert (
        f"{made['passages']} of {made['passages']} passages are as they were said" in capsys.readouterr().out
    )


def test_one_command_makes_a_book_of_a_lineage_without_an_outline(
    in_house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["build", "--only", "epub"]) == 0
    assert "one was proposed" in capsys.readouterr().err
    outline = in_house.home / "books" / "tiny" / "outline.toml"
    outline.write_text(outline.read_text().replace('title = "Tiny"', 'title = "Mine"'))
    assert cli.main(["build", "tiny", "--only", "epub"]) == 0
    assert "proposed" not in capsys.readouterr().err
    assert plain(read_manuscript(outline.parent / MANUSCRIPT_FILE).title) == "Mine"


def test_a_plan_never_overwrites_what_an_author_wrote(in_house: House) -> None:
    assert cli.main(["plan", "tiny"]) == 0
    with pytest.raises(UsageError, match="there is an outline"):
        cli.main(["plan", "tiny"])
    assert cli.main(["plan", "tiny", "--force"]) == 0


def test_a_mistake_in_an_outline_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "outline.toml"
    path.write_text(HEAD + "\n[[chapter.item]]\nsampel = 3\n\n[[chapter.item]]\nsample = 3\nscene = 1\n")
    with pytest.raises(ConfigError) as error:
        read_outline(path)
    assert (
        "outline.toml:11: unknown key 'chapter.1.item.1.sampel'; did you mean 'sample'?"
        in error.value.problem
    )
    assert "this has sample and scene" in error.value.problem


def test_everything_that_cannot_be_printed_is_named_at_once(composed: Build) -> None:
    items = """
[[chapter.item]]
sample = 4711

[[chapter.item]]
scene = 99

[[chapter.item]]
message = 1
quote = "nobody said this"

[[chapter.item]]
message = 5
"""
    with pytest.raises(UsageError) as error:
        composed(items)
    problem = error.value.problem
    assert "chapter 1 (One), item 1: there is no sample 4711" in problem
    assert "item 2: there is no scene 99" in problem
    assert "item 3: 'nobody said this' does not stand in it" in problem
    assert "item 4: message 5 may not be printed: a person's words (parlor) without their consent" in problem


def test_what_was_said_to_a_person_is_not_printed_without_their_consent(
    in_house: House, composed: Build
) -> None:
    async def answer(store: Store) -> None:
        heard = (await store.messages(2))[0]
        prompt = Prompt(form="transcript", text="a private word", message_ids=(heard.id,), has_human=True)
        utterance = say("tiny@chat-000008", "0" * 64, "You said: a private word", prompt)
        line = await store.keep_turn(2, speaker="Ember", utterances=[utterance], chosen=0)
        assert line is not None
        await store.mark_posted(line.id)

    asyncio.run(in_store(in_house, answer))
    scene = composed("\n[[chapter.item]]\nscene = 2\n").chapters[0].items[0]
    assert isinstance(scene, Played)
    assert [plain(line.text) for line in scene.lines] == ["a private answer"]
    assert scene.left_out == 2

    async def consent(store: Store) -> None:
        person = (await store.messages(2))[0].person_id
        assert person is not None
        await allow(store, person, "publish", granted=True, notice="1", via="cli")

    asyncio.run(in_store(in_house, consent))
    scene = composed("\n[[chapter.item]]\nscene = 2\n").chapters[0].items[0]
    assert isinstance(scene, Played)
    assert len(scene.lines) == 3
    assert scene.left_out == 0


def test_what_a_self_heard_by_way_of_another_is_not_printed_either(in_house: House, composed: Build) -> None:
    scenes: list[int] = []

    async def retell(store: Store) -> None:
        told = (await store.messages(2))[0].id  # a person's
        for name in ("day", "week"):
            spec = SceneSpec(name=name, kind="retelling", cast=("Ember",), opening=name)
            scene = await store.begin_scene(spec, place="diary")
            prompt = Prompt(
                form="transcript", text=f"of {name}", message_ids=(told,), has_human=name == "day"
            )
            utterance = say("tiny@chat-000008", "0" * 64, "She said: a private word", prompt)
            line = await store.keep_turn(scene.id, speaker="Ember", utterances=[utterance], chosen=0)
            assert line is not None
            told = (await store.mark_posted(line.id)).id
            scenes.append(scene.id)

    asyncio.run(in_store(in_house, retell))
    for scene in scenes:
        with pytest.raises(UsageError, match="has no line that may be printed"):
            composed(f"\n[[chapter.item]]\nscene = {scene}\n")

    async def consent(store: Store) -> None:
        person = (await store.messages(2))[0].person_id
        assert person is not None
        await allow(store, person, "publish", granted=True, notice="1", via="cli")

    asyncio.run(in_store(in_house, consent))
    items = composed("".join(f"\n[[chapter.item]]\nscene = {scene}\n" for scene in scenes)).chapters[0].items
    assert len(items) == 2


def test_an_edit_is_marked_and_what_was_said_is_kept(in_house: House, composed: Build) -> None:
    sample = of_kind(in_house, "diary")[0]
    book = composed(f'\n[[chapter.item]]\nsample = {sample}\nedited = "was better."\nnote = "I helped."\n')
    item = book.chapters[0].items[0]
    assert isinstance(item, Alone)
    assert item.passage.source.edited
    assert plain(item.passage.text) == "was better."
    assert item.passage.original is not None
    assert plain(item.passage.original) == " was tiny@base-000000."
    assert plain(item.passage.given) == "Dear diary, today I"
    assert book.figures.edited == 1
    assert book.figures.contribution is not None
    assert book.figures.contribution < 0.7


def test_a_quotation_says_which_characters_it_has(in_house: House, composed: Build) -> None:
    sample = of_kind(in_house, "diary")[0]
    (item,) = composed(f'\n[[chapter.item]]\nsample = {sample}\nquote = "base-000000"\n').chapters[0].items
    assert isinstance(item, Alone)
    source = item.passage.source
    assert (source.start, source.end, source.excerpt) == (10, 21, True)


def test_ages_stand_side_by_side_under_the_words_they_shared(in_house: House, composed: Build) -> None:
    samples = of_kind(in_house, "continuation")[:3]
    (item,) = composed(f"\n[[chapter.item]]\nacross = {samples}\n").chapters[0].items
    assert isinstance(item, Columns)
    assert plain(item.given) == "When I grow up, I"
    assert [passage.source.address for passage in item.passages] == [
        "tiny@base-000000",
        "tiny@base-000004",
        "tiny@base-000016",
    ]


def test_a_diarys_letter_stands_among_the_letters_once_it_is_answered(in_house: House) -> None:
    async def send(store: Store) -> None:
        first, second = [w for w in await store.writings("tiny") if w.kind == "letter"][:2]
        letter = await take_from_diary(store, replace(first, to="future"), "Tiny base 0")
        await take_from_diary(store, replace(second, to="future"), "Tiny base 4")
        spec = SceneSpec(name="answer", kind="answer", cast=("Ember",), to="tiny@base-000000")
        scene = await store.begin_scene(spec, place="terminal", from_message_id=letter.id)
        said = say("tiny@chat-000008", "0" * 64, "I remember you.", Prompt(form="transcript"))
        line = await store.keep_turn(scene.id, speaker="Ember", utterances=[said], chosen=0)
        assert line is not None
        await store.mark_posted(line.id)

    asyncio.run(in_store(in_house, send))
    assert cli.main(["build", "tiny", "--only", "epub"]) == 0
    book = read_manuscript(in_house.home / "books" / "tiny" / MANUSCRIPT_FILE)
    (letters,) = (chapter for chapter in book.chapters if plain(chapter.title) == "Letters")
    titles = [plain(item.title) for item in letters.items if isinstance(item, Played)]
    assert titles == ["Tiny base 0 to the future", "Ember to base-000000"]


def test_days_weeks_and_chapters_of_a_diary_stand_as_such(in_house: House, composed: Build) -> None:
    names = {"day": "2026-11-23", "week": "2026-W48", "chapter": "2026-11"}
    ids: list[int] = []

    async def write(store: Store) -> None:
        for span, name in names.items():
            spec = SceneSpec(name=span, kind="retelling", cast=("Ember",), opening=name)
            scene = await store.begin_scene(spec, place="diary")
            said = say("tiny@chat-000008", "0" * 64, "Today I was.", Prompt(form="transcript"))
            line = await store.keep_turn(scene.id, speaker="Ember", utterances=[said], chosen=0)
            assert line is not None
            await store.mark_posted(line.id)
            ids.append(scene.id)

    asyncio.run(in_store(in_house, write))
    items = composed("".join(f"\n[[chapter.item]]\nscene = {number}\n" for number in ids)).chapters[0].items
    entries = [item for item in items if isinstance(item, Played) and item.entry]
    assert [plain(entry.title) for entry in entries] == [
        "Ember, 23 November 2026",
        "Ember, week 48 of 2026",
        "Ember, November 2026",
    ]


def test_a_facsimile_shows_what_was_not_chosen_and_the_figures_say_so(
    in_house: House, composed: Build
) -> None:
    async def turn(store: Store) -> None:
        drawn = [
            say("tiny@base-000004", "0" * 64, f"sample {n}", Prompt(form="transcript", text=f"{n}"))
            for n in range(4)
        ]
        line = await store.keep_turn(1, speaker="Spark", utterances=drawn, chosen=2)
        assert line is not None
        await store.mark_posted(line.id)
        await curate.pick(store, curate.Mark("star"), editor="me", message_id=line.id)

    asyncio.run(in_store(in_house, turn))
    message = 7
    book = composed(f"\n[[chapter.item]]\nmessage = {message}\nsiblings = true\n")
    (item,) = book.chapters[0].items
    assert isinstance(item, Facsimile)
    assert plain(item.passage.text) == "sample 2"
    assert [plain(sibling.text) for sibling in item.siblings] == ["sample 0", "sample 1", "sample 3"]
    assert (book.figures.generated, book.figures.published, book.figures.selectivity_bits) == (4, 1, 2.0)
    assert cli.main(["plan", "tiny"]) == 0
    proposed = (in_house.home / "books" / "tiny" / "outline.toml").read_text()
    assert re.search(r"# sample 2\nmessage = 7\nsiblings = true", proposed)


def test_verifying_finds_what_was_changed(in_house: House, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", "tiny"]) == 0
    assert cli.main(["build", "tiny", "--only", "site"]) == 0
    folder = in_house.home / "books" / "tiny"
    path = folder / MANUSCRIPT_FILE
    path.write_text(path.read_text().replace(" was tiny@base-000004.", " was never here.", 1))
    assert cli.main(["verify", "tiny"]) == 1
    said = capsys.readouterr().out
    assert "what is printed is not what was said, and it is not marked as edited" in said
    assert "site/chapter-02.html is not what the manuscript gives" in said


FORGED = {
    "another speaker": ('"label": "Spark"', '"label": "Ember"'),
    "another seed": ('"seed": 7', '"seed": 8'),
    "another engine": ('"engine": "training"', '"engine": "embedded"'),
    "a rarer choice": ('"drawn": 1', '"drawn": 99'),
    "another title": ("first meeting", "last meeting"),
    "another premise": ("They meet.", "They part."),
    "another beginning": ("When I grow up, I", "When I am old, I"),
    "another age at a chapter's head": ('"tokens_seen": ', '"tokens_seen": 1'),
    "the operator's words as a self's": ('"origin": "operator"', '"origin": "self"'),
}


@pytest.mark.parametrize("forged", FORGED)
def test_whatever_the_book_says_of_a_passage_is_compared_with_memory(
    written_book: Path, capsys: pytest.CaptureFixture[str], forged: str
) -> None:
    path = written_book / MANUSCRIPT_FILE
    before, after = FORGED[forged]
    text = path.read_text("utf-8")
    assert before in text
    path.write_text(text.replace(before, after, 1), "utf-8")
    write_book(written_book, build(read_manuscript(path), ("epub",)))  # its files agree with it
    capsys.readouterr()
    assert cli.main(["verify", "tiny"]) == 1
    assert (
        "that in memory" in (said := capsys.readouterr().out)
        or "another than it is" in said
        or "other figures" in said
    )


def test_a_file_that_no_list_names_is_compared_too(
    in_house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["build", "tiny", "--only", "epub"]) == 0
    folder = in_house.home / "books" / "tiny"
    (folder / "book.pdf").write_bytes(b"%PDF- of somebody else")
    assert cli.main(["verify", "tiny"]) == 1
    assert "book.pdf is not what the manuscript gives" in capsys.readouterr().out
    (folder / "book.pdf").unlink()
    assert cli.main(["verify", "tiny"]) == 0
    (folder / "SHA256SUMS").unlink()
    assert cli.main(["verify", "tiny"]) == 1
    assert "SHA256SUMS is missing" in capsys.readouterr().out


def test_verifying_tells_when_memory_has_other_words_or_they_may_no_longer_be_printed(
    in_house: House, composed: Build
) -> None:
    from book.verify import verify

    book = composed("\n[[chapter.item]]\nscene = 1\n")
    found: list[Material] = []

    async def take_back(store: Store) -> None:
        await store.mark_posted(2, 77)
        await store.delete_heard(77)
        lines = {p.source.message_id for p in book.passages() if p.source.message_id is not None}
        samples = {p.source.generation_id for p in book.passages() if p.source.generation_id is not None}
        found.append(await read_material(store, samples=samples, lines=lines))

    asyncio.run(in_store(in_house, take_back))
    wrong = {one.where: one.problems for one in verify(book, found[0]) if one.problems}
    assert list(wrong) == ["message 2"]
    assert "it may not be published: it was reported or deleted" in wrong["message 2"][0]


def test_forgetting_a_person_calls_the_book_back(in_house: House) -> None:
    async def consent(store: Store) -> None:
        person = (await store.messages(2))[0].person_id
        assert person is not None
        await allow(store, person, "publish", granted=True, notice="1", via="cli")

    asyncio.run(in_store(in_house, consent))
    folder = in_house.home / "books" / "tiny"
    folder.mkdir(parents=True)
    (folder / "outline.toml").write_text(HEAD + "\n[[chapter.item]]\nscene = 2\n")
    assert cli.main(["build", "tiny"]) == 0
    assert b"a private word" in (folder / "site" / "chapter-01.html").read_bytes()

    async def forgotten(store: Store) -> None:
        person = (await store.messages(2))[0]
        report = await forget(store, person.speaker)
        assert str(folder / "book.pdf") in report.exports[0].files
        (export,) = await exports(store)
        assert export.invalid_at is not None

    asyncio.run(in_store(in_house, forgotten))
    assert cli.main(["verify", "tiny"]) == 1
    (folder / "outline.toml").write_text(HEAD + "\n[[chapter.item]]\nmessage = 5\n")
    with pytest.raises(UsageError, match="message 5 may not be printed: its words are gone"):
        cli.main(["build", "tiny"])
