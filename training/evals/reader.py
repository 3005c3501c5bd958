"""An age as an eval sees it: how likely it finds texts, and how it continues them greedily.

Through plain transformers, whatever trained it; so the house's own ages and imported ones are measured alike.
A text begins with the tokenizer's own first token. Where it puts none, a token that would have nothing before
it is predicted from bos, or else eos.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from selves.errors import AgeError
from selves.speech import ChatMessage
from training.evals.items import Choice, Completion, Said

LOGITS = 2**25
"""How many logits are computed at once, at most: 128 MB in float32."""
SPEAKERS = 16
"""How many completions are written at once."""
OURS_ALONE = ("selves_nanochat",)
"""Model types that only the serving room can load."""


class Chosen(NamedTuple):
    """Which options a model picked."""

    by_sum: int
    """The likeliest."""
    by_byte: int
    """The likeliest per byte, which favours no short option."""
    cut: bool
    """Whether the prompt was cut at its beginning, since it did not fit."""


class Reader:
    """One age's model and tokenizer, loaded. Raises AgeError where transformers cannot."""

    def __init__(self, folder: Path) -> None:
        from safetensors import SafetensorError
        from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
        self.folder = folder
        self._check_type()
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        dtype: Any = torch.float32 if self.device.type == "cpu" else "auto"
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
            model: Any = AutoModelForCausalLM.from_pretrained(str(folder), local_files_only=True, dtype=dtype)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise AgeError(
                f"{folder} cannot be loaded by transformers: {(str(error).splitlines() or [''])[0]}",
                "`selves ages show ADDRESS --verify` says whether it is damaged",
            ) from error
        self.tokenizer.model_max_length = 10**9  # long texts are cut into windows here
        self.model: Any = model.to(self.device).eval()
        ends = model.generation_config.eos_token_id
        self.turn_ends: list[int] = ends if isinstance(ends, list) else [ends] if ends is not None else []
        self.model.generation_config = GenerationConfig()  # greedy, whatever the folder suggests
        self.context: int = model.config.max_position_embeddings
        self.vocabulary: int = model.config.vocab_size

    def _check_type(self) -> None:
        try:
            kind = json.loads((self.folder / "config.json").read_text("utf-8")).get("model_type")
        except (OSError, ValueError, AttributeError) as error:
            raise AgeError(f"{self.folder / 'config.json'} cannot be read: {error}") from error
        if kind in OURS_ALONE:
            raise AgeError(
                f"{self.folder} cannot be evaluated yet: nanochat's model is in no class of transformers",
                "leave it out",
            )

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text as the tokenizer begins one."""
        return list(self.tokenizer(text)["input_ids"])

    @property
    def _start(self) -> list[int]:
        """The token before all text, where the tokenizer puts none; none if it has none."""
        found = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id)
        return [token for token in found if token is not None][:1]

    def choose(self, items: Sequence[Choice]) -> list[Chosen]:
        """Return what the model picks of each item.

        The tokens that all options begin with are equally likely for each, so only those after them count,
        and it does not matter how the joint of prompt and option is cut into tokens.
        """
        rows: list[list[int]] = []
        counted: list[int] = []
        cut: list[bool] = []
        for item in items:
            encoded = [self.encode(item.prompt + option) for option in item.options]
            shared = _shared(encoded)
            if not shared and self._start:
                encoded, shared = [self._start + ids for ids in encoded], 1
            excess = max(0, max(map(len, encoded)) - self.context)
            cut.append(excess > 0)
            rows += [ids[excess:] for ids in encoded]
            counted += [max(1, shared - excess)] * len(encoded)
        scores = [
            float(logprobs[first - 1 :].sum())
            for logprobs, first in zip(self.logprobs(rows), counted, strict=True)
        ]
        picked, at = [], 0
        for item, was_cut in zip(items, cut, strict=True):
            mine = scores[at : at + len(item.options)]
            at += len(item.options)
            each = [score / len(o.encode()) for score, o in zip(mine, item.options, strict=True)]
            picked.append(Chosen(mine.index(max(mine)), each.index(max(each)), was_cut))
        return picked

    def logprobs(self, rows: Sequence[Sequence[int]]) -> list[Tensor]:
        """Return for each row of T ids the log-probability in nats of every id but the first, (T - 1,)."""
        order = sorted(range(len(rows)), key=lambda n: len(rows[n]))
        found: list[Tensor] = [torch.empty(0)] * len(rows)
        for some in self._batches(order, rows):
            length = max(len(rows[n]) for n in some)
            ids = torch.zeros(len(some), length, dtype=torch.long)
            mask = torch.zeros_like(ids)
            for at, n in enumerate(some):
                ids[at, : len(rows[n])] = torch.tensor(rows[n])
                mask[at, : len(rows[n])] = 1
            ids, mask = ids.to(self.device), mask.to(self.device)
            with torch.inference_mode():
                logits = self.model(input_ids=ids[:, :-1], attention_mask=mask[:, :-1]).logits.float()
                picked = logits.gather(-1, ids[:, 1:, None])[..., 0] - logits.logsumexp(-1)
            for at, n in enumerate(some):
                found[n] = picked[at, : len(rows[n]) - 1].double().cpu()
        return found

    def _batches(self, order: Sequence[int], rows: Sequence[Sequence[int]]) -> Iterator[list[int]]:
        """Cut an order, short rows first, into batches that fit."""
        batch: list[int] = []
        for n in order:
            if batch and (len(batch) + 1) * len(rows[n]) * self.vocabulary > LOGITS:
                yield batch
                batch = []
            batch.append(n)
        if batch:
            yield batch

    def complete(self, items: Sequence[Completion]) -> tuple[list[Said], list[bool]]:
        """Return how each item goes on, and whether its prompt was cut at its beginning to fit."""
        prompts = [self._prompt(item) for item in items]
        rooms = [min(item.max_tokens, self.context // 2) for item in items]
        cut = [len(p) + room > self.context for p, room in zip(prompts, rooms, strict=True)]
        prompts = [p[-(self.context - room) :] for p, room in zip(prompts, rooms, strict=True)]
        said = [Said("", ended=False)] * len(items)
        alike: dict[tuple[int, bool], list[int]] = {}
        for n in sorted(range(len(items)), key=lambda n: len(prompts[n])):
            alike.setdefault((rooms[n], isinstance(items[n].prompt, str)), []).append(n)
        for (room, plain), numbers in alike.items():
            ends = [self.tokenizer.eos_token_id] if plain else self.turn_ends
            for at in range(0, len(numbers), SPEAKERS):
                some = numbers[at : at + SPEAKERS]
                answers = self._generate([prompts[n] for n in some], room, [e for e in ends if e is not None])
                for n, answer in zip(some, answers, strict=True):
                    said[n] = answer
        return said, cut

    def _generate(self, prompts: list[list[int]], room: int, ends: list[int]) -> list[Said]:
        """Continue prompts, aligned at their ends, with up to `room` tokens each."""
        length = max(map(len, prompts))
        pad = ends[0] if ends else 0
        ids = torch.tensor([[pad] * (length - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (length - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        with torch.inference_mode():
            rows = self.model.generate(
                input_ids=ids.to(self.device),
                attention_mask=mask.to(self.device),
                max_new_tokens=room,
                do_sample=False,
                eos_token_id=ends or None,
                pad_token_id=pad,
            )
        said = []
        for row in rows[:, length:].tolist():
            end = next((at for at, token in enumerate(row) if token in ends), None)
            text = self.tokenizer.decode(row[:end], skip_special_tokens=True)
            said.append(Said(text, ended=end is not None))
        return said

    def _prompt(self, item: Completion) -> list[int]:
        if isinstance(item.prompt, str):
            return self.encode(item.prompt)
        return self.template(item.prompt)

    def template(self, messages: tuple[ChatMessage, ...]) -> list[int]:
        """Return the token ids of messages in the age's own chat template, where it is its turn."""
        asked = [message.model_dump() for message in messages]
        found = self.tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=True)
        return list(found["input_ids"])

    def bits(self, documents: Sequence[str]) -> list[tuple[float, float]]:
        """Return for each document its (bits, bytes).

        Each is read from its first token in windows of the model's context that do not overlap, as
        `training.evaluate` does.
        """
        rows: list[list[int]] = []
        owners: list[int] = []
        for owner, document in enumerate(documents):
            ids = self.encode(document)
            if ids[:1] != self._start:
                ids = self._start + ids
            for at in range(0, len(ids) - 1, self.context):
                rows.append(ids[at : at + self.context + 1])
                owners.append(owner)
        bits = [0.0] * len(documents)
        for owner, logprobs in zip(owners, self.logprobs(rows), strict=True):
            bits[owner] -= float(logprobs.sum()) / math.log(2)
        return [(b, float(len(document.encode()))) for b, document in zip(bits, documents, strict=True)]


def _shared(rows: Sequence[Sequence[int]]) -> int:
    """Return how many ids all rows begin with, leaving at least one of each."""
    shortest = min(map(len, rows)) - 1
    return next((n for n in range(shortest) if len({row[n] for row in rows}) > 1), max(0, shortest))
