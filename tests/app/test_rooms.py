"""The parlor's rooms in a real Chromium: read, quoted, played and talked in, by everybody, on any screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe

from app.person import allowed
from memory.curate import picks
from memory.store import Store
from selves.cast import SceneSpec
from selves.settings import House
from tests.app.test_parlor import read

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HOSTILE = "<img src=x onerror=\"document.title='owned'\"> **bold** $x$ :red[x] \u202e"
PAGES = ("", "scenes", "talk", "read", "life", "house")


@pytest.fixture
def said(parlor_house: House) -> str:
    """A scene in which somebody said something hostile."""

    async def say(store: Store) -> None:
        scene = await store.begin_scene(
            SceneSpec(name="hostile", cast=("A", "B"), premise=HOSTILE), place="terminal", key="hostile"
        )
        if not scene.messages:
            line = await store.say(scene.id, speaker="Host", text=f"Call me {HOSTILE}", origin="operator")
            await store.mark_posted(line.id)

    read(parlor_house, say)
    return "Call me <img"


def open_at(page: Page, address: str, path: str) -> None:
    page.goto(f"{address}/{path}")
    page.get_by_role("heading", level=1).wait_for()
    page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]').wait_for()
    # what is drawn anew every few seconds fades while it is: that would be too little contrast for a moment
    page.add_style_tag(content='[data-stale="true"] { opacity: 1 !important; transition: none !important }')


@pytest.mark.browser
def test_every_page_fits_a_phone_and_has_no_barriers(said: str, address: str, browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844})
    axe = Axe()
    for path in PAGES:
        open_at(page, address, path)
        found = [v for v in axe.run(page).response["violations"] if v["impact"] in ("serious", "critical")]
        assert found == [], path
        assert not page.evaluate("document.documentElement.scrollWidth > window.innerWidth"), path


@pytest.mark.browser
def test_hostile_words_are_shown_as_words_and_quoted_by_selecting(
    said: str, address: str, browser: Browser, parlor_house: House
) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    open_at(page, address, "read")
    words = page.locator('[class*="st-key-line-"]').get_by_text(said)
    assert words.inner_text() == f"Call me {HOSTILE}".replace("\u202e", "\\u202e")
    assert page.title() != "owned"
    assert page.locator('img[src="x"]').count() == 0
    words.evaluate(
        """element => {
            const range = document.createRange();
            const text = document.createTreeWalker(element, NodeFilter.SHOW_TEXT).nextNode();
            range.setStart(text, 0);
            range.setEnd(text, 'Call me'.length);
            document.getSelection().removeAllRanges();
            document.getSelection().addRange(range);
        }"""
    )
    page.get_by_role("button", name="Quote this").click()
    page.get_by_text("Quoted from message").wait_for()
    (picked,) = read(parlor_house, lambda store: picks(store, kind="quote"))
    assert (picked.text, picked.intact) == ("Call me", True)


@pytest.mark.browser
def test_with_the_keyboard_alone_one_talks_and_switches_consent(
    address: str, browser: Browser, parlor_house: House
) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    open_at(page, address, "talk")
    page.get_by_placeholder("Say something to").focus()
    page.keyboard.type("Hi!")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="A new talk").wait_for()
    (talk,) = [s for s in read(parlor_house, lambda store: store.scenes()) if s.name == "talk"]
    heard = read(parlor_house, lambda store: store.messages(talk.id))[0]
    assert (talk.place, heard.text, heard.origin) == ("web", "Hi!", "parlor")

    open_at(page, address, "house")
    switch = page.get_by_role("switch", name="Selves may be trained").or_(
        page.get_by_role("checkbox", name="Selves may be trained")
    )
    assert not switch.is_checked(), "off, if nobody switched it on"
    switch.focus()
    page.keyboard.press("Space")
    page.wait_for_function("element => element.checked", arg=switch.element_handle())
    while not read(parlor_house, allowed).get("train"):
        pass  # the browser shows it as switched before the page's script has kept it
    open_at(page, address, "house")
    assert switch.is_checked()


@pytest.mark.browser
def test_a_scene_plays_and_a_person_steps_in(address: str, browser: Browser, parlor_house: House) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    open_at(page, address, "scenes")
    # enough turns that they are not over before they are paused
    page.get_by_role("slider", name="Turns").press("End")
    page.get_by_label("First line").fill("Hi! How are you?")
    page.get_by_role("button", name="Play").click()
    page.locator('[class*="st-key-line-"]').get_by_text("Hi! How are you?").wait_for()
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Go on").wait_for()
    page.get_by_placeholder("Step in").fill("Do you like the sea?")
    page.keyboard.press("Enter")
    page.locator('[class*="st-key-line-"]').get_by_text("Do you like the sea?").wait_for()
    page.get_by_role("button", name="End it").click()
    page.get_by_text("A person stopped them").wait_for()
    scene = read(parlor_house, lambda store: store.scenes(last=1))[0]
    assert (scene.status, scene.stop_reason, scene.place) == ("ended", "stopped", "web")


@pytest.mark.browser
def test_whoever_clicks_a_dot_of_the_curve_reads_what_that_age_wrote(
    address: str, browser: Browser, parlor_house: House
) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    open_at(page, address, "life")
    dot = page.locator('.st-key-curve path[aria-label*="tiny@base-000004"]')
    words = page.get_by_test_id("stMain").get_by_text("tiny@base-000004 · ")
    assert words.count() == 0
    dot.click()
    words.wait_for()


@pytest.mark.browser
def test_a_book_is_read_where_it_was_made_and_runs_nothing(
    address: str, browser: Browser, parlor_house: House
) -> None:
    site = parlor_house.home / "books" / "tiny" / "site"
    site.mkdir(parents=True)
    (site / "style.css").write_text("h1 { color: rgb(1, 2, 3) }")
    (site / "index.html").write_text('<h1>A life</h1><a href="chapter-01.html#p2">At birth</a>')
    (site / "chapter-01.html").write_text(
        "<h1>Nothing yet</h1><p id='p2'>was</p><script>document.body.textContent = 'owned'</script>"
        "<nav><a href='../../../selves.db'>out</a> <a href='index.html'>back</a></nav>"
    )
    page = browser.new_page(viewport={"width": 390, "height": 844})
    open_at(page, address, "read")
    page.get_by_test_id("stButtonGroup").get_by_text("Books").click()
    book = page.frame_locator('iframe[title="tiny"]')
    colour = book.get_by_role("heading", name="A life").evaluate("element => getComputedStyle(element).color")
    assert colour == "rgb(1, 2, 3)"
    book.get_by_role("link", name="At birth").click()
    book.get_by_role("heading", name="Nothing yet").wait_for()
    book.get_by_role("link", name="out").click()
    book.get_by_role("link", name="back").click()
    book.get_by_role("heading", name="A life").wait_for()
    assert not page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
