"""An age in brief: what a list shows of it, and what it said, fit for one line of a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from selves.lineage import Age


def folder_bytes(folder: Path) -> int:
    """Return what an age's files take on disk."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def summarise(age: Age) -> dict[str, Any]:
    """Return what a list shows of an age; `bytes` is what its folder takes on disk."""
    return {
        "address": age.card.address,
        "stage": age.address.stage,
        "step": age.address.step,
        "form": age.card.form,
        "origin": age.card.origin,
        "parameters": age.card.parameters,
        "context_tokens": age.card.context_tokens,
        "tokens_seen": age.card.tokens_seen,
        "bits_per_byte": age.card.bits_per_byte,
        "bytes": folder_bytes(age.folder),
        "first_words": first_words(age),
        "created_at": age.card.created_at.isoformat(),
    }


def first_words(age: Age) -> str:
    """Return on one line how the age continued the text that all ages continue; "" if it wrote nothing."""
    for writing in age.writings():
        if writing.kind == "continuation":
            return " ".join((writing.utterance.prompt.text + writing.utterance.text).split())
    return ""


def printable(text: str) -> str:
    """Return the text with what a terminal cannot show, line breaks included, as spaces."""
    return "".join(c if c.isprintable() or c == " " else " " for c in text)
