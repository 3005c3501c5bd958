"""Ages that listen and never learn: how likely they find what is said next, in nats.

A listener is kept in memory from the first time that it is asked. It draws nothing at random, and what it
finds depends on what is asked together, in its last digits, and on nothing that was asked before: a run that
goes on after a kill on a CPU comes to the same weights as one that never stopped. What several of its texts
begin with is read once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Literal, NamedTuple

import torch

from selves.errors import ConfigError
from selves.lineage import find_age
from selves.settings import House
from selves.speech import Form
from training.documents import Turn, one_line
from training.evals.reader import Reader

KEPT = 8
"""How many ages stay in memory at most."""
TOGETHER = 16
"""How many texts are read at once."""
KNOWN = 64
"""How many calls a listener remembers at most."""
Dtype = Literal["float32", "bfloat16"]
Heard = tuple[Sequence[Turn], Turn]
"""What was said, and what somebody says next."""


class Listener(NamedTuple):
    """A frozen age."""

    reader: Reader
    form: Form
    known: dict[tuple[Heard, ...], list[float]]
    """What it found in each call, newest last: several rewards ask the same. Not in each pair, since
    what else is read in a batch changes the last digits."""

    def logprobs(self, pairs: Sequence[Heard]) -> list[float]:
        """Return for each pair log p of what is said next, with the end of its turn."""
        asked = tuple((tuple(turns), said) for turns, said in pairs)
        if asked not in self.known:
            self.known[asked] = self._found(asked)
            for call in list(self.known)[:-KNOWN]:
                del self.known[call]
        return list(self.known[asked])

    def _found(self, asked: Sequence[Heard]) -> list[float]:
        """Return the same, reckoned; a pair that is asked twice is read once."""
        rows, firsts = [], []
        once = list(dict.fromkeys(asked))
        for turns, said in once:
            before, whole = self._ids(turns, said)
            excess = max(0, len(whole) - self.reader.context)
            rows.append(whole[excess:])
            firsts.append(max(1, _alike(before, whole) - excess))
        found: dict[Heard, float] = {}
        for some in _branching(rows):
            values = self._read([rows[n] for n in some], [firsts[n] for n in some])
            found.update(zip((once[n] for n in some), values, strict=True))
        return [found[pair] for pair in asked]

    def _read(self, rows: Sequence[Sequence[int]], firsts: Sequence[int]) -> list[float]:
        """Return log p of each row's ids from its first on; what all begin with is read once."""
        model, device = self.reader.model, self.reader.device
        shared = min(firsts) - 1
        for row in rows:
            shared = min(shared, _alike(rows[0], row))
        length = max(map(len, rows))
        ids = torch.zeros(len(rows), length, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for at, row in enumerate(rows):
            ids[at, : len(row)] = torch.tensor(row)
            mask[at, : len(row)] = 1
        ids, mask = ids.to(device), mask.to(device)
        with torch.inference_mode():
            past = None
            if shared:
                past = model(input_ids=ids[:1, :shared], use_cache=True, logits_to_keep=1).past_key_values
                past.batch_repeat_interleave(len(rows))
            logits = model(
                input_ids=ids[:, shared:-1], attention_mask=mask[:, :-1], past_key_values=past
            ).logits.float()
            after = ids[:, shared + 1 :]
            each = (logits.gather(-1, after[..., None])[..., 0] - logits.logsumexp(-1)).double().cpu()
        return [
            float(each[at, first - 1 - shared : len(row) - 1 - shared].sum())
            for at, (row, first) in enumerate(zip(rows, firsts, strict=True))
        ]

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


def _alike(one: Sequence[int], two: Sequence[int]) -> int:
    """Return how many ids two rows begin with alike."""
    return next(
        (n for n, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two))
    )


def _branching(rows: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Yield the numbers of rows, those together that begin alike for at least half of their length."""
    some: list[int] = []
    for n in sorted(range(len(rows)), key=lambda n: list(rows[n])):
        if some and (len(some) == TOGETHER or 2 * _alike(rows[some[0]], rows[n]) < len(rows[n])):
            yield some
            some = []
        some.append(n)
    if some:
        yield some


def messages(turns: Sequence[Turn], me: str) -> list[dict[str, str]]:
    """Return turns as one of the speakers sees them; what others say in a row is one message (pure)."""
    return [
        _message("assistant" if mine else "user", "\n\n".join(turn.text for turn in some))
        for mine, some in groupby(turns, key=lambda turn: turn.speaker == me)
    ]


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


@lru_cache(KEPT)
def listener(house: House, address: str, dtype: Dtype = "float32") -> Listener:
    """Return a frozen age, which computes in `dtype`: in bfloat16 its numbers are rougher, and some
    CPUs are faster. Raises AgeError; ConfigError if it is an adapter."""
    age = find_age(house.checkpoints, address)
    if age.card.adapter_of is not None:
        raise ConfigError(f"the listener {address} is an adapter", 'make a whole age of it: method = "merge"')
    with torch.random.fork_rng():
        reader = Reader(age.folder)
        if dtype == "bfloat16":
            reader.model = reader.model.to(torch.bfloat16)
        return Listener(reader, age.card.form, {})
