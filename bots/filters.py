"""What no self may say: the cast file's words, a function of the user's, and Discord's own codes.

A filter that fails lets nothing pass: silence is better than what somebody wanted kept out.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from selves.cast import Filter
from selves.errors import ConfigError

log = logging.getLogger("selves.bots")

Judge = Callable[[str, str], object]
"""(text, the self's name) -> why it may not be posted; nothing, None, False or "", if it may."""


class Filters(NamedTuple):
    """A cast file's filter, ready to use."""

    words: re.Pattern[str] | None
    judge: Judge | None


def refuse(spec: Filter, speaker: str, text: str) -> str | None:
    """Return why a self may not say this, in a few words that do not repeat it; None if it may.

    Raises ConfigError when the filter cannot be loaded.
    """
    filters = load(spec)
    if filters.words and filters.words.search(_plainest(text)):
        return "a filtered word"
    if filters.judge is None:
        return None
    try:
        why = filters.judge(text, speaker)
    except Exception:  # whatever a person's own function does
        log.exception("the filter %s failed, so what %s said is not posted", spec.function, speaker)
        return "the filter failed"
    return f"the filter: {why}" if why else None


@lru_cache(maxsize=8)
def load(spec: Filter) -> Filters:
    """Return a filter ready to use; read once. Raises ConfigError."""
    words = [*spec.words, *(_read(Path(spec.words_file)) if spec.words_file else ())]
    patterns = [pattern for word in words if (pattern := _pattern(word))]
    joined = re.compile(rf"(?<!\w)(?:{'|'.join(patterns)})(?!\w)") if patterns else None
    return Filters(joined, _function(spec.function) if spec.function else None)


def plain(text: str) -> str:
    """Return a line without Discord's codes: nobody is pinged, named or linked by a self that babbles."""
    text = re.sub(r"<(?:@[!&]?|#)\d+>", "", text)
    text = re.sub(r"<a?(:\w+:)\d+>", r"\1", text)
    text = re.sub(r"@(everyone|here)\b", r"\1", text)
    return re.sub(" {2,}", " ", text).strip()


def _plainest(text: str) -> str:
    """A text as it is compared: small letters, without accents and without letters that nobody sees."""
    taken_apart = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in taken_apart if unicodedata.category(c) not in ("Mn", "Cf"))


def _pattern(word: str) -> str:
    parts = re.split(r"\s+", _plainest(word).strip())
    return r"\W+".join(re.escape(part).replace(r"\*", r"\w*") for part in parts if part.strip("*"))


def _read(path: Path) -> list[str]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the filter's words_file cannot be read: {error}",
            "name a text file; the way to it begins in the folder where you are",
        ) from error
    return [line for line in lines if not line.startswith("#")]


def _function(name: str) -> Judge:
    from training.documents import import_named

    judge: Judge = import_named(name)
    return judge
