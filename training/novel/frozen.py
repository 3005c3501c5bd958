"""Ages that listen and never learn: how likely they find what is said next, in nats.

A listener is kept in memory from the first time that it is asked. It draws nothing at random, so a run that
goes on after a kill comes to the same weights as one that never stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

import torch

from selves.errors import ConfigError
from selves.lineage import find_age
from selves.settings import House
from selves.speech import Form
from training.documents import Turn, one_line
from training.evals.reader import Reader

KEPT = 8
"""How many ages stay in memory at most."""
Heard = tuple[Sequence[Turn], Turn]
"""What was said, and what somebody says next."""


class Listener(NamedTuple):
    """A frozen age."""

    reader: Reader
    form: Form

    def logprobs(self, pairs: Sequence[Heard]) -> list[float]:
        """Return for each pair log p of what is said next, with the end of its turn."""
        rows, firsts = [], []
        for turns, said in pairs:
            before, whole = self._ids(turns, said)
            joint = next(
                (n for n, (a, b) in enumerate(zip(before, whole, strict=False)) if a != b), len(before)
            )
            excess = max(0, len(whole) - self.reader.context)
            rows.append(whole[excess:])
            firsts.append(max(1, joint - excess))
        found = self.reader.logprobs(rows)
        return [float(each[first - 1 :].sum()) for each, first in zip(found, firsts, strict=True)]

    def _ids(self, turns: Sequence[Turn], said: Turn) -> tuple[list[int], list[int]]:
        """Return the token ids of what was said, and with what is said next."""
        if self.form == "chat":
            asked = messages(turns, said.speaker)
            return self._rendered(asked, ask=True), self._rendered([*asked, _message("assistant", said.text)])
        before = "".join(f"<{turn.speaker}> {one_line(turn.text)}\n" for turn in turns) + f"<{said.speaker}>"
        tokens = self.reader.tokenizer.bos_token_id, self.reader.tokenizer.eos_token_id
        start = [token for token in tokens if token is not None][:1]
        found = [self.reader.encode(text) for text in (before, f"{before} {one_line(said.text)}\n")]
        one, two = (ids if ids[:1] == start else start + ids for ids in found)
        return one, two

    def _rendered(self, asked: list[dict[str, str]], *, ask: bool = False) -> list[int]:
        render = self.reader.tokenizer.apply_chat_template
        return list(render(asked, add_generation_prompt=ask, return_dict=True)["input_ids"])


def messages(turns: Sequence[Turn], me: str) -> list[dict[str, str]]:
    """Return turns as one of the speakers sees them; what others say in a row is one message (pure)."""
    return [
        _message("assistant" if mine else "user", "\n\n".join(turn.text for turn in some))
        for mine, some in groupby(turns, key=lambda turn: turn.speaker == me)
    ]


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


@lru_cache(KEPT)
def listener(house: House, address: str) -> Listener:
    """Return a frozen age. Raises AgeError; ConfigError if it is an adapter."""
    age = find_age(house.checkpoints, address)
    if age.card.adapter_of is not None:
        raise ConfigError(f"the listener {address} is an adapter", 'make a whole age of it: method = "merge"')
    with torch.random.fork_rng():
        return Listener(Reader(age.folder), age.card.form)
