"""A book, its site and a data set on the Hub: the chapters as cards, and nothing that may not be shown."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from sqlalchemy import update

from book import cli, publish_cli
from book.build import build, write_book
from book.manuscript import read_manuscript
from memory import feedback
from memory.export import export
from memory.firewall import facts_of_generations, verdict
from memory.models import ExportRow
from memory.store import open_store
from memory.wanted import Wanted
from selves.cli import run_command
from selves.lineage import list_ages
from selves.settings import House
from tests.book.conftest import say
from tests.hub_double.client import point_at
from tests.hub_double.server import Hub
from training import ages
from training.receipts import read_deleted, read_receipts

REPO = "anna/tiny"
Run = Callable[..., int]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        yield hub


@pytest.fixture
def run(hub: Hub, storied_house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `selves publish`, `selves book` or `selves ages`, as anna, against the Hub of this test."""
    point_at(hub, hub.add_user("anna"), tmp_path / "hf", monkeypatch)
    monkeypatch.setenv("SELVES_HOME", str(storied_house.home))
    monkeypatch.setenv("SELVES_CAST", str(storied_house.cast_path))

    def call(command: str, *argv: str) -> int:
        return run_command({"publish": publish_cli.main, "book": cli.main, "ages": ages.main}[command], argv)

    return call


def change(file: Path, before: str, after: str) -> None:
    text = file.read_text("utf-8")
    assert before in text
    file.write_text(text.replace(before, after, 1), "utf-8")


async def call_back_all(house: House) -> None:
    async with open_store(house.database_url) as store, store.writing() as session:
        await session.execute(update(ExportRow).values(invalid_at=store.clock(), invalid_reason="a reason"))


@pytest.fixture
def book(run: Run, storied_house: House) -> Path:
    """The folder of a book that was planned and built."""
    assert run("book", "plan", "tiny") == 0
    assert run("book", "build", "tiny") == 0
    return storied_house.home / "books" / "tiny"


def test_the_model_is_the_book(run: Run, hub: Hub, book: Path) -> None:
    assert run("publish", "ages", "tiny") == 0
    weights = hub.files(REPO)["model.safetensors"]
    assert run("publish", "book", "tiny") == 0
    main = hub.files(REPO)
    assert main["book.pdf"] == (book / "book.pdf").read_bytes()
    assert main["book.epub"] == (book / "book.epub").read_bytes()
    assert main["model.safetensors"] == weights
    card = main["README.md"].decode()
    assert "## Contents" in card
    assert "<script>" not in card
    assert hub.repo(REPO).tags == {"ed-1": hub.repo(REPO).branches["main"]}
    chapters = [b for b in hub.repo(REPO).branches if b"a chapter of" in hub.files(REPO, b)["README.md"]]
    assert {"main", "base-000000"} <= set(chapters)
    chapter = hub.files(REPO, "base-000000")
    assert "model.safetensors" in chapter
    assert "## This age" in chapter["README.md"].decode()


def test_ages_published_after_a_book_leave_its_chapters(run: Run, hub: Hub, book: Path) -> None:
    assert run("publish", "ages", "tiny") == 0
    assert run("publish", "book", "tiny") == 0
    before = dict(hub.repo(REPO).branches)
    assert run("publish", "ages", "tiny") == 0
    assert run("publish", "book", "tiny") == 0
    assert hub.repo(REPO).branches == before
    assert len(hub.repo(REPO).tags) == 1


