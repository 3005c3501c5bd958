"""The door: where a password is set, nothing is shown to whoever does not know it."""

from __future__ import annotations

import hmac
import os
import threading
import time

import streamlit as st

PASSWORD = "SELVES_PARLOR_PASSWORD"
"""The environment variable that holds it."""
PAUSE_S = 1.0
"""After a wrong one; all who try wait for each other."""


@st.cache_resource(show_spinner=False)
def one_at_a_time() -> threading.Lock:
    """Return the lock that all sessions try under."""
    return threading.Lock()


def ask_password() -> None:
    """Return for whoever may come in; ask all others, and end the page."""
    password = os.environ.get(PASSWORD, "")
    if not password or st.session_state.get("came_in"):
        return
    st.title("The parlor", anchor=False)
    with st.form("door"):
        said = st.text_input("Password", type="password", key="password")
        tried = st.form_submit_button("Come in", type="primary", key="come_in")
    if tried:
        with one_at_a_time():
            if hmac.compare_digest(said.encode(), password.encode()):
                st.session_state["came_in"] = True
                st.rerun()
            time.sleep(PAUSE_S)
        st.error("That is not the password.")
    st.stop()
