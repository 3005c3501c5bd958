"""What goes into a page, and what does not."""

from __future__ import annotations

import asyncio
import json
import sys
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from book import cli
from book.colour import DARK_PAPER, LIGHT_PAPER, READABLE, contrast, make_ink
from book.life import tell_life
from book.metrics import read_metrics
from book.page import few, many
from book.passage import passage, pieces
from memory.types import Message, Scene
from selves.cast import load_cast
from selves.errors import AgeError, UsageError
from selves.lineage import list_ages
from selves.settings import House


@pytest.fixture
def in_house(house: House, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setenv("SELVES_HOME", str(house.home))
    monkeypatch.setenv("SELVES_CAST", str(house.cast_path))
    monkeypatch.delenv("SELVES_DATABASE_URL", raising=False)
    return house


@given(st.text(st.characters(codec=None)))
def test_no_text_gets_out_of_its_place(text: str) -> None:
    html = str(passage(text))
    bare = html.replace('<span class="unseen">', "").replace("</span>", "")
    assert "<" not in bare
    assert ">" not in bare
    assert '"' not in bare
    html.encode()  # no lone surrogates are left
    assert all(letter in "\t\n" or unicodedata.category(letter) not in ("Cc", "Cs") for letter in html)


@given(st.text(st.characters(categories=("L", "N", "P", "S", "Zs", "M")) | st.just("\n")))
def test_what_can_be_seen_stays_as_it_is(text: str) -> None:
    assert "".join(piece.text for piece in pieces(text)) == text


def test_every_bidirectional_control_is_named() -> None:
    for letter in map(chr, range(sys.maxunicode + 1)):
        if unicodedata.bidirectional(letter) in (
            "RLO",
            "LRO",
            "RLE",
            "LRE",
            "PDF",
            "RLI",
            "LRI",
            "FSI",
            "PDI",
        ):
            assert next(pieces(letter)).text == unicodedata.name(letter).lower()


@given(
    st.from_regex(r"#[0-9a-f]{6}", fullmatch=True)
    | st.sampled_from(["white", "Black", "rebeccapurple", "#fd0"])
)
def test_every_colour_becomes_readable_on_both_papers(color: str) -> None:
    ink = make_ink(color)
    assert ink is not None
    assert contrast(ink.light, LIGHT_PAPER) >= READABLE
    assert contrast(ink.dark, DARK_PAPER) >= READABLE


def test_a_colour_that_is_none_is_no_ink() -> None:
    assert make_ink("red; background: url(http://example.org)") is None


def test_numbers_are_said_as_people_do() -> None:
    assert [many(950), many(1_328_768), many(24_576)] == ["950", "1.33 million", "24.6 thousand"]
    assert [few(950), few(24_576), few(1_638_400)] == ["950", "24.6k", "1.64M"]


def test_a_step_logged_again_counts_once_and_a_torn_last_line_not_at_all(tmp_path: Path) -> None:
    lines = [
        {"stage": "base", "step": 1, "loss": 5.0},
        {"stage": "base", "step": 3, "loss": 9.0},
        {"stage": "base", "step": 2, "loss": 4.0},
        {"stage": "base", "step": 3, "loss": 3.0},
        {"stage": "chat", "step": 1, "loss": 2.0},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "metrics.jsonl").write_text(text + '{"stage": "chat", "ste')
    found = [(m.stage, m.step, m.loss) for m in read_metrics(tmp_path)]
    assert found == [("base", 1, 5.0), ("base", 2, 4.0), ("base", 3, 3.0), ("chat", 1, 2.0)]


def test_a_damaged_line_of_the_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(
        '{"stage": "base", "step": 1}\n{"step"\n{"stage": "base", "step": 2}\n'
    )
    with pytest.raises(AgeError, match=r"metrics\.jsonl:2 is damaged"):
        read_metrics(tmp_path)


def test_a_life_holds_the_scenes_among_selves_only(storied_house: House) -> None:
    scenes = asyncio.run(cli.read_scenes(storied_house))
    life = tell_life(
        "tiny",
        list_ages(storied_house.checkpoints),
        [],
        scenes,
        load_cast(storied_house.cast_path),
        relative_to=storied_house.home.parent,
    )
    assert [view.scene.name for view in life.scenes] == ["first-meeting"]
    assert life.scenes_with_people == 1
    assert [line.ink is not None for line in life.scenes[0].lines] == [False, True, True, True]
    assert life.newest.folder == "home/checkpoints/tiny/chat-000008"


def test_a_letter_of_a_diary_is_a_scene_only_when_it_is_answered(storied_house: House) -> None:
    (met, lines), *_ = asyncio.run(cli.read_scenes(storied_house))
    letter = replace(met, id=77, name="diary-letter", kind="letter", place="diary")
    sent = [replace(lines[1], id=777, scene_id=77)]
    answer = replace(met, id=78, name="answer", from_message_id=777)
    ages = list_ages(storied_house.checkpoints)

    def names(*scenes: tuple[Scene, list[Message]]) -> list[str]:
        life = tell_life("tiny", ages, [], scenes, None, relative_to=storied_house.home)
        return [view.scene.name for view in life.scenes]

    assert names((met, lines), (letter, sent)) == ["first-meeting"]
    assert names((letter, sent), (answer, lines)) == ["diary-letter", "answer"]


def test_the_page_command_tells_a_program_what_it_made(
    in_house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["page", "tiny", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["ages"] == 4
    assert made["scenes"] == 0
    assert Path(made["page"]) == in_house.pages / "tiny.html"
    assert Path(made["page"]).stat().st_size == made["bytes"]
    assert not (in_house.home / "selves.db").exists(), "making a page makes nothing else"


def test_an_empty_house_says_how_to_fill_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELVES_HOME", str(tmp_path / "home"))
    with pytest.raises(AgeError, match="selves train run"):
        cli.main(["page"])
    assert not (tmp_path / "home").exists()


def test_an_unknown_lineage_is_answered_with_the_known_ones(in_house: House) -> None:
    with pytest.raises(UsageError, match="there are: tiny"):
        cli.main(["page", "embr"])


def test_of_several_lineages_one_must_be_named(in_house: House) -> None:
    folder = in_house.checkpoints / "other" / "base-000000"
    folder.mkdir(parents=True)
    card = json.loads((in_house.checkpoints / "tiny" / "base-000000" / "age.json").read_text())
    (folder / "age.json").write_text(json.dumps({**card, "address": "other@base-000000"}))
    with pytest.raises(UsageError, match="name one: other, tiny"):
        cli.main(["page"])


def test_an_old_page_stays_when_the_new_one_cannot_be_made(in_house: House) -> None:
    assert cli.main(["page"]) == 0
    before = (in_house.pages / "tiny.html").read_bytes()
    (in_house.checkpoints / "tiny" / "base-000004" / "diary.jsonl").write_text("{damaged")
    with pytest.raises(AgeError, match=r"diary\.jsonl is damaged"):
        cli.main(["page"])
    assert (in_house.pages / "tiny.html").read_bytes() == before
    assert [path.name for path in in_house.pages.iterdir()] == ["tiny.html"]


def test_a_branch_says_what_it_began_as(in_house: House) -> None:
    assert cli.main(["page", "tiny"]) == 0
    page = in_house.pages / "tiny.html"
    assert "began as random numbers" in page.read_text("utf-8")
    card = in_house.checkpoints / "tiny" / "base-000000" / "age.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "parent": "ember@base-000400"}))
    assert cli.main(["page", "tiny"]) == 0
    assert "began as ember@base-000400" in page.read_text("utf-8")
