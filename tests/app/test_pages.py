"""The parlor's pages, run by Streamlit's own AppTest against a real server and a real database."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app import common
from app.lives import traits_of
from app.reading_room import SHELVES
from memory.store import Store, open_store
from selves.cast import SceneSpec
from selves.lineage import find_age
from selves.settings import House
from selves.speech import Prompt, Sampling, Utterance
from training.traits.results import keep_trait, read_traits
from training.traits.run import find_trait, questions
from training.traits.version import version_of

MAIN = Path(__file__).parents[2] / "app" / "main.py"
HOSTILE = "<script>alert(1)</script> **bold** :red[x] ![](http://example.org/x) $x$ \u202e"


def open_parlor() -> AppTest:
    return AppTest.from_file(str(MAIN), default_timeout=600).run()


def open_reading_room(shelf: str = "Scenes") -> AppTest:
    def script() -> None:
        from app.reading_room import reading_room

        reading_room()

    page = AppTest.from_function(script, default_timeout=600)
    page.session_state["shelf"] = shelf
    return page.run()


def open_room(name: str) -> AppTest:
    def script(name: str) -> None:
        import importlib

        getattr(importlib.import_module(f"app.{name}"), name)()

    return AppTest.from_function(script, default_timeout=600, args=(name,)).run()


def words(page: AppTest) -> list[str]:
    return [element.value for element in page.text]


async def say(store: Store, scene_id: int, name: str, text: str) -> None:
    """Let a self have said something."""
    utterance = Utterance(
        address="tiny@base-000000",
        weights_sha256="0" * 64,
        engine="embedded",
        engine_version="1",
        prompt=Prompt(form="transcript", text=f"<{name}>"),
        sampling=Sampling(),
        text=text,
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    line = await store.keep_turn(scene_id, speaker=name, utterances=[utterance], chosen=0)
    assert line is not None
    await store.mark_posted(line.id)


def test_asked_ages_answer_side_by_side_and_it_is_kept(served_house: House) -> None:
    page = open_parlor()
    page.multiselect(key="ages").set_value(["tiny@base-000000", "tiny@chat-000008"])
    page.text_area(key="prompt").set_value("<Ash> Hi!")
    page.slider(key="max_tokens").set_value(16)
    page.button(key="ask").click().run()
    assert not page.exception
    assert [element.value for element in page.markdown] == ["**tiny@base-000000**", "**tiny@chat-000008**"]
    first, status, *_ = words(page)
    assert first
    assert "tokens in" in status
    assert "Kept as scene 1" in page.caption[-1].value
    page.run()  # what was answered stays on the page
    assert words(page)[0] == first


def test_newborn_middle_and_newest_are_chosen_at_first(served_house: House) -> None:
    chosen = open_parlor().multiselect(key="ages").value
    assert chosen == ["tiny@base-000000", "tiny@base-000032", "tiny@chat-000008"]


def test_without_ages_chosen_the_page_asks_for_one(served_house: House) -> None:
    page = open_parlor()
    page.multiselect(key="ages").set_value([])
    page.button(key="ask").click().run()
    assert "Choose at least one age" in page.warning[0].value


def test_a_dead_engine_gets_words_not_a_traceback(
    house: House, nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELVES_URL", nobody)
    page = open_parlor()
    page.button(key="ask").click().run()
    assert not page.exception
    assert any("nobody answers at" in text for text in words(page))
    assert any("selves serve" in text for text in words(page))


def test_an_empty_house_says_how_to_fill_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELVES_HOME", str(tmp_path / "empty"))
    for shelf in SHELVES:
        page = open_reading_room(shelf)
        assert not page.exception
        assert page.info or page.code, shelf
    for page in (open_parlor(), open_reading_room("Diaries")):
        assert not page.exception
        assert any("selves train run" in element.value for element in page.code)
    assert not (tmp_path / "empty").exists()


@pytest.mark.parametrize("name", ["conversation", "one_self", "lineages", "house_page"])
def test_every_room_opens_in_an_empty_house_and_without_an_engine(
    name: str, tmp_path: Path, house: House, nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELVES_URL", nobody)
    for home in (tmp_path / "empty", house.home):
        monkeypatch.setenv("SELVES_HOME", str(home))
        page = open_room(name)
        assert not page.exception
        assert page.title
    assert not (tmp_path / "empty").exists()
    assert not (house.home / "selves.db").exists(), "whoever only looks keeps nothing"


def test_a_life_shows_what_its_ages_were_found_to_be_and_whom_to_ask_again(house: House) -> None:
    page = open_room("lineages")
    assert not page.exception
    assert "What it is like" in [header.value for header in page.header]
    (table,) = (table.value for table in page.table if "knows" in table.value)
    assert list(table["self"]) == ["tiny@base-000000", "tiny@base-000016"]
    assert [said.split(" ")[0] for said in table["knows"]] == ["25%", "75%"]
    assert all(" to " in said for said in table["knows"])
    assert "selves train traits run tiny@chat-000008" in [code.value for code in page.code]


def test_a_life_reports_no_trait_that_settings_are_chosen_by(house: House) -> None:
    age = find_age(house.checkpoints, "tiny@base-000016")
    choosing = find_trait("training.traits.choosing:funny")
    found = read_traits(age)["knows"]
    today = version_of(choosing, questions(choosing))
    keep_trait(age, choosing.name, found.model_copy(update={"version": today}))
    matrix, *again = traits_of([age], {age.card.address: age.card})
    assert matrix.traits == ["knows"]
    assert again == ["", ""]


def test_a_locked_database_gets_words(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def begin() -> None:
        async with open_store(house.database_url):
            pass

    asyncio.run(begin())
    monkeypatch.setattr(common, "LOCK_WAIT_S", 0.1)
    with sqlite3.connect(house.home / "selves.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        page = open_room("house_page")
        page.toggle(key="allow-train").set_value(True).run()
        other.execute("ROLLBACK")
    assert not page.exception
    assert any("locked" in text for text in words(page))
    assert not page.toggle(key="allow-train").value


def test_an_age_that_vanished_since_it_was_chosen_is_not_asked(
    house: House, talkative: Path, served_house: House
) -> None:
    (house.home / "checkpoints").unlink()
    shutil.copytree(talkative, house.home / "checkpoints")
    page = open_parlor()
    page.multiselect(key="ages").set_value(["tiny@base-000000", "tiny@base-000004"]).run()
    shutil.rmtree(house.home / "checkpoints" / "tiny" / "base-000004")
    page.run()
    assert not page.exception
    assert "tiny@base-000004" not in page.multiselect(key="ages").value


def test_where_a_password_is_set_nothing_is_shown_without_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELVES_PARLOR_PASSWORD", "open sesame")
    monkeypatch.setattr("app.gate.PAUSE_S", 0)
    page = open_parlor()
    assert [title.value for title in page.title] == ["The parlor"]
    page.text_input(key="password").set_value("mellon")
    page.button(key="come_in").click().run()
    assert [error.value for error in page.error] == ["That is not the password."]
    page.text_input(key="password").set_value("open sesame")
    page.button(key="come_in").click().run()
    assert [title.value for title in page.title] == ["One prompt, n ages"]


def test_consent_is_off_until_it_is_switched_on_and_can_be_taken_back(house: House) -> None:
    page = open_room("house_page")
    assert not page.toggle(key="allow-train").value
    for granted in (True, False):
        page.toggle(key="allow-train").set_value(granted).run()
        assert not page.exception
        assert open_room("house_page").toggle(key="allow-train").value is granted


def test_a_vanished_or_damaged_age_gets_words(house: House, talkative: Path) -> None:
    (house.home / "checkpoints").unlink()
    shutil.copytree(talkative, house.home / "checkpoints")
    (house.home / "checkpoints" / "tiny" / "base-000004" / "age.json").write_text("{}")
    for page in (open_parlor(), open_reading_room("Diaries")):
        assert not page.exception
        assert any("age.json is damaged" in text for text in words(page))


def test_a_damaged_database_gets_words(house: House) -> None:
    (house.home / "selves.db").write_bytes(b"this is no database at all" * 100)
    page = open_reading_room()
    assert not page.exception
    assert any("What to do" in text for text in words(page))


def test_the_reading_room_shows_scenes_as_text_whatever_was_said(house: House) -> None:
    async def play() -> None:
        async with open_store(house.database_url) as store:
            for name, text in (("first", "long ago"), ("second", HOSTILE)):
                spec = SceneSpec(name=name, cast=("Spark", "Ember"), premise=f"{name} premise {HOSTILE}")
                scene = await store.begin_scene(spec, place="terminal")
                await say(store, scene.id, "Spark", text)
                await store.end_scene(scene.id, "silence")

    asyncio.run(play())
    page = open_reading_room()
    shown = HOSTILE.replace("\u202e", "\\u202e")
    assert shown in words(page)  # the newest scene comes first
    assert f"second premise {shown}" in words(page)
    assert not any("script" in element.value for element in page.markdown)
    assert "Nobody wanted to speak." in [element.value for element in page.caption]
    page.selectbox(key="scene").select_index(1).run()
    assert "long ago" in words(page)
    assert not page.exception


def test_a_letter_of_a_scene_lies_on_its_shelf_with_its_answer(house: House) -> None:
    async def write() -> None:
        async with open_store(house.database_url) as store:
            spec = SceneSpec(name="home", kind="letter", cast=("Ember", "Spark"))
            scene = await store.begin_scene(spec, place="terminal")
            for name, text in (("Ember", "Dear Spark, read more."), ("Spark", "Dear Ember, at import.")):
                await say(store, scene.id, name, text)

    asyncio.run(write())
    shown = words(open_reading_room("Letters"))
    assert shown[0].startswith("Ember (tiny@base-000000) to Spark")
    assert [shown[1], shown[3]] == ["Dear Spark, read more.", "Dear Ember, at import."]


def test_the_days_of_a_self_lie_beside_what_it_wrote_while_it_grew(house: House) -> None:
    async def write() -> None:
        async with open_store(house.database_url) as store:
            for day in ("2026-01-01", "2026-01-02"):
                spec = SceneSpec(name="day", kind="retelling", cast=("Ember",), opening=day)
                scene = await store.begin_scene(spec, place="diary", key=f"diary/{day}")
                await say(store, scene.id, "Ember", f"It was {day}.")

    asyncio.run(write())
    page = open_reading_room("Diaries")
    page.button_group(key="which_diary").set_value("days, weeks and chapters").run()
    assert not page.exception
    assert words(page) == ["It was 2026-01-02.", "It was 2026-01-01."]


def test_the_reading_room_walks_through_the_diaries_of_a_life(house: House, talkative: Path) -> None:
    (house.home / "checkpoints").unlink()
    shutil.copytree(talkative, house.home / "checkpoints")
    for path in (house.home / "checkpoints" / "tiny").glob("*/age.json"):
        card = json.loads(path.read_text())
        utterance = Utterance(
            address=card["address"],
            weights_sha256=card["weights_sha256"],
            engine="training",
            engine_version="1",
            prompt=Prompt(form="transcript", text="Dear diary, today I"),
            sampling=Sampling(seed=5),
            text=f" was {card['address']}",
            started_at=datetime(2026, 1, 1, tzinfo=UTC),
        )
        line = json.dumps({"kind": "diary", "utterance": utterance.model_dump(mode="json")})
        (path.parent / "diary.jsonl").write_text(line + "\n")
    page = open_reading_room("Diaries")
    assert "Dear diary, today I was tiny@chat-000008" in words(page)
    page.select_slider(key="age").set_value("base-000004").run()
    assert "Dear diary, today I was tiny@base-000004" in words(page)
    assert not page.exception
