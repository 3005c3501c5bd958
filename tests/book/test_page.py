"""The page in a real Chromium, opened as a file, with the nastiest text a model can write."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from book import cli
from selves.settings import House

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser
AGES = ["base-000000", "base-000004", "base-000016", "chat-000008"]
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 375, "height": 812}


@pytest.fixture
def page_file(storied_house: House, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SELVES_HOME", str(storied_house.home))
    monkeypatch.setenv("SELVES_CAST", str(storied_house.cast_path))
    assert cli.main(["page"]) == 0
    return storied_house.pages / "tiny.html"


@pytest.fixture
def bare_page_file(checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page of one age without diary, figures, cast, training record or scenes."""
    folder = tmp_path / "home" / "checkpoints" / "tiny" / "base-000000"
    shutil.copytree(checkpoints / "tiny" / "base-000000", folder)
    card = json.loads((folder / "age.json").read_text())
    (folder / "age.json").write_text(json.dumps({**card, "bits_per_byte": None}))
    monkeypatch.setenv("SELVES_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SELVES_CAST", str(tmp_path / "none.toml"))
    assert cli.main(["page", "tiny", "--output", str(tmp_path / "bare.html")]) == 0
    return tmp_path / "bare.html"


@pytest.fixture
def page(page_file: Path, browser: Browser) -> Iterator[Page]:
    """The page, open; when the test ends, it has asked nobody for anything and complained of nothing."""
    page = browser.new_page(viewport=DESKTOP)
    complaints: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(page_file.as_uri())
    yield page
    assert complaints == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []


def test_every_age_is_there_with_its_bits_per_byte_and_its_words(page: Page) -> None:
    assert page.title() == "Tiny: a life in 4 ages"
    assert page.locator("h1").inner_text() == "Tiny"
    for number, age in enumerate(AGES):
        entry = page.locator(f"article#{age}")
        assert f"{8 - number}.00 bits per byte" in entry.inner_text()
        assert f"was tiny@{age}." in entry.inner_text()
    columns = page.locator(".column").all_inner_texts()
    assert len(columns) == len(AGES)
    assert all(f"will be {number}." in text for number, text in enumerate(columns))
    assert page.locator(".prompt").inner_text().startswith("When I grow up, I")


def test_the_dots_can_be_reached_by_keyboard_show_words_and_lead_to_their_age(page: Page) -> None:
    dots = page.locator(".curve.wide .dot")
    assert [dot.get_attribute("href") for dot in dots.all()] == [f"#{age}" for age in AGES]
    newest, eldest = page.locator(".said-chat-000008"), page.locator(".said-base-000000")
    assert newest.is_visible()
    assert eldest.is_hidden()
    dots.first.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+Tab")
    assert eldest.is_visible()
    assert newest.is_hidden()
    page.keyboard.press("Enter")
    assert page.url.endswith("#base-000000")
    assert page.evaluate("document.querySelector(':target').id") == "base-000000"


def test_hostile_text_is_shown_as_text(page: Page) -> None:
    assert page.title() != "broken in"
    text = page.locator("body").inner_text()
    assert "<script>document.title = 'broken in'</script></style></textarea><img src=" in text
    assert "{{ 7 * 7 }} {% raw %} & &lt; ]]> --> \" ' `" in text
    assert page.locator("script, img, iframe, textarea, base").count() == 0
    unseen = page.locator(".unseen").all_inner_texts()
    assert {"right-to-left override", "pop directional formatting", "\\x07", "\\x1b", "\\x00"} <= set(unseen)
    assert "\u202e" not in page.content()
    assert "x" * 10_000 in page.content()


def test_the_scene_stands_in_two_columns_with_message_ids(page: Page) -> None:
    scene = page.locator(".scene")
    assert scene.count() == 1
    assert scene.locator("h3").inner_text() == "First meeting"
    speakers, lines = scene.locator("dt"), scene.locator("dd")
    assert speakers.all_inner_texts() == ["Operator", "Spark", "Ember", "Spark"]
    assert all(re.fullmatch(r"\d+", sup) for sup in lines.locator("sup").all_inner_texts())
    first, second = speakers.nth(0).bounding_box(), lines.nth(0).bounding_box()
    assert first is not None
    assert second is not None
    assert first["x"] + first["width"] < second["x"]
    assert "They went round in circles." in scene.inner_text()


def test_what_people_said_is_not_printed(page: Page) -> None:
    assert "a private" not in page.content()
    assert "1 conversation with people is not printed" in page.locator("footer").inner_text()


def test_nothing_sticks_out_at_any_width(page_file: Path, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(page_file.as_uri())
    for width in (320, 375, 768, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        outside = page.evaluate(
            """() => [...document.querySelectorAll('p, h1, h2, h3, dt, dd, li, figure, svg, table')]
                .filter(e => !e.closest('.columns, .scroll, pre') && e.checkVisibility())
                .map(e => [e.getBoundingClientRect(), e.outerHTML.slice(0, 80)])
                .filter(([box]) => box.right > innerWidth + 1 || box.left < -1)"""
        )
        assert outside == [], width


def test_all_text_contrasts_with_its_paper(page_file: Path, browser: Browser) -> None:
    for scheme in ("light", "dark"):
        page = browser.new_page(viewport=DESKTOP, color_scheme=scheme)  # type: ignore[arg-type]
        page.goto(page_file.as_uri())
        faint = page.evaluate(
            """() => {
                const rgb = color => color.match(/[\\d.]+/g).slice(0, 3).map(Number);
                const light = color => rgb(color).map(v => v / 255)
                    .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
                    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
                const paper = light(getComputedStyle(document.documentElement).backgroundColor);
                return [...document.querySelectorAll('body *')].filter(e => e.checkVisibility())
                    .map(e => [e.closest('svg') ? getComputedStyle(e).fill : getComputedStyle(e).color, e])
                    .filter(([, e]) => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()))
                    .map(([color, e]) => [[light(color), paper].sort((a, b) => b - a), e])
                    .filter(([[high, low]]) => (high + .05) / (low + .05) < 4.5)
                    .map(([, e]) => e.outerHTML.slice(0, 80));
            }"""
        )
        assert faint == [], scheme


def test_it_prints_as_black_on_white_with_every_column(page_file: Path, browser: Browser) -> None:
    page = browser.new_page(viewport=DESKTOP, color_scheme="dark")
    page.goto(page_file.as_uri())
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator(".columns").evaluate("e => e.scrollWidth <= e.clientWidth")
    assert page.pdf().startswith(b"%PDF")


def test_an_age_that_cannot_be_measured_and_wrote_nothing_still_has_a_page(
    bare_page_file: Path, browser: Browser
) -> None:
    page = browser.new_page(viewport=PHONE)
    page.goto(bare_page_file.as_uri())
    assert page.locator("svg, #prompt, #scenes").count() == 0
    assert "It wrote nothing at this age." in page.locator("#diary").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
