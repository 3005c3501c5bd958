"""Quote by selecting: whoever selects words in a line is offered to quote them."""

from __future__ import annotations

import streamlit as st

from app.common import show_error, tell_store
from app.votes import EDITOR
from memory.curate import Mark, pick
from selves.errors import SelvesError
from selves.settings import House

CSS = """
button { position: fixed; z-index: 1000; display: none; padding: .3rem .8rem; border: 0; border-radius: .5rem;
  background: #a4371e; color: #fff; font: inherit; cursor: pointer; }
"""
JS = """
export default function ({ parentElement, setTriggerValue }) {
  const button = parentElement.querySelector('button');
  let chosen = null;
  const look = () => {
    const selection = document.getSelection();
    const range = selection && selection.rangeCount ? selection.getRangeAt(0).cloneRange() : null;
    const node = range && range.startContainer;
    const element = node && (node.nodeType === 1 ? node : node.parentElement);
    const words = element && element.closest('[data-testid="stText"]');
    const line = words && words.closest('[class*="st-key-line-"]');
    // three clicks select up to the beginning of what comes next
    if (line && !words.contains(range.endContainer)) range.setEnd(words, words.childNodes.length);
    const text = line ? range.toString().trim() : '';
    if (!text) {
      button.style.display = 'none';
      return;
    }
    const id = [...line.classList].find(name => name.startsWith('st-key-line-')).slice('st-key-line-'.length);
    chosen = { message: Number(id), text };
    const box = range.getBoundingClientRect();
    button.style.left = Math.max(8, Math.min(box.left, window.innerWidth - 110)) + 'px';
    button.style.top = Math.max(8, box.top - 42) + 'px';
    button.style.display = 'block';
  };
  const quote = event => {
    event.preventDefault();
    if (chosen) setTriggerValue('quote', chosen);
    chosen = null;
    document.getSelection().removeAllRanges();
    button.style.display = 'none';
  };
  document.addEventListener('selectionchange', look);
  look();  // words may have been selected before this was listening
  button.addEventListener('mousedown', quote);
  button.addEventListener('click', quote);
  return () => {
    document.removeEventListener('selectionchange', look);
    button.removeEventListener('mousedown', quote);
    button.removeEventListener('click', quote);
  };
}
"""


def quote_by_selecting(house: House) -> None:
    """Listen for words that are selected in the lines above, and keep them as a quotation when asked to."""
    listen = st.components.v2.component(
        "selves_quote", html="<button type='button'>Quote this</button>", css=CSS, js=JS
    )
    chosen = listen(key="quoting", on_quote_change=lambda: None).quote
    if not chosen:
        return
    mark = Mark("quote", quote=str(chosen["text"]))
    try:
        kept = tell_store(
            house, lambda store: pick(store, mark, editor=EDITOR, message_id=int(chosen["message"]))
        )
    except SelvesError as error:
        show_error(error)
    else:
        st.toast(f"Quoted from message {kept.message_id}.")
