"""The parlor: `streamlit run app/main.py`, which `selves app` does. Thin over the rooms below."""

from __future__ import annotations

import streamlit as st

from app.reading_room import reading_room
from app.side_by_side import side_by_side

# given as a picture, because the browser would fetch a named icon from outside
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">'
    '<circle cx="8" cy="8" r="6" fill="#a4371e"/></svg>'
)

st.set_page_config(page_title="Selves: the parlor", page_icon=ICON, layout="wide")
st.navigation(
    [
        st.Page(
            side_by_side,
            title="One prompt, n ages",
            icon=":material/view_column:",
            url_path="ask",
            default=True,
        ),
        st.Page(reading_room, title="Reading room", icon=":material/menu_book:", url_path="read"),
    ]
).run()
