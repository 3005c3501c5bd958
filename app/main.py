"""The parlor: `streamlit run app/main.py`, which `selves app` does. Thin over the rooms below."""

from __future__ import annotations

import streamlit as st

from app.conversation import conversation
from app.gate import ask_password
from app.house_page import house_page
from app.lineages import lineages
from app.one_self import one_self
from app.reading_room import reading_room
from app.side_by_side import side_by_side

# given as a picture, because the browser would fetch a named icon from outside
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">'
    '<circle cx="8" cy="8" r="6" fill="#a4371e"/></svg>'
)

st.set_page_config(page_title="Selves: the parlor", page_icon=ICON, layout="wide")
STYLE = """<style>
.words { white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.55; }
.words mark { background: rgba(200, 80, 40, .25); color: inherit; border-radius: .2rem; }
[class*="st-key-icon-"] button [data-testid="stMarkdownContainer"] {
  position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
[class*="st-key-icon-"] button { min-height: 1.6rem; padding: 0 .15rem; }
[class*="st-key-icon-unstar-"] button { color: #a4371e; }
h2 { font-size: 1.4rem !important; }
[data-testid="stMainBlockContainer"] { padding-top: 3.5rem; }
[data-testid="stText"] { overflow-wrap: anywhere; }
@media (max-width: 640px) {
  [class*="st-key-line-"] { position: relative; }
  [class*="st-key-line-"] [data-testid="stHorizontalBlock"] { gap: 0; }
  [class*="st-key-line-"] [data-testid="stColumn"] [data-testid="stHorizontalBlock"] { gap: .9rem; }
  [class*="st-key-line-"] [data-testid="stColumn"]:first-child { font-weight: 600; }
  [class*="st-key-line-"] [data-testid="stColumn"]:last-child {
    position: absolute; top: 0; right: 0; width: auto; min-width: 0; }
}
</style>"""

st.html(STYLE)
ask_password()
st.navigation(
    [
        st.Page(
            side_by_side,
            title="One prompt, n ages",
            icon=":material/view_column:",
            url_path="ask",
            default=True,
        ),
        st.Page(
            conversation, title="A conversation among selves", icon=":material/forum:", url_path="scenes"
        ),
        st.Page(one_self, title="Talk with one self", icon=":material/chat:", url_path="talk"),
        st.Page(reading_room, title="Reading room", icon=":material/menu_book:", url_path="read"),
        st.Page(lineages, title="The life of a lineage", icon=":material/timeline:", url_path="life"),
        st.Page(house_page, title="House", icon=":material/house:", url_path="house"),
    ]
).run()
