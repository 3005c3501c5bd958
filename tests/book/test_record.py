"""A page keeps to what may be published, and is remembered, so that it can be called back."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from pathlib import Path

import pytest
from sqlalchemy import select

from book.cli import make_page
from book.life import Life
from book.page import render_page
from memory.export import exports
from memory.models import ExportItemRow
from memory.store import open_store
from selves.errors import StoreError
from selves.files import sha256_file
from selves.settings import House


def make(house: House, page: Path) -> None:
    assert make_page(Namespace(lineage="tiny", output=page, json=False), house) == 0


def test_what_is_on_a_page_is_recorded_as_an_export(storied_house: House, tmp_path: Path) -> None:
    page = tmp_path / "tiny.html"
    make(storied_house, page)
    make(storied_house, page)

    async def look() -> None:
        async with open_store(storied_house.database_url) as store:
            (export,) = await exports(store)
            assert (export.format, export.purpose, export.folder) == ("page", "publish", str(tmp_path))
            assert export.files == {"tiny.html": sha256_file(page)}
            async with store.reading() as session:
                lines = await session.scalars(select(ExportItemRow.message_id))
            assert set(lines) == {1, 2, 3, 4}

    asyncio.run(look())


def test_a_line_that_was_deleted_where_it_stood_is_not_printed(storied_house: House, tmp_path: Path) -> None:
    async def delete() -> None:
        async with open_store(storied_house.database_url) as store:
            opening = await store.say(1, speaker="Operator", text="Take this back.", origin="operator")
            await store.mark_posted(opening.id, 77)
            await store.delete_heard(77)

    asyncio.run(delete())
    make(storied_house, tmp_path / "tiny.html")
    printed = (tmp_path / "tiny.html").read_text("utf-8")
    assert "Who is there?" in printed
    assert "Take this back." not in printed


def test_a_page_is_recorded_before_it_is_written_and_a_line_taken_back_meanwhile_stops_it(
    storied_house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def take_back(life: Life) -> str:
        async def delete() -> None:
            async with open_store(storied_house.database_url) as store:
                await store.mark_posted(2, 77)
                await store.delete_heard(77)

        asyncio.run(delete())
        return render_page(life)

    monkeypatch.setattr("book.page.render_page", take_back)
    with pytest.raises(StoreError, match="a line may not be shown any more"):
        make(storied_house, tmp_path / "tiny.html")
    assert not (tmp_path / "tiny.html").exists()
    monkeypatch.undo()
    make(storied_house, tmp_path / "tiny.html")


def test_a_house_that_remembers_nothing_still_has_a_page(house: House, tmp_path: Path) -> None:
    make(house, tmp_path / "tiny.html")
    assert not (house.home / "selves.db").exists()
