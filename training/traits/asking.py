"""A self answers a trait's questions: its weights loaded, an adapter put on, each beginning read only once.

What is sampled is drawn from a random source of each question's own, so a self says the same whenever and
beside whatever it is asked; where it is asked the same twice at once, it says two things.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from selves.errors import AgeError
from selves.lineage import Age
from selves.speech import seed_from
from training.imports import load_model, load_tokenizer
from training.post.figures import Loaded, greedy
from training.post.models import Base, widened
from training.traits.items import Answer, Item, Messages, Pick, Picked, Say

TEMPERATURE, TOP_P = 0.8, 0.95
TOGETHER = 16
"""How many answers are sampled at once."""


class Asked:
    """A model in memory that can be asked, or an age.

    Raises AgeError where an age cannot be loaded, or has no chat template.
    """

    def __init__(self, who: Age | Loaded) -> None:
        self.reader = who if isinstance(who, Loaded) else _opened(who)
        self._ids: list[int] = []
        self._cache: Any = None

    def answer(self, items: Sequence[Item]) -> list[Answer]:
        """Return an answer to each, in order."""
        said = iter(self._say([item for item in items if isinstance(item, Say)]))
        with torch.inference_mode():
            found = [self._pick(item) if isinstance(item, Pick) else next(said) for item in items]
        for one in found:
            if isinstance(one, Picked) and not all(map(math.isfinite, one.sums)):
                raise _no_numbers()
        return found

    def _pick(self, item: Pick) -> Picked:
        asked = self.reader.template(item.messages)
        wholes = [self._whole(item.messages, option) for option in item.options]
        shared = min(_alike(whole, asked) for whole in wholes)
        excess = max(0, max(map(len, wholes)) - self.reader.context)
        begin = max(1, shared - excess)
        cut = [whole[excess:] for whole in wholes]
        first = self._read(cut[0][:begin])
        rests = [ids[begin:] for ids in cut]
        longest = max(map(len, rests))
        padded = torch.tensor([ids + [0] * (longest - len(ids)) for ids in rests], device=self.reader.device)
        cache = copy.deepcopy(self._cache)
        cache.batch_repeat_interleave(len(rests))
        # what is padded stands after all that counts, so nothing looks at it
        logits = self.reader.model(input_ids=padded, past_key_values=cache, use_cache=True).logits.float()
        before = torch.cat([first.expand(len(rests), 1, -1), logits[:, :-1]], dim=1).log_softmax(-1)
        found = before.gather(-1, padded[..., None])[..., 0].double()
        sums = tuple(float(found[n, : len(ids)].sum()) for n, ids in enumerate(rests))
        return Picked(sums, tuple(map(len, rests)))

    def _whole(self, messages: Messages, option: str) -> list[int]:
        told = [message.model_dump() for message in messages] + [{"role": "assistant", "content": option}]
        return list(self.reader.tokenizer.apply_chat_template(told, return_dict=True)["input_ids"])

    def _read(self, ids: list[int]) -> Any:
        """Read a beginning but for what the last one shared with it; return the logits after it (1, 1, V)."""
        known = min(_alike(self._ids, ids), len(ids) - 1)
        if self._cache is not None and known:
            if gone := len(self._ids) - known:
                self._cache.crop(-gone)
        else:
            self._cache, known = None, 0
        rest = torch.tensor([ids[known:]], device=self.reader.device)
        found = self.reader.model(
            input_ids=rest, past_key_values=self._cache, use_cache=True, logits_to_keep=1
        )
        self._ids, self._cache = list(ids), found.past_key_values
        return found.logits[:, -1:].float()

    def _say(self, items: Sequence[Say]) -> list[str]:
        asked: Counter[Messages] = Counter()
        seeds, found = [], []
        for item in items:
            asked[item.messages] += 1
            said = (message.content for message in item.messages)
            seeds.append(seed_from("traits", asked[item.messages], *said))
        for at in range(0, len(items), TOGETHER):
            found += self._sampled(items[at : at + TOGETHER], seeds[at : at + TOGETHER])
        return found

    def _sampled(self, items: Sequence[Say], seeds: Sequence[int]) -> list[str]:
        reader = self.reader
        prompts = [reader.template(item.messages) for item in items]
        length, ends = max(map(len, prompts)), reader.turn_ends
        pad = ends[0] if ends else 0
        ids = torch.tensor([[pad] * (length - len(one)) + one for one in prompts])
        mask = torch.tensor([[0] * (length - len(one)) + [1] * len(one) for one in prompts])
        with greedy(reader.model), torch.inference_mode():
            rows = reader.model.generate(
                input_ids=ids.to(reader.device),
                attention_mask=mask.to(reader.device),
                max_new_tokens=max(item.max_tokens for item in items),
                logits_processor=LogitsProcessorList([_Drawing(seeds)]),
                eos_token_id=ends or None,
                pad_token_id=pad,
            )
        said = []
        for item, row in zip(items, rows[:, length:].tolist(), strict=True):
            own = row[: item.max_tokens]
            end = next((at for at, token in enumerate(own) if token in ends), None)
            said.append(reader.tokenizer.decode(own[:end], skip_special_tokens=True).strip())
        return said


class _Drawing(LogitsProcessor):
    """Adds noise of each row's own, so that the likeliest token is one drawn: the Gumbel-max trick."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self.sources = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.warpers = (TemperatureLogitsWarper(TEMPERATURE), TopPLogitsWarper(TOP_P))

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        if not scores.isfinite().all():
            raise _no_numbers()
        for warp in self.warpers:
            scores = warp(input_ids, scores)
        each = [torch.empty(scores.shape[-1]).exponential_(generator=source) for source in self.sources]
        return scores - torch.stack(each).log().to(scores.device)


def _opened(age: Age) -> Loaded:
    under = age.base()
    model = widened(load_model((under or age).folder))
    if under is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(age.folder)).merge_and_unload()
    tokenizer = load_tokenizer(age.folder)
    if tokenizer.chat_template is None:
        raise AgeError(f"{age.card.address} has no chat template, so it cannot be asked anything")
    base = Base(age, (under or age).folder, tokenizer, age.card.form)
    return Loaded(model.eval(), tokenizer, base.ends)


def _no_numbers() -> AgeError:
    return AgeError(
        "it is broken: how likely it finds what it is asked is no finite number",
        "make it again with smaller steps (`rate`), or ask another of its ages",
    )


def _alike(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many ids two rows begin with in common."""
    return next(
        (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
