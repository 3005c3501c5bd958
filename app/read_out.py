"""What leaves the house: exports, which keep to what people allowed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import get_args

import streamlit as st

from app.common import ask_store, show_error, tell_store
from memory.export import Exported, export, exports, preview
from memory.formats import Format
from memory.wanted import Wanted
from selves.errors import SelvesError
from selves.lineage import list_ages
from selves.settings import House

FORMATS: tuple[Format, ...] = get_args(Format)


def read_out(house: House) -> None:
    """Draw the form of an export, and those that were made."""
    ask_export(house)
    nothing: list[Exported] = []
    found = ask_store(house, exports, nothing)
    if not found:
        st.info("Nothing was exported yet. Count first what a format would hold.")
    for made in reversed(found):
        state = f"invalid: {made.invalid_reason}" if made.invalid_at else f"{made.rows} rows"
        st.text(f"{made.id}: {made.format}, {made.created_at:%d %B %Y}, {state}")
        st.caption(made.folder)


def ask_export(house: House) -> None:
    """Draw the form of an export: count it, or write it."""
    lineages = list(dict.fromkeys(age.address.lineage for age in list_ages(house.checkpoints)))
    with st.form("export"):
        left, right = st.columns(2)
        kind = left.selectbox("Format", FORMATS, key="export_format")
        lineage = right.selectbox("Of lineage", ["any", *lineages], key="export_lineage")
        st.caption("Only words whose authors allowed it; what is left out is counted, with the reason.")
        count = st.form_submit_button("Count", key="count")
        write = st.form_submit_button("Write it", key="write", type="primary")
    if not count and not write:
        return
    purpose = "publish" if kind == "dce" else "train"
    wanted = Wanted(format=kind, lineage=None if lineage == "any" else lineage, purpose=purpose)
    folder = house.home / "exports" / f"{kind}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    try:
        made = tell_store(
            house,
            lambda store: preview(store, wanted) if count else export(store, wanted, folder),
        )
    except SelvesError as error:
        show_error(error)
        return
    st.success(f"{made.rows} rows." if count else f"{made.rows} rows are in {made.folder}")
    for reason, number in made.summary["left_out"].items():
        st.caption(f"{number} left out: {reason}")
