"""Token ids into text that can be shown at once: no half characters, no beginnings of stop strings. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

UNDECODED = "\ufffd"
"""What decoders write for bytes that are no character, or not yet."""


class Detokenizer:
    """Turns token ids into text piece by piece.

    A piece is given out only when it ends with whole characters. Each is decoded together with the tokens
    before it, because some tokenizers write a word differently at the beginning of a text; `context` are the
    last tokens of the prompt. (The method of text-generation-inference and vLLM.)
    """

    def __init__(self, decode: Callable[[list[int]], str], context: Sequence[int] = ()) -> None:
        self._decode = decode
        self._ids = list(context)
        self._start = 0
        self._read = len(self._ids)
        self._said = decode(self._ids) if self._ids else ""

    def add(self, token_id: int) -> str:
        """Return the new text that this token completes, possibly none."""
        self._ids.append(token_id)
        text = self._decode(self._ids[self._start :])
        if text.endswith(UNDECODED) or len(text) <= len(self._said):
            return ""
        piece = text[len(self._said) :]
        self._start, self._read = self._read, len(self._ids)
        self._said = self._decode(self._ids[self._start :])
        return piece

    def flush(self) -> str:
        """Return what is left at the end, without a last half character."""
        text = self._decode(self._ids[self._start :]) if self._read < len(self._ids) else self._said
        return text[len(self._said) :].rstrip(UNDECODED)


class StopScanner:
    """Lets text through until the first stop string, which itself, and any beginning of it, is held back.

    The match that ends first wins, the longest of those that end together; so the result does not depend on
    how the text was cut into pieces.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.found: str | None = None
        """The stop string that was met. After that nothing more is let through."""

    def add(self, piece: str) -> str:
        """Return the text that may be shown now."""
        if self.found is not None:
            return ""
        if not self._stops:
            return piece
        text = self._held + piece
        matches = [
            (start + len(stop), start, stop) for stop in self._stops if (start := text.find(stop)) >= 0
        ]
        if matches:
            _, start, self.found = min(matches)
            self._held = ""
            return text[:start]
        held = max(_overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def flush(self) -> str:
        """Return what was held back, when the text ends without a stop string."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of `text` that is a proper beginning of `stop`."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
