"""The engine that needs nothing else, its lower half: an age in memory, a sequence being drawn from it.

Any causal language model of transformers works. Weights are mapped from the safetensors file, not copied, so
several ages of one machine share its page cache. Every sequence has its own cache and its own random
generator, and goes through the model alone: what it says does not depend on what else is running.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jinja2 import TemplateError
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache, PreTrainedModel
from transformers.utils import logging as transformers_logging

from selves.errors import AgeError, EngineError, UsageError
from selves.lineage import Age
from serving import nanochat
from serving.asks import Ask, Finish, Piece, Scored
from serving.streams import Detokenizer, StopScanner

PREFILL_TOKENS = 256
"""A prompt goes through the model in chunks of this size, so that a long one does not stop all others."""
CONTEXT_TOKENS = 6
"""How many tokens of the prompt the first piece of text is decoded with."""
GREEDY_BELOW = 1e-5
"""Temperatures below this are greedy, as in vLLM."""


def prepare_torch(threads: int) -> None:
    """Set this process's compute threads and silence transformers. Call once, in the worker."""
    torch.set_num_threads(threads)
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()


def load_tokenizer(age: Age) -> Any:
    """Load an age's tokenizer. Raises AgeError."""
    nanochat.register()
    try:
        return AutoTokenizer.from_pretrained(age.folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AgeError(f"the tokenizer of {age.card.address} does not load: {error}", "restore it") from error


def encode(
    tokenizer: Any, prompt: str | list[int] | list[dict[str, str]], template: Mapping[str, Any]
) -> list[int]:
    """Return the token ids of a text, of ids (checked), or of chat messages. Raises UsageError."""
    if isinstance(prompt, str):
        return tokenizer(prompt, verbose=False)["input_ids"]
    if all(isinstance(token_id, int) for token_id in prompt):
        outside = [i for i in prompt if not 0 <= i < len(tokenizer)]  # type: ignore[operator]
        if outside:
            raise UsageError(f"token {outside[0]} is not in the vocabulary of {len(tokenizer)} tokens")
        return prompt  # type: ignore[return-value]
    fixed = [name for name in template if name in inspect.signature(tokenizer.apply_chat_template).parameters]
    if fixed:
        raise UsageError(f"chat_template_kwargs may not set {fixed[0]!r}")
    if tokenizer.chat_template is None:
        raise UsageError("this age has no chat template", "ask /v1/completions instead")
    try:
        return tokenizer.apply_chat_template(
            prompt, tokenize=True, add_generation_prompt=True, return_dict=False, **template
        )
    except (TemplateError, TypeError, ValueError) as error:
        raise UsageError(f"the age's chat template refuses these messages: {error}") from error


class LoadedAge:
    """An age in memory. Raises AgeError when its files are not what was written, or do not load."""

    def __init__(self, age: Age) -> None:
        age.verify()
        nanochat.register()
        self.address = age.card.address
        try:
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                age.folder, dtype="auto", local_files_only=True, output_loading_info=True
            )
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise AgeError(f"{self.address} does not load: {error}", "train or import it again") from error
        model, info = loaded
        if info["missing_keys"]:
            missing = ", ".join(sorted(info["missing_keys"])[:3])
            raise AgeError(f"{self.address} lacks weights: {missing}", "train or import it again")
        self.model: PreTrainedModel = model.eval()
        if not self.model._supports_default_dynamic_cache():
            raise EngineError(
                f"the embedded engine cannot run {age.card.architecture} ({self.address})",
                "serve it with vLLM: `selves serve --engine vllm --age ...`",
            )
        self.tokenizer = load_tokenizer(age)
        self.end_ids = frozenset(
            _as_ids(self.tokenizer.eos_token_id)
            + _as_ids(self.model.config.get_text_config(decoder=True).eos_token_id)
            + _as_ids(self.model.generation_config.eos_token_id if self.model.generation_config else None)
        )
        parameters = inspect.signature(self.model.forward).parameters
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in parameters else {}

    def new_cache(self) -> DynamicCache:
        return DynamicCache(config=self.model.config)

    def forward(self, token_ids: Sequence[int], cache: DynamicCache) -> Tensor:
        """Put tokens through the model, extending the cache; returns the last position's logits (V,) f32."""
        inputs = torch.tensor([token_ids])
        out = self.model(input_ids=inputs, past_key_values=cache, use_cache=True, **self._last_only)
        return out.logits[0, -1].float()

    def decode(self, token_ids: list[int]) -> str:
        """Return the text of token ids, without special tokens."""
        return self.tokenizer.decode(token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def token_text(self, token_id: int) -> str:
        """Return the text of one token, special or not, as logprobs name it."""
        return self.tokenizer.decode([token_id], clean_up_tokenization_spaces=False)


class Running:
    """One sequence being drawn."""

    def __init__(self, age: LoadedAge, prompt_ids: Sequence[int], ask: Ask) -> None:
        self._age = age
        self._ask = ask
        self._cache = age.new_cache()
        self._pending = list(prompt_ids)
        self._seen = torch.tensor(sorted(set(prompt_ids)))
        self._drawn = 0
        self._generator = torch.Generator().manual_seed(ask.seed)
        self._text = Detokenizer(age.decode, prompt_ids[-CONTEXT_TOKENS:])
        self._stops = StopScanner(ask.stop)

    @torch.inference_mode()
    def step(self) -> Piece | None:
        """Do one turn's work: a chunk of the prompt, or one token, which is returned with its text.

        The last piece has a `finish`. Raises EngineError when the model's numbers are no numbers.
        """
        chunk, self._pending = self._pending[:PREFILL_TOKENS], self._pending[PREFILL_TOKENS:]
        logits = self._age.forward(chunk, self._cache)
        if self._pending:
            return None
        logprobs = logits.log_softmax(-1)
        if bool(logprobs.isnan().any()):
            raise EngineError(f"{self._age.address} gives no numbers: its weights are broken")
        token_id = draw(logits, self._seen, self._ask, self._generator)
        self._drawn += 1
        self._pending = [token_id]
        if self._ask.repetition_penalty != 1:
            self._seen = torch.cat([self._seen, torch.tensor([token_id])]).unique()
        return self._piece(token_id, logprobs)

    def _piece(self, token_id: int, logprobs: Tensor) -> Piece:
        ended = token_id in self._age.end_ids and not self._ask.ignore_eos
        shown = "" if ended else self._stops.add(self._text.add(token_id))
        over = ended or self._drawn >= self._ask.max_tokens
        if over and self._stops.found is None:
            shown += self._stops.add(self._text.flush())
            shown += self._stops.flush()
        finish: Finish | None = None
        if ended or self._stops.found is not None:
            finish = "stop"
        elif over:
            finish = "length"
        return Piece(
            shown, self._scored(token_id, logprobs), self._alternatives(logprobs), finish, self._stops.found
        )

    def _scored(self, token_id: int, logprobs: Tensor) -> Scored:
        text = self._age.token_text(token_id) if self._ask.logprobs is not None else ""
        return Scored(token_id, float(logprobs[token_id]), text)

    def _alternatives(self, logprobs: Tensor) -> tuple[Scored, ...]:
        if not self._ask.logprobs:
            return ()
        values, ids = logprobs.topk(min(self._ask.logprobs, logprobs.numel()))
        pairs = zip(ids.tolist(), values.tolist(), strict=True)
        return tuple(Scored(i, value, self._age.token_text(i)) for i, value in pairs)


def draw(logits: Tensor, seen: Tensor, ask: Ask, generator: torch.Generator) -> int:
    """Draw one token id from logits (V,), in vLLM's order: penalty, temperature, top-k, top-p.

    `seen` holds the ids of the prompt and of what was drawn before; their logits are divided by the
    repetition penalty where positive and multiplied where negative (Keskar et al. 2019).
    """
    if ask.repetition_penalty != 1:
        values = logits[seen]
        penalty = ask.repetition_penalty
        logits = logits.index_copy(0, seen, torch.where(values > 0, values / penalty, values * penalty))
    if ask.temperature < GREEDY_BELOW:
        return int(logits.argmax())
    logits = logits / ask.temperature
    if 0 < ask.top_k < logits.numel():
        logits = logits.masked_fill(logits < logits.topk(ask.top_k).values[-1], -torch.inf)
    if ask.top_p < 1:
        ascending, order = logits.sort()
        outside = ascending.softmax(-1).cumsum(-1) <= 1 - ask.top_p
        outside[-1] = False
        logits = logits.index_fill(0, order[outside], -torch.inf)
    return int(torch.multinomial(logits.softmax(-1), 1, generator=generator))


def _as_ids(value: int | list[int] | None) -> list[int]:
    if value is None:
        return []
    return [value] if isinstance(value, int) else list(value)