def test_a_chapter_stays_though_its_age_has_a_card_of_its_own(
    run: Run, hub: Hub, storied_house: House
) -> None:
    folder = storied_house.checkpoints / "tiny" / "chat-000008"
    (folder / "README.md").write_text("# what was measured after training\n")
    assert run("book", "build", "tiny", "--only", "epub") == 0
    assert run("publish", "ages", "tiny") == 0
    assert run("publish", "book", "tiny") == 0
    before = {name: hub.files(REPO, name)["README.md"] for name in ("main", "chat-000008")}
    assert all(b"a chapter of" in card for card in before.values())
    assert run("publish", "ages", "tiny") == 0
    assert {name: hub.files(REPO, name)["README.md"] for name in before} == before
    (folder / "notes.txt").write_text("found since")
    assert run("publish", "ages", "tiny") == 0
    assert {name: hub.files(REPO, name)["README.md"] for name in before} == before
    assert run("ages", "prune", "tiny@chat-000008", "--on-hub", "--force", "--yes") == 0
    assert run("ages", "fetch", "tiny@chat-000008") == 0
    assert (folder / "README.md").read_text() == "# what was measured after training\n"
    assert (folder / "notes.txt").exists()


def test_an_edition_is_not_moved(run: Run, hub: Hub, book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("publish", "ages", "tiny") == 0
    assert run("publish", "book", "tiny") == 0
    first, before = dict(hub.repo(REPO).tags), dict(hub.repo(REPO).branches)
    outline = book / "outline.toml"
    change(outline, "\ntitle = ", '\ntitle = "Another" # ')
    assert run("book", "build", "tiny", "--only", "site") == 0
    assert run("publish", "book", "tiny") == 1
    assert "has another ed-1 already" in capsys.readouterr().err
    assert hub.repo(REPO).branches == before
    change(outline, 'edition = "1"', 'edition = "2"')
    assert run("book", "build", "tiny", "--only", "site") == 0
    assert run("publish", "book", "tiny") == 0
    assert hub.repo(REPO).tags["ed-1"] == first["ed-1"]
    assert "Edition 2" in hub.files(REPO, "ed-2")["README.md"].decode()
    change(outline, 'edition = "2"', 'edition = "a second"')
    assert run("book", "build", "tiny", "--only", "site") == 0
    assert run("publish", "book", "tiny") == 2
    assert "makes no tag" in capsys.readouterr().err


def test_an_older_edition_that_is_called_back_is_named_too(
    run: Run, hub: Hub, book: Path, storied_house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    async def call_back(number: int) -> None:
        async with open_store(storied_house.database_url) as store, store.writing() as session:
            (await session.get_one(ExportRow, number)).invalid_at = store.clock()

    assert run("publish", "ages", "tiny") == 0
    assert run("publish", "book", "tiny") == 0
    change(book / "outline.toml", 'edition = "1"', 'edition = "2"')
    assert run("book", "build", "tiny", "--only", "site") == 0
    assert run("publish", "book", "tiny") == 0
    capsys.readouterr()
    asyncio.run(call_back(1))
    assert run("publish", "list", "--json") == 0
    books = [row for row in json.loads(capsys.readouterr().out) if row["what"] == "book tiny"]
    assert [row["called_back"] for row in books] == [True, False]
    asyncio.run(call_back(2))  # of it only the manuscript is there, and the text in the card
    assert run("publish", "list", "--json") == 0
    books = [row for row in json.loads(capsys.readouterr().out) if row["what"] == "book tiny"]
    assert [row["called_back"] for row in books] == [True, True]


def test_a_book_whose_ages_are_not_there_waits_for_them(
    run: Run, hub: Hub, book: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("publish", "book", "tiny") == 1
    assert "`selves publish ages tiny` first" in capsys.readouterr().err
    assert hub.world.repos == {}, "nothing was made on the way"
    assert run("publish", "book", "none") == 2
    assert "`selves book build none`" in capsys.readouterr().err


def test_a_book_that_says_what_was_not_said_stays_here(
    run: Run, hub: Hub, book: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = book / "manuscript.json"
    path.write_text(path.read_text("utf-8").replace(" was tiny@", " was never tiny@"), "utf-8")
    assert run("publish", "ages", "tiny") == 0
    before = hub.files(REPO)
    assert run("publish", "book", "tiny") == 1
    assert "may not be published as it is" in capsys.readouterr().err
    assert run("publish", "site", str(book / "site"), "--to", "ember-book") == 1
    assert hub.files(REPO) == before
    assert ("space", "anna/ember-book") not in hub.world.repos


def test_a_book_that_was_not_built_here_or_was_called_back_is_not_relied_on(
    run: Run, hub: Hub, storied_house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("book", "build", "tiny", "--only", "epub") == 0
    folder = storied_house.home / "books" / "tiny"
    asyncio.run(call_back_all(storied_house))
    assert run("book", "verify", "tiny") == 1
    assert "the book was called back: a reason" in capsys.readouterr().out
    assert run("book", "build", "tiny", "--only", "epub") == 0, "what may be printed today is built anew"
    assert run("book", "verify", "tiny") == 0
    change(folder / "manuscript.json", '"author": [\n  ""\n ]', '"author": [\n  "Somebody else"\n ]')
    write_book(folder, build(read_manuscript(folder / "manuscript.json"), ("epub",)))
    capsys.readouterr()
    assert run("book", "verify", "tiny") == 1
    assert "memory has no record of it" in capsys.readouterr().out
    assert run("publish", "book", "tiny") == 1


def test_a_site_that_lies_elsewhere_or_was_called_back_is_not_sent(
    run: Run, hub: Hub, book: Path, storied_house: House, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(book / "site", copy)
    assert run("publish", "site", str(copy)) == 2
    assert "is a page of a book, and here it cannot be checked" in capsys.readouterr().err
    shutil.copytree(book / "site", book / "older")
    assert run("publish", "site", str(book / "older")) == 2
    asyncio.run(call_back_all(storied_house))
    assert run("publish", "site", str(copy)) == 1
    assert "was called back" in capsys.readouterr().err
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "index.html").write_text("my own page")
    (mine / "linked.html").symlink_to(copy / "index.html")
    assert run("publish", "site", str(mine)) == 2
    assert "leads out of" in capsys.readouterr().err
    assert hub.world.repos == {}


def test_what_was_reported_is_in_no_card_and_on_no_page(
    run: Run, hub: Hub, storied_house: House, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def report() -> None:
        async with open_store(storied_house.database_url) as store:
            for age in list_ages(storied_house.checkpoints):
                await store.register_age(age)
            for writing in await store.writings("tiny"):
                if writing.generation.address == "tiny@base-000004":
                    await feedback.keep(store, "reported", writing.generation.id, via="cli")

    def shown() -> tuple[bool, ...]:
        assert run("publish", "ages", "tiny") == 0
        assert run("book", "page", "tiny", "--output", str(tmp_path / "page.html")) == 0
        cards = [hub.files(REPO, name)["README.md"] for name in ("base-000004", "main")]
        page = (tmp_path / "page.html").read_bytes()
        return ("will be 1" in cards[0].decode(), "will be 1" in cards[1].decode(), b"will be 1" in page)

    assert shown() == (True, True, True)
    asyncio.run(report())
    assert shown() == (False, False, False)
    assert "3 texts that may not be shown" in capsys.readouterr().err
    assert b"will be 1" in hub.files(REPO, "base-000004")["diary.jsonl"], "an age goes whole"


def test_what_holds_nobodys_words_is_not_called_back_with_a_page_beside_it(
    run: Run, hub: Hub, book: Path, storied_house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(call_back_all(storied_house))
    change(book / "outline.toml", 'title = "Tiny"', 'title = "Another"')
    assert run("book", "build", "tiny", "--only", "site") == 0  # with the same style sheet
    assert run("publish", "site", str(book / "site")) == 0
    capsys.readouterr()
    assert run("publish", "list", "--json") == 0
    assert [row["called_back"] for row in json.loads(capsys.readouterr().out)] == [False]


def test_dry_runs_ask_nobody(run: Run, hub: Hub, book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run("publish", "book", "tiny", "--dry-run", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert {"book.pdf", "book.epub", "main: README.md", "base-000000: README.md"} <= set(said["files"])
    assert run("publish", "site", str(book / "site"), "--dry-run") == 0
    assert "index.html" in capsys.readouterr().out
    assert hub.requests == []


def test_a_site_is_a_static_space(
    run: Run, hub: Hub, book: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("publish", "site", str(book / "site"), "--to", "ember-book", "--public") == 0
    space = hub.repo("anna/ember-book", "space")
    assert (space.sdk, space.private) == ("static", False)
    sent = hub.files("anna/ember-book", kind="space")
    assert sent["index.html"] == (book / "site" / "index.html").read_bytes()
    assert b'sdk: "static"' in sent["README.md"]
    assert sent["style.css"] == (book / "site" / "style.css").read_bytes(), "not that of the Hub's example"
    HfApi().create_repo("anna/own", repo_type="space", space_sdk="static")
    HfApi().upload_file(
        path_or_fileobj=b"my page", path_in_repo="index.html", repo_id="anna/own", repo_type="space"
    )
    hub.repo("anna/own", "space").squash()
    assert run("publish", "site", str(book / "site"), "--to", "own") == 1
    assert "the name anna/own is taken" in capsys.readouterr().err
    assert hub.files("anna/own", kind="space")["index.html"] == b"my page"
    (book / "site" / "index.html").unlink()
    assert run("publish", "site", str(book / "site")) == 2
    assert "has no index.html" in capsys.readouterr().err


def test_an_export_is_a_data_set_and_a_forgotten_one_is_named(
    run: Run, hub: Hub, storied_house: House, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def make() -> int:
        async with open_store(storied_house.database_url) as store:
            made = await export(store, Wanted(format="transcript", purpose="publish"), tmp_path / "talk")
            assert made.id is not None
            return made.id

    number = str(asyncio.run(make()))
    assert run("publish", "dataset", number, "--to", "talk", "--dry-run") == 0
    assert hub.requests == []
    assert run("publish", "dataset", number, "--to", "talk") == 0
    sent = hub.files("anna/talk", kind="dataset")
    for file in (tmp_path / "talk").rglob("*"):
        if file.is_file():
            assert sent[file.relative_to(tmp_path / "talk").as_posix()] == file.read_bytes()
    (tmp_path / "talk" / "README.md").unlink()
    assert run("publish", "dataset", number, "--to", "talk") == 0, "what is not there is made again"
    assert b"a private word" not in b"".join(sent.values())

    asyncio.run(call_back_all(storied_house))
    capsys.readouterr()
    assert run("publish", "list") == 0
    assert "CALLED BACK: selves publish delete anna/talk" in capsys.readouterr().out
    assert run("publish", "dataset", number) == 1
    assert "is invalid" in capsys.readouterr().err

    hub.requests.clear()
    assert run("publish", "delete", "anna/talk") == 0
    said = capsys.readouterr()
    assert "dataset anna/talk would be deleted" in said.out
    assert "--yes" in said.err
    assert hub.requests == []
    assert run("publish", "delete", "anna/talk", "--yes") == 0
    assert ("dataset", "anna/talk") not in hub.world.repos
    (gone,) = read_deleted(storied_house.home)
    assert (gone.what, gone.repo, gone.kind) == (f"export {number}", "anna/talk", "dataset")
    assert read_receipts(storied_house.home) == []
    assert run("publish", "delete", "anna/talk", "--yes") == 2, "nothing of ours is there any more"


def test_consent_to_train_is_no_consent_to_publish(
    run: Run, hub: Hub, storied_house: House, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from memory.consent import allow
    from selves.cast import SceneSpec
    from selves.speech import ChatMessage, Prompt

    async def talk() -> int:
        async with open_store(storied_house.database_url) as store:
            scene = await store.begin_scene(SceneSpec(name="talk", cast=("You", "Ember")), place="terminal")
            heard = await store.say(scene.id, speaker="Anna", text="my own words", origin="parlor")
            assert heard.person_id is not None
            await allow(store, heard.person_id, "train", granted=True, notice="1", via="test")
            asked = ChatMessage(role="user", content="my own words")
            prompt = Prompt(form="chat", messages=(asked,), message_ids=(heard.id,), has_human=True)
            spoken = say("tiny@chat-000008", "0" * 64, "an answer", prompt)
            line = await store.keep_turn(scene.id, speaker="Ember", utterances=[spoken], chosen=0)
            assert line is not None
            await store.mark_posted(line.id)
            async with store.reading() as session:
                assert line.generation_id is not None
                facts = (await facts_of_generations(session, [line.generation_id]))[line.generation_id]
                assert verdict("train", facts).allowed
            made = await export(store, Wanted(format="sft", sources=()), tmp_path / "sft")
            assert made.id is not None
            assert made.rows == 4, "three lines of the scene, and the answer to her"
            return made.id

    number = str(asyncio.run(talk()))
    assert run("publish", "dataset", number, "--to", "answers") == 1
    assert "may not be published" in capsys.readouterr().err
    assert hub.world.repos == {}

    async def allow_publishing(granted: bool) -> None:
        async with open_store(storied_house.database_url) as store:
            (heard,) = [m for m in await store.messages(3) if m.human]
            assert heard.person_id is not None
            await allow(store, heard.person_id, "publish", granted=granted, notice="1", via="test")

    for granted in (True, False):
        asyncio.run(allow_publishing(granted))
        assert run("publish", "dataset", number, "--to", "answers") == (0 if granted else 1)
        capsys.readouterr()
        assert run("publish", "list", "--json") == 0
        assert [row["called_back"] for row in json.loads(capsys.readouterr().out)] == [not granted]


def test_an_age_that_learned_from_what_was_called_back_is_left_out(
    run: Run, hub: Hub, storied_house: House, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def make() -> dict[str, str]:
        async with open_store(storied_house.database_url) as store:
            return dict(
                (await export(store, Wanted(format="transcript", purpose="train"), tmp_path / "talk")).files
            )

    sha256 = next(iter(asyncio.run(make()).values()))
    asyncio.run(call_back_all(storied_house))
    assert run("book", "build", "tiny", "--only", "epub") == 0
    assert run("publish", "ages", "tiny", "--to", "before") == 0
    folder = storied_house.checkpoints / "tiny"
    for name, changes in (
        ("base-000016", {"sources": [{"files": {"data.jsonl": sha256}}]}),
        ("chat-000008", {"parent": "tiny@base-000016"}),
    ):
        card = folder / name / "age.json"
        card.write_text(json.dumps(json.loads(card.read_text()) | changes))
    assert run("publish", "ages", "tiny") == 0
    assert "tiny@chat-000008 is left out" in capsys.readouterr().err
    assert set(hub.repo(REPO).branches) == {"main", "base-000000", "base-000004"}
    assert len(list_ages(storied_house.checkpoints)) == 4
    assert run("publish", "ages", "tiny", "--to", "before") == 0
    assert "chat-000008" not in hub.files("anna/before")["README.md"].decode()
    capsys.readouterr()
    assert run("publish", "list", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["what"] for row in rows if row["called_back"]} == {"tiny@base-000016", "tiny@chat-000008"}
    assert run("book", "verify", "tiny") == 1
    assert "tiny@chat-000008 learned from what was called back since" in capsys.readouterr().out
    assert run("publish", "book", "tiny") == 1
    assert run("book", "build", "tiny", "--only", "epub") == 2
    assert run("book", "plan", "tiny", "--force") == 0
    assert run("book", "build", "tiny", "--only", "epub") == 0
    assert run("book", "verify", "tiny") == 0
    assert run("publish", "book", "tiny") == 0
